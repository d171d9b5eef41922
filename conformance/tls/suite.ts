/**
 * TLS: services and clients on OpenSSL (nginx, Node, Python, curl) by HTTPS alone. As many spans as each ledger has lines,
 * none twice, and each request with all that was done for it in one tree.
 */

import { type ChildProcess, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { postgresqlPrograms, startDatabases } from "../databases/servers.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { ledgerOf, makeCertificate, missingPrograms, PROGRAMS, run, type Services, startServices } from "./services.ts";

const SETTLE_MS_MAX = 15_000;
/** Until programs that have just started are looked into, and wait. */
const FOUND_MS = 2500;
const STORE_CALLS = 12;
/** A visitor's call, and both sides of the calls nginx → front → back and stock below it. */
const SPANS_OF_A_REQUEST = 8;
/** Requests that a process may need until its rule is proved: their calls are not drawn. */
const PROVING_REQUESTS_MAX = 60;

/** Requests of each client. */
interface Load {
  readonly visitor: number;
  readonly reader: number;
  readonly curl: number;
}

const SHORT: Load = { visitor: 160, reader: 20, curl: 20 };
const LONG: Load = { visitor: 2000, reader: 200, curl: 200 };

/** The suite `tls`; `chain` or `stores` runs that part alone, `--long` asks more often. */
export async function runTls({ args = [] }: { args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const isWanted = (part: string) => args.includes(part) || !(args.includes("chain") || args.includes("stores"));
  const report = new SuiteReport();
  const missing = missingPrograms();
  if (missing !== "") report.skip("tls", missing, "servers");
  else if (process.getuid?.() !== 0) report.skip("tls", "live capture needs root", "capture");
  else {
    if (isWanted("chain")) await runChain(args.includes("--long") ? LONG : SHORT, report);
    if (isWanted("stores")) await runStores(report);
  }
  return report.outcome;
}

/**
 * Redis, and PostgreSQL with a process for each connection, asked by programs that live for milliseconds: what only probes
 * that are there before the process see whole.
 */
async function runStores(report: SuiteReport): Promise<void> {
  if (postgresqlPrograms() === "" || spawnSync("redis-server", ["--version"]).status !== 0) {
    report.skip("tls: Redis and PostgreSQL", "this machine has no redis-server or no PostgreSQL", "servers");
    return;
  }
  const databases = await startDatabases("stores", "trust", makeCertificate);
  const program = await Program.start(["--capture", "socket", "--capture-cpu", "none", "--tls", "auto"]);
  try {
    await sleep(FOUND_MS);
    const port = String(databases.postgresqlPort);
    const env = { ...databases.env, PGSSLMODE: "require" };
    for (let call = 0; call < STORE_CALLS; call++) {
      const redis = ["-p", String(databases.redisPort), "--tls", "--insecure", "SET", "sealed", String(call)];
      spawnSync("redis-cli", redis, { env });
      spawnSync("psql", ["-h", "127.0.0.1", "-p", port, "-c", `SELECT name FROM items WHERE id = ${call}`], { env });
    }
    const ports = [databases.postgresqlPort, databases.redisPort];
    for (const [name, service] of [
      ["SELECT items", "psql"],
      ["SET", "redis-cli"],
    ] as const) {
      let [clients, joined] = [0, 0];
      await until(async () => {
        const rows = await program.sql(
          `SELECT count(*), count(s.span_id) FROM spans c LEFT JOIN spans s ON s.parent_span_id = c.span_id AND
           s.kind = 'server' AND s.name = c.name WHERE c.name = $1 AND c.service = $2 AND c.kind = 'client' AND
           c.server_port IN ($3, $4) AND c.attributes['tls.protocol.version'] = '1.3'`,
          [name, service, ...ports],
        );
        [clients, joined] = [Number(rows[0]?.[0]), Number(rows[0]?.[1])];
        return joined === STORE_CALLS ? true : undefined;
      }, SETTLE_MS_MAX);
      report.add(
        `${service}: ${clients} calls of ${STORE_CALLS} by TLS, ${joined} with their server's side`,
        clients === STORE_CALLS && joined === STORE_CALLS ? "" : await whatWasSeen(program),
      );
    }
  } finally {
    await databases.stop();
    await program.discard();
  }
}

async function runChain(load: Load, report: SuiteReport): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-tls-"));
  const children: ChildProcess[] = [];
  const program = await Program.start(["--capture", "socket", "--capture-cpu", "none", "--tls", PROGRAMS.join(",")]);
  try {
    const services = await startServices(directory, children);
    await ask(services, load);
    await compareLedgers(program, services, load, report);
    await compareTrees(program, load, report);
    await compareStatus(program, report);
    report.add("one truth", await oneTruthFault(program));
  } finally {
    for (const child of children) child.kill("SIGTERM");
    await program.discard();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** Starts the clients, waits until they are found, and lets them ask: Node at eight in flight, Python and curl one by one. */
async function ask({ directory, nginxPort, children }: Services, load: Load): Promise<void> {
  const port = String(nginxPort);
  const visitor = run(directory, children, "tw-node", ["visitor.mjs", port, String(load.visitor), "8"]);
  const reader = run(directory, children, "tw-python", ["reader.py", port, String(load.reader)]);
  const curls = ["--http1.1", "--http2"].map((version) =>
    run(directory, children, "tw-curl", ["-sS", "--cacert", "cert.pem", version, "-K", "-"]),
  );
  await sleep(FOUND_MS);
  const lines: string[] = [];
  for (const [index, curl] of curls.entries()) {
    const urls = Array.from({ length: load.curl }, (_, number) => `/curl/${index}/${number}`);
    lines.push(...urls);
    curl.stdin?.end(urls.map((path) => `url = "https://localhost:${port}${path}"\noutput = "/dev/null"\n`).join(""));
  }
  writeFileSync(join(directory, "curl.log"), `${lines.join("\n")}\n`);
  for (const client of [visitor, reader]) client.stdin?.end("go\n");
  await Promise.all([visitor, reader, ...curls].map((client) => client.exitCode ?? once(client, "exit")));
}

/** One row a service and side that has a ledger. Where nginx is an end, it speaks what it allows by default. */
const LEDGERS: readonly {
  readonly log: string;
  readonly side: "server" | "client";
  readonly version: string;
  readonly where: string;
}[] = [
  { log: "nginx", side: "server", version: "1.2", where: "service = 'nginx'" },
  { log: "front", side: "server", version: "1.2", where: "service = 'front'" },
  { log: "back", side: "server", version: "1.3", where: "service = 'back'" },
  { log: "stock", side: "server", version: "1.3", where: "service = 'stock'" },
  { log: "visitor", side: "client", version: "1.2", where: "service = 'visitor'" },
  { log: "reader", side: "client", version: "1.2", where: "service = 'reader'" },
  { log: "curl", side: "client", version: "1.2", where: "service LIKE '%curl'" },
];

async function compareLedgers(program: Program, services: Services, load: Load, report: SuiteReport): Promise<void> {
  for (const { log, side, version, where } of LEDGERS) {
    let lines = 0;
    let [spans, ids, inTls] = [0, 0, 0];
    await until(async () => {
      lines = ledgerOf(services.directory, log).length;
      const rows = await program.sql(
        `SELECT count(*), count(DISTINCT span_id), count(*) FILTER (attributes['tls.protocol.version'] = $2 AND
         attributes['url.scheme'] = 'https') FROM spans WHERE ${where} AND kind = $1 AND name NOT LIKE '%ready%'`,
        [side, version],
      );
      [spans, ids, inTls] = [Number(rows[0]?.[0]), Number(rows[0]?.[1]), Number(rows[0]?.[2])];
      return spans === lines ? true : undefined;
    }, SETTLE_MS_MAX);
    const isRight = spans === lines && ids === lines && inTls === lines && lines > 0;
    report.add(
      `${log}: ${spans} ${side} spans, ${lines} in its ledger, each once and marked as TLS ${version}`,
      isRight ? "" : `${ids} ids, ${inTls} marked\n${await whatWasSeen(program)}`,
    );
  }
  const asked = load.visitor + load.reader + 2 * load.curl;
  const served = ledgerOf(services.directory, "nginx").length;
  report.add(`nginx was asked ${asked} times`, served === asked ? "" : `${served} lines`);
}

/** The path of a request names it at each hop: what was drawn can be judged by it. */
async function compareTrees(program: Program, load: Load, report: SuiteReport): Promise<void> {
  const rows = await program.sql(
    `SELECT count(*), count(*) FILTER (p.attributes['url.path'] <> c.attributes['url.path']) FROM spans c
     JOIN spans p ON p.span_id = c.parent_span_id AND p.trace_id = c.trace_id
     WHERE c.attributes['url.scheme'] = 'https' AND c.name NOT LIKE '%ready%'`,
  );
  const [drawn, wrong] = [Number(rows[0]?.[0]), Number(rows[0]?.[1])];
  report.add(`${drawn} parents drawn, ${wrong} of them wrong`, wrong === 0 && drawn > 0 ? "" : "there must be none");
  const trees = await program.sql(
    `SELECT count(*) FILTER (n = $1 AND paths = 1), count(*) FROM
     (SELECT trace_id, count(*) AS n, count(DISTINCT attributes['url.path']) AS paths FROM spans
      WHERE trace_id IN (SELECT trace_id FROM spans WHERE kind = 'client' AND parent_span_id IS NULL AND
        (service IN ('visitor', 'reader') OR service LIKE '%curl')) GROUP BY trace_id)`,
    [SPANS_OF_A_REQUEST],
  );
  const [whole, roots] = [Number(trees[0]?.[0]), Number(trees[0]?.[1])];
  const asked = load.visitor + load.reader + 2 * load.curl;
  const isRight = roots === asked && whole >= asked - PROVING_REQUESTS_MAX;
  report.add(
    `${whole} of ${asked} requests are one whole tree of ${SPANS_OF_A_REQUEST} spans`,
    isRight ? "" : `${roots} roots\n${await whatIsUnlinked(program)}`,
  );
}

async function compareStatus(program: Program, report: SuiteReport): Promise<void> {
  const { tls } = await program.json<{ tls: CaptureTls }>("/api/v1/capture");
  const { calls, delivered, waiting, dropped } = tls.streams;
  const left = Object.values(dropped).reduce((sum, count) => sum + count, 0);
  report.add(
    `by ${tls.probes?.way ?? "no way"}: ${calls} calls = ${delivered} delivered + ${waiting} waiting + ${left} dropped`,
    calls === delivered + waiting + left && delivered > 0 ? "" : JSON.stringify(tls),
  );
}

interface CaptureTls {
  readonly probes?: { readonly way: string };
  readonly streams: {
    readonly calls: number;
    readonly delivered: number;
    readonly waiting: number;
    readonly dropped: Readonly<Record<string, number>>;
  };
}

async function whatWasSeen(program: Program): Promise<string> {
  const rows = await program.sql(
    "SELECT service, kind, count(*) AS n FROM spans GROUP BY service, kind ORDER BY service",
  );
  const capture = await program.json<object>("/api/v1/capture");
  return `${JSON.stringify(rows)}\n${JSON.stringify(capture)}`;
}

async function whatIsUnlinked(program: Program): Promise<string> {
  const rows = await program.sql(
    `SELECT service, kind, link_reason, attributes['thalweg.unlinked'] AS why, count(*) FROM spans
     GROUP BY service, kind, link_reason, why ORDER BY service, kind`,
  );
  return rows.map((row) => row.join(" ")).join("\n");
}
