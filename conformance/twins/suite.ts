/**
 * Calls that both a program's SDK and the agent see: curl → front → back, both on the OpenTelemetry SDK, counted once.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { freePort } from "../demo/shop.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

const CALLS = 24;
/** Some calls come before the first export of the SDKs, some after it. */
const CALL_EVERY_MS = 150;
const SETTLE_MS_MAX = 20_000;
const RUNGS = ["socket", "packet"] as const;
/** What each call is counted as, once: service and kind. */
const SIDES = ["curl client", "sdk-front server", "sdk-front client", "sdk-back server"] as const;

/** The suite `twins`: SDK and agent at once, on each live rung. */
export async function runTwins(): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  if (process.getuid?.() !== 0) {
    report.skip("twins", "live capture needs root", "capture");
    return report.outcome;
  }
  for (const rung of RUNGS) await runOn(rung, report);
  return report.outcome;
}

async function runOn(rung: string, report: SuiteReport): Promise<void> {
  const program = await Program.start(["--capture", rung, "--capture-cpu", "none"]);
  const children: ChildProcess[] = [];
  try {
    const port = await startServices(program, children);
    for (let call = 0; call < CALLS; call++) {
      const traceparent = `00-${(call + 1).toString(16).padStart(32, "5")}-${(call + 1).toString(16).padStart(16, "7")}-01`;
      spawnSync("curl", ["-s", "-o", "/dev/null", "-H", `traceparent: ${traceparent}`, `http://127.0.0.1:${port}/`]);
      await sleep(CALL_EVERY_MS);
    }
    let fault = "";
    await until(async () => {
      fault = await countsFault(program, rung);
      return fault === "" ? true : undefined;
    }, SETTLE_MS_MAX);
    report.add(`${rung}: ${CALLS} calls seen twice count once`, fault);
    report.add(`${rung}: both sights are stored`, await sightsFault(program, rung));
    // Packets may name another owner of a connection: then one client has two servers, the second unpaired in the series.
    report.add(`${rung}: one truth`, await oneTruthFault(program, { withOrphans: rung === "packet" }));
    report.add(`${rung}: edges`, await edgesFault(program, rung));
  } finally {
    for (const child of children) child.kill("SIGTERM");
    await program.discard();
  }
}

async function startServices(program: Program, children: ChildProcess[]): Promise<number> {
  const ports = { front: await freePort(), back: await freePort() };
  const start = (name: string, args: readonly (string | number)[]) => {
    const file = join(import.meta.dirname, "sdk-service.ts");
    const env = { ...process.env, OTEL_SERVICE_NAME: name };
    children.push(
      spawn(process.execPath, [file, ...args.map(String)], { env, stdio: ["ignore", "inherit", "inherit"] }),
    );
  };
  start("sdk-back", [ports.back, program.otlpHttp]);
  start("sdk-front", [ports.front, program.otlpHttp, ports.back]);
  for (const port of [ports.back, ports.front]) {
    const isUp = () => spawnSync("curl", ["-s", "-o", "/dev/null", `http://127.0.0.1:${port}/up`]).status === 0;
    if ((await until(async () => (isUp() ? true : undefined), 30_000)) === undefined) {
      throw new Error(`the service on port ${port} did not come up`);
    }
  }
  return ports.front;
}

/** Calls of the suite's own traces, by who made or served them; a packet may not tell who called. */
async function countsFault(program: Program, rung: string): Promise<string> {
  const rows = await program.sql(
    `SELECT service || ' ' || kind, sum(weight) FROM spans
     WHERE trace_id LIKE '5555%' AND duplicate_of IS NULL GROUP BY 1`,
  );
  const found = new Map(rows.map(([side, calls]) => [String(side), Number(calls)]));
  return SIDES.filter((side) => !(rung === "packet" && side === "curl client") && found.get(side) !== CALLS)
    .map((side) => `${side}: ${found.get(side) ?? 0} of ${CALLS}`)
    .join(", ");
}

/** Every sight of the agent has a twin; packets do not tell the owner of each. */
async function sightsFault(program: Program, rung: string): Promise<string> {
  const rows = await program.sql(
    `SELECT (source = 'otlp')::VARCHAR, count(*), count(duplicate_of) FROM spans
     WHERE trace_id LIKE '5555%' AND service LIKE 'sdk-%' GROUP BY 1 ORDER BY 1`,
  );
  const [agent, sdk] = rows.map(([, all, duplicates]) => ({ all: Number(all), duplicates: Number(duplicates) }));
  const want = 3 * CALLS;
  if (agent === undefined || sdk?.all !== want) return `the SDKs' spans are ${sdk?.all} of ${want}`;
  if (rung === "socket" && agent.all !== want) return `the agent's spans are ${agent.all} of ${want}`;
  const duplicates = agent.duplicates + sdk.duplicates;
  return duplicates === agent.all ? "" : `${duplicates} duplicates for ${agent.all} spans of the agent`;
}

/** The calls that looked whether the services were up are in the graph too. Packets do not tell every caller. */
async function edgesFault(program: Program, rung: string): Promise<string> {
  const client = rung === "packet" ? "'*'" : "client";
  const rows = await program.sql(`SELECT ${client} || ' ' || server, sum(requests) FROM edges GROUP BY 1`);
  const found = new Map(rows.map(([edge, requests]) => [String(edge), Number(requests)]));
  const wanted = rung === "packet" ? ["* sdk-front", "* sdk-back"] : ["sdk-front sdk-back", "curl sdk-front"];
  return wanted
    .filter((edge) => (found.get(edge) ?? 0) < CALLS)
    .map((edge) => `${edge}: ${found.get(edge) ?? 0} of ${CALLS}`)
    .join(", ");
}
