/**
 * The stages of the suite `chain`, in a process of its own inside of a network namespace. Words: `short` or `long`, then
 * rungs. Sends the outcome to its parent.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { postgresqlPrograms, startDatabases } from "../databases/servers.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, until } from "../program.ts";
import { SuiteReport } from "../suite.ts";
import { AgentProcess } from "./agent-process.ts";
import { Chain, type ChainPlan, type ChainTruth } from "./chain.ts";
import { ADDRESS, type Network, openNetwork } from "./network.ts";
import { judgeTrees, spansOf } from "./trees.ts";

const REQUESTS = 200;
const SETTLE_MS_MAX = 20_000;
const DRAWN_SHARE_MIN = 0.95;
/** On a machine that is busy with something else one end may come too late to wait for; then it is linked. */
const LATE_SHARE_MAX = 0.02;
/** Of a record of TLS whose header was not seen the number is not sure, so that its message may stay without the other end. */
const TLS_MISSING_SHARE_MAX = 0.1;
const TLS_WHOLE_SHARE_MIN = 0.8;
/** Client and server span of each of four calls, the one that enters included. */
const SPANS_OF_REQUEST = 8;
/** Every call of these services counts, and none of others. */
const ONLY_OWN = ["--network-namespace", "own", "--capture-cpu", "none"];

const report = new SuiteReport();
const directory = mkdtempSync(join(tmpdir(), "thalweg-chain-"));

async function main(form: string, rungs: readonly string[]): Promise<void> {
  const network = openNetwork();
  try {
    for (const [at, rung] of rungs.entries()) await twoHosts(network, rung, form === "long" && at === 0);
    if (form === "long") await oneHost();
  } finally {
    network.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** A receiver, an agent on each host, the chain once by its addresses and once by translated ones. */
async function twoHosts(network: Network, rung: string, isLong: boolean): Promise<void> {
  const flags = ["--capture", "off", "--otlp-http", `${ADDRESS.here}:0`, "--allow-remote"];
  let program = await Program.start(flags);
  const agents: AgentProcess[] = [];
  try {
    for (const host of ["a", "b"] as const) {
      const to = ["--to", program.otlpHttp, "--capture", rung, ...(isLong ? ["--tls", "auto"] : []), ...ONLY_OWN];
      agents.push(await AgentProcess.start(network.on(host), to));
    }
    await stage(`two hosts, ${rung}`, program, planOf(network, 0), rung);
    if (isHere("nft", `two hosts through nftables, ${rung}`)) {
      network.nft("a", TRANSLATED.a);
      network.nft("b", TRANSLATED.b);
      await stage(`two hosts through nftables, ${rung}`, program, translatedPlan(network), rung);
    }
    if (isLong && rung !== "packet" && isHere("openssl", `two hosts over TLS, ${rung}`)) {
      await stage(`two hosts over TLS, ${rung}`, program, { ...planOf(network, 40), tls: certificate() }, rung);
    }
    if (isLong) program = await restart(network, program, [...flags, "--otlp-http", addressOf(program)], rung);
    report.add(`two hosts, ${rung}: one truth`, await oneTruthFault(program));
    report.add(
      `two hosts, ${rung}: the agents' ledgers`,
      agents
        .map((agent) => agent.fault())
        .filter(Boolean)
        .join("; "),
    );
    const statuses = await Promise.all(agents.map((agent) => agent.stop()));
    report.add(`two hosts, ${rung}: the agents stop cleanly`, statuses.join() === "0,0" ? "" : statuses.join());
  } finally {
    for (const agent of agents) await agent.stop();
    await program.discard();
  }
}

/** The receiver is killed under load and comes back: nothing is lost, and nothing counted twice. */
async function restart(network: Network, program: Program, flags: readonly string[], rung: string): Promise<Program> {
  const plan = planOf(network, 20);
  const chain = await Chain.start(plan, directory);
  try {
    const running = chain.run(REQUESTS);
    await program.kill();
    const truth = await running;
    const again = await Program.start(flags, program.dataDirectory);
    report.add(`receiver killed and started again, ${rung}: every request is there`, await ledgerFault(again, truth));
    return again;
  } finally {
    chain.stop();
  }
}

/** All on one host, PostgreSQL too, captured by the server itself. */
async function oneHost(): Promise<void> {
  const databases = postgresqlPrograms() === "" ? undefined : await startDatabases("of-the-chain", "trust");
  const program = await Program.start(["--capture", "socket", ...ONLY_OWN]);
  try {
    const place = (port: number) => ({ before: [], host: "127.0.0.1", port, reachedAt: { host: "127.0.0.1", port } });
    const plan = { nginx: place(9_300), node: place(9_301), python: place(9_302), redis: place(9_303) };
    const postgresql = databases && { host: "127.0.0.1", port: databases.postgresqlPort };
    await stage("one host", program, postgresql === undefined ? plan : { ...plan, postgresql }, "socket");
    report.add("one host: one truth", await oneTruthFault(program));
  } finally {
    await program.discard();
    await databases?.stop();
  }
}

/** Runs the chain once and judges what the receiver has of it. */
async function stage(name: string, program: Program, plan: ChainPlan, rung: string): Promise<void> {
  const chain = await Chain.start(plan, directory);
  try {
    const truth = await chain.run(REQUESTS);
    report.add(`${name}: as many spans at each hop as its ledger has lines`, await ledgerFault(program, truth));
    const { nginx, node, python, redis, postgresql } = plan;
    const places = [nginx, node, python, redis];
    const ports = new Set(places.flatMap(({ port, reachedAt }) => [port, reachedAt.port]));
    if (postgresql !== undefined) ports.add(postgresql.port);
    const spans = await spansOf(program, [...ports]);
    const size = SPANS_OF_REQUEST + (postgresql === undefined ? 0 : 2);
    const { inside, between, whole, mixed, sample } = judgeTrees(spans, truth, nginx.port, size);
    // Packets do not tell what goes on inside of a process.
    const isDrawn = rung !== "packet";
    const few = isDrawn && inside.right < DRAWN_SHARE_MIN * inside.expected;
    report.add(
      `${name}: inside of processes ${inside.right} right, ${inside.wrong} wrong of ${inside.expected}`,
      inside.wrong > 0 || few ? inside.reasons : "",
    );
    const missingMax = (plan.tls === undefined ? LATE_SHARE_MAX : TLS_MISSING_SHARE_MAX) * between.right;
    report.add(
      `${name}: between processes ${between.right} right, ${between.wrong} wrong, ${between.missing} missing (${between.reasons})`,
      between.wrong > 0 || between.missing > missingMax ? between.reasons : "",
    );
    const isEnough = !isDrawn || whole >= (plan.tls === undefined ? DRAWN_SHARE_MIN : TLS_WHOLE_SHARE_MIN) * REQUESTS;
    report.add(
      `${name}: ${whole} of ${REQUESTS} requests are one tree`,
      isEnough && mixed === 0 ? "" : `${mixed} traces hold more than one request`,
    );
    if (isDrawn) report.add(`${name}: why each parent was drawn`, await explanationFault(program, sample));
  } finally {
    chain.stop();
  }
}

async function ledgerFault(program: Program, { served }: ChainTruth): Promise<string> {
  const wanted = JSON.stringify([...served].sort(([a], [b]) => a - b));
  let found = "";
  await until(async () => {
    const rows = await program.sql(
      `SELECT server_port, sum(weight) FROM spans WHERE kind = 'server' AND server_port IN (${[...served.keys()].join(", ")})
       GROUP BY server_port ORDER BY server_port`,
    );
    found = JSON.stringify(rows.map(([port, count]) => [Number(port), Number(count)]));
    return found === wanted ? true : undefined;
  }, SETTLE_MS_MAX);
  return found === wanted ? "" : `spans by port ${found}, ledgers ${wanted}`;
}

interface ExplainedTrace {
  readonly resourceSpans: readonly {
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly parentSpanId?: string;
        readonly attributes: readonly { readonly key: string; readonly value: { readonly stringValue?: string } }[];
      }[];
    }[];
  }[];
}

/** Whether every span of a trace that has a parent says why, in a sentence of its own. */
async function explanationFault(program: Program, trace: string): Promise<string> {
  if (trace === "") return "there is no whole trace";
  const { resourceSpans } = await program.json<ExplainedTrace>(`/api/v1/traces/${trace}?explain=1`);
  const spans = resourceSpans.flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans));
  const whys = spans
    .filter(({ parentSpanId }) => parentSpanId !== undefined)
    .map(({ attributes }) => attributes.find(({ key }) => key === "thalweg.parent_why")?.value.stringValue ?? "");
  const bare = whys.filter((why) => why === "" || why.startsWith("The parent was drawn for the reason"));
  return bare.length === 0 && whys.length === spans.length - 1
    ? ""
    : `${whys.length} of ${spans.length}: ${bare.join("; ")}`;
}

/** Whether the machine has a program that a stage needs; else the stage is skipped by name. */
function isHere(program: string, name: string): boolean {
  const found = spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
  if (!found) report.skip(`chain: ${name}`, `this machine has no ${program}`, "servers");
  return found;
}

/** A certificate of nobody's, and its key. */
function certificate(): { certFile: string; keyFile: string } {
  const files = { certFile: join(directory, "certificate.pem"), keyFile: join(directory, "key.pem") };
  const out = ["-keyout", files.keyFile, "-out", files.certFile, "-subj", "/CN=chain"];
  const ran = spawnSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", ...out]);
  if (ran.status !== 0) throw new Error(`openssl: ${ran.error?.message ?? ran.stderr.toString()}`);
  return files;
}

/** nginx and Python on host a, Node and Redis on host b: every call but the one that enters goes between the hosts. */
function planOf(network: Network, offset: number): ChainPlan {
  const place = (host: "a" | "b", address: string, port: number) => ({
    before: network.on(host),
    host: address,
    port: port + offset,
    reachedAt: { host: address, port: port + offset },
  });
  return {
    nginx: place("a", "127.0.0.1", 9_100),
    node: place("b", ADDRESS.b, 9_101),
    python: place("a", ADDRESS.a, 9_102),
    redis: place("b", ADDRESS.b, 9_103),
  };
}

/** Node and Python behind addresses that no host has, Redis behind a port of the caller that is not its own. */
const TRANSLATED = {
  a: `table ip thalweg {
  chain output { type nat hook output priority -100; ip daddr ${ADDRESS.b} tcp dport 9201 dnat to ${ADDRESS.b}:9211; }
  chain leave { type nat hook postrouting priority 100; ip daddr ${ADDRESS.b} tcp dport 9213 masquerade to :20000-30000 random; }
}`,
  b: `table ip thalweg {
  chain output { type nat hook output priority -100; ip daddr ${ADDRESS.a} tcp dport 9202 dnat to ${ADDRESS.a}:9212; }
}`,
} as const;

function translatedPlan(network: Network): ChainPlan {
  const { nginx, node, python, redis } = planOf(network, 110);
  return {
    nginx,
    node: { ...node, reachedAt: { host: ADDRESS.b, port: 9_201 } },
    python: { ...python, reachedAt: { host: ADDRESS.a, port: 9_202 } },
    redis,
  };
}

function addressOf({ otlpHttp }: Program): string {
  return otlpHttp.replace(/^http:\/\//, "");
}

const [form = "short", ...rungs] = process.argv.slice(2);
await main(form, rungs);
process.send?.(report.outcome);
process.disconnect?.();
