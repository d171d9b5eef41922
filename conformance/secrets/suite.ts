/**
 * Planted secrets through real nginx (in the clear and over TLS), Node, Python, PostgreSQL and Redis under live capture: none of them in the data
 * directory, the program's output, any of its answers, what an agent sends or what `dissect` prints of a recording of the same traffic, while
 * name, text and status of every request are right by what the servers and clients wrote down themselves.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { rmSync } from "node:fs";
import { join } from "node:path";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { type PlantedRequest, plantRequest, send } from "./http-requests.ts";
import { type PlantedStream, plantStream, sendStreams } from "./http2-requests.ts";
import { type OtlpOut, startOtlpOut } from "./otlp-out.ts";
import { Planter } from "./planter.ts";
import { PgClient } from "./postgresql-client.ts";
import { type PlantedStatement, plantStatement, runStatement } from "./postgresql-requests.ts";
import { type PlantedCommand, plantCommand, sendCommands } from "./redis-requests.ts";
import { shortRoute } from "./routes.ts";
import { lookIntoAnswers, lookIntoFiles, lookIntoTables, SecretSearch } from "./search.ts";
import { missingProgram, type Stage, startStage } from "./stage.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const WHOLE = 2_000;
const SHORT = 200;
const SETTLE_MS_MAX = 10_000;
const IN_FLIGHT = 4;
/** Every request is to be seen whole, whatever else this machine does. */
const CAPTURE_CORES = "none";
const PIPELINE_DEPTH = 8;
/** The data directory's own background work is let finish before files are read. */
const WRITTEN_MS = 1_000;

/** Everything that is sent, made before anything is. */
interface Plants {
  readonly http: readonly PlantedRequest[];
  /** Over TLS, to the same server. */
  readonly https: readonly PlantedRequest[];
  readonly streams: readonly PlantedStream[];
  readonly statements: readonly PlantedStatement[];
  readonly commands: readonly PlantedCommand[];
}

/** The suite `secrets`: `--short` sends a tenth, `--rung NAME` takes one rung, `--seed N` makes other secrets. */
export async function runSecrets(args: readonly string[] = []): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  const missing = missingProgram();
  if (missing !== "") report.skip("secrets", `this machine has no ${missing}`, "servers");
  else if (process.getuid?.() !== 0) report.skip("secrets", "live capture needs root", "capture");
  else {
    const isShort = args.includes("--short");
    const seed = Number(flagOf(args, "--seed") ?? Date.now() % 1_000_000);
    const asked = flagOf(args, "--rung");
    const rungs = asked === undefined ? (isShort ? ["socket"] : ["socket", "packet"]) : [asked];
    for (const rung of rungs) await runOn(rung, isShort ? SHORT : WHOLE, seed, report);
  }
  return report.outcome;
}

function flagOf(args: readonly string[], name: string): string | undefined {
  const at = args.indexOf(name);
  return at < 0 ? undefined : args[at + 1];
}

function plant(count: number, planter: Planter): Plants {
  const make = <T>(share: number, one: (number: number, planter: Planter) => T) =>
    Array.from({ length: Math.round(count * share) }, (_, number) => one(number, planter));
  return {
    http: make(0.3, plantRequest),
    https: make(0.1, plantRequest),
    streams: make(0.1, plantStream),
    statements: make(0.25, plantStatement),
    commands: make(0.25, plantCommand),
  };
}

async function runOn(rung: string, count: number, seed: number, report: SuiteReport): Promise<void> {
  const planter = new Planter(seed);
  const password = planter.plain();
  const stage = await startStage(planter, password);
  try {
    const flags = [
      "--capture",
      rung,
      "--capture-cpu",
      CAPTURE_CORES,
      "--tls",
      "nginx,node",
      "--network-namespace",
      "own",
    ];
    const program = await Program.start(flags);
    try {
      await runBeside(
        { stage, program, rung, planter, password, plants: plantsFor(rung, count, planter), seed },
        report,
      );
    } finally {
      await program.discard();
    }
  } finally {
    await stage.stop();
  }
}

/** What one run has. */
interface Run {
  readonly stage: Stage;
  readonly program: Program;
  readonly rung: string;
  readonly planter: Planter;
  readonly password: string;
  readonly plants: Plants;
  readonly seed: number;
}

/** TLS is read inside of OpenSSL, which packets do not show. */
function plantsFor(rung: string, count: number, planter: Planter): Plants {
  return { ...plant(count, planter), ...(rung === "packet" ? { https: [] } : {}) };
}

async function runBeside(
  { stage, program, rung, planter, password, plants, seed }: Run,
  report: SuiteReport,
): Promise<void> {
  const file = join(program.dataDirectory, "..", `secrets-${process.pid}-${rung}.twcap`);
  const search = new SecretSearch(planter);
  const name = `${rung}, seed ${seed}`;
  let recorder: ChildProcess | undefined;
  let otlpOut: OtlpOut | undefined;
  try {
    recorder = rung === "packet" ? undefined : await startRecorder(file);
    otlpOut = await startOtlpOut(thalweg("agent"), rung);
    const wanted = await sendAll(stage, password, plants, planter);
    report.add(`${name}: every request was answered`, wanted.unanswered === 0 ? "" : `${wanted.unanswered} were not`);
    for (const { server, port, calls } of wanted.calls) {
      report.add(`${name}: ${server}: ${calls.length} requests`, await callsFault(program, port, calls));
    }
    for (const { server, port, lines } of wanted.ledgers) {
      report.add(`${name}: ${server} says the same`, await ledgerFault(program, port, lines));
    }
    report.add(`${name}: an agent sent its spans`, await otlpOutFault(otlpOut, search));
    report.add(`${name}: one truth`, await oneTruthFault(program));
    if (recorder !== undefined) {
      report.add(`${name}: dissect of the same traffic`, await dissectFault(recorder, file, stage, plants, search));
    }
    const { redisPort, postgresqlPort } = stage.databases;
    await lookIntoAnswers(program, search, [...Object.values(stage.ports), redisPort, postgresqlPort]);
    await sleep(WRITTEN_MS);
    lookIntoFiles(program.dataDirectory, search);
    await program.stop();
    lookIntoFiles(program.dataDirectory, search);
    search.look("output", program.output);
    const rows = await lookIntoTables(program.dataDirectory, search);
    report.add(
      `${name}: none of ${planter.planted} secrets in ${Math.round(search.bytes / 1e6)} MB of files, tables (${rows} rows), answers and output`,
      search.finds.join("\n"),
    );
    report.add(`${name}: a planted secret is found`, plantedFault(planter));
  } finally {
    recorder?.kill("SIGKILL");
    await otlpOut?.stop();
    rmSync(file, { force: true });
  }
}

/** The search finds what it looks for, in each of its forms. */
function plantedFault(planter: Planter): string {
  const secret = planter.plain();
  const base64 = Buffer.from(`user:${secret}`).toString("base64");
  const forms = [
    secret,
    secret.toUpperCase(),
    `x${secret.slice(0, 10)}`,
    secret.slice(-10),
    base64,
    planter.shaped("card"),
  ];
  forms.push(Buffer.from(secret).toString("hex"), Buffer.from(secret, "utf16le").toString("latin1"));
  const missed = forms.filter((form) => {
    const search = new SecretSearch(planter);
    search.look("planted", `before ${form} after`);
    return search.finds.length === 0;
  });
  return missed.length === 0 ? "" : `not found: ${missed.join(", ")}`;
}

/** What is expected of one server port: `name|code|text`, once for each request. */
interface Wanted {
  readonly unanswered: number;
  readonly calls: readonly { readonly server: string; readonly port: number; readonly calls: readonly string[] }[];
  readonly ledgers: readonly { readonly server: string; readonly port: number; readonly lines: readonly string[] }[];
}

async function sendAll(stage: Stage, password: string, plants: Plants, planter: Planter): Promise<Wanted> {
  const { ports, databases } = stage;
  let unanswered = 0;
  const visit = async (port: number, requests: readonly PlantedRequest[], isOverTls: boolean): Promise<string[]> => {
    const calls: string[] = [];
    let next = 0;
    const visitor = async () => {
      for (let planted = requests[next++]; planted !== undefined; planted = requests[next++]) {
        const status = await send(port, planted, isOverTls);
        if (status === 0) unanswered++;
        const text = planted.query === "" ? planted.path : `${planted.path}?${planted.query}`;
        calls.push(`${planted.method} ${planted.template}|${status}|${text}`);
      }
    };
    await Promise.all(Array.from({ length: IN_FLIGHT }, visitor));
    return calls;
  };
  const http = await visit(ports.nginx, plants.http, false);
  const https = await visit(ports.tls, plants.https, true);
  unanswered += await sendStreams(ports.http2, plants.streams);
  const refused = await PgClient.open(databases.postgresqlPort, "app", planter.plain());
  const { client } = await PgClient.open(databases.postgresqlPort, "app", password);
  const statements = [`startup|${refused.answer.sqlstate}|`];
  for (const planted of plants.statements) {
    statements.push(`${planted.name}|${await runStatement(client, planted)}|${planted.text}`);
  }
  client.close();
  const codes = await sendCommands(databases.redisPort, password, plants.commands, PIPELINE_DEPTH);
  const commands = plants.commands.map(({ name, text }, at) => `${name}|${redisCode(codes[at] ?? "")}|${text}`);
  return {
    unanswered,
    calls: [
      { server: "nginx", port: ports.nginx, calls: http },
      { server: "nginx over TLS", port: ports.tls, calls: https },
      {
        server: "HTTP/2 and gRPC",
        port: ports.http2,
        calls: plants.streams.map(({ name, status, text }) => `${name}|${status}|${text}`),
      },
      { server: "PostgreSQL", port: databases.postgresqlPort, calls: statements },
      { server: "Redis", port: databases.redisPort, calls: ["AUTH||AUTH ?", ...commands] },
    ],
    ledgers: [
      { server: "nginx", port: ports.nginx, lines: nginxLines(stage, ports.nginx) },
      { server: "nginx over TLS", port: ports.tls, lines: nginxLines(stage, ports.tls) },
      { server: "Node", port: ports.node, lines: stage.ledger("node") },
      { server: "Python", port: ports.python, lines: stage.ledger("python") },
      { server: "Node's HTTP/2", port: ports.http2, lines: stage.ledger("http2") },
    ],
  };
}

/** Lines of one port of nginx, `GET /orders/7 HTTP/1.1 200 8080`, as the others write them. */
function nginxLines(stage: Stage, port: number): string[] {
  return stage.ledger("nginx").flatMap((line) => {
    const [method = "", target = "", , status = "", own = ""] = line.split(" ");
    if (own !== String(port)) return [];
    return [`${method} ${shortRoute(target.replace(/^https?:\/\/[^/]*/, ""))} ${status}`];
  });
}

/** Codes of Redis' errors are words; what begins an error text and is a secret, or none, is `ERR`. */
function redisCode(word: string): string {
  return word === "" || /^(?!AKIA)[A-Z][A-Z0-9_]+$/.test(word) ? word : "ERR";
}

const CALLS_SQL = `SELECT kind, name, coalesce(attributes['http.response.status_code'], attributes['rpc.grpc.status_code'],
  attributes['rpc.response.status_code'], attributes['db.response.status_code'], ''),
  coalesce(attributes['db.query.text'], attributes['url.path'] || coalesce('?' || attributes['url.query'], ''), ''), status
  FROM spans WHERE server_port = $1`;

/** Both sides must have exactly these calls, and each the status of its code. */
async function callsFault(program: Program, port: number, calls: readonly string[]): Promise<string> {
  let fault = "";
  await until(async () => {
    const rows = await program.sql(CALLS_SQL, [port]);
    const faults = ["client", "server"].map((side) => {
      const own = rows.filter(([kind]) => kind === side);
      const found = own.map(([, name, code, text]) => `${name}|${code}|${text}`);
      return difference(side, found, calls) || statusFault(side, own);
    });
    fault = faults.filter((one) => one !== "").join("\n");
    return fault === "" ? true : undefined;
  }, SETTLE_MS_MAX);
  return fault === "" ? "" : `${fault}\ncapture: ${JSON.stringify(await program.json("/api/v1/capture"))}`;
}

/** HTTP: 5xx is an error to both, 4xx to the client; gRPC and databases: a code is an error to the client. */
function statusFault(side: string, rows: readonly (readonly unknown[])[]): string {
  const wrong = rows.find(([, , code, , status]) => {
    if (side !== "client" || code === "0") return false;
    const isError = /^\d{3}$/.test(String(code)) ? Number(code) >= 400 : code !== "";
    return (status === "error") !== isError;
  });
  return wrong === undefined ? "" : `${side}: ${wrong.join("|")}`;
}

/** Spans of the server side, as the server itself would have written them down. */
async function ledgerFault(program: Program, port: number, lines: readonly string[]): Promise<string> {
  const rows = await program.sql(CALLS_SQL, [port]);
  const found = rows
    .filter(([kind]) => kind === "server")
    .map(([, name, code, text]) => {
      const [method = "", ...rest] = String(name).split(" ");
      return rest.length === 0 ? `${method} ${code}` : `${method} ${shortRoute(String(text))} ${code}`;
    });
  return difference("server", found, lines);
}

function difference(side: string, found: readonly string[], wanted: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const call of found) counts.set(call, (counts.get(call) ?? 0) + 1);
  for (const call of wanted) counts.set(call, (counts.get(call) ?? 0) - 1);
  const wrong = [...counts].filter(([, count]) => count !== 0);
  return wrong
    .slice(0, 20)
    .map(([call, count]) => `${side}: ${count > 0 ? "+" : ""}${count} ${call}`)
    .join("\n");
}

/** What an agent beside the server sent over OTLP: names of all kinds of requests, and no secret. */
async function otlpOutFault(otlpOut: OtlpOut, search: SecretSearch): Promise<string> {
  const names = ["GET /orders/{id}", "/shop.Vault/Open", "SELECT people", "SADD"];
  await until(async () => (otlpOut.missing(names).length === 0 ? true : undefined), SETTLE_MS_MAX);
  const { bodies, output } = await otlpOut.stop();
  search.look("output of the agent", output);
  search.look("OTLP out", Buffer.concat(bodies).toString("latin1"));
  const missing = otlpOut.missing(names);
  return missing.length === 0 ? "" : `${bodies.length} bodies without ${missing.join(", ")}`;
}

/** `thalweg record` beside the server, of all that it sees. */
async function startRecorder(file: string): Promise<ChildProcess> {
  const recorder = spawn(process.execPath, thalweg("record", "--out", file), { stdio: ["ignore", "ignore", "pipe"] });
  const started = await new Promise<boolean>((resolve) => {
    recorder.once("exit", () => resolve(false));
    recorder.stderr?.setEncoding("utf8").on("data", (text: string) => text.includes("Recording") && resolve(true));
  });
  if (!started) throw new Error("thalweg record did not start");
  return recorder;
}

function thalweg(...words: string[]): string[] {
  return ["--disable-warning=ExperimentalWarning", join(ROOT, "server", "cli", "main.ts"), ...words];
}

/** What `dissect` prints of the recording has the same operations, and no secret. */
async function dissectFault(
  recorder: ChildProcess,
  file: string,
  { ports, databases }: Stage,
  plants: Plants,
  search: SecretSearch,
): Promise<string> {
  const ended = new Promise((resolve) => recorder.once("exit", resolve));
  recorder.kill("SIGINT");
  await ended;
  const ran = spawnSync(process.execPath, thalweg("dissect", file, "--perspective", "server"), {
    encoding: "utf8",
    maxBuffer: 2 ** 28,
  });
  search.look("dissect", ran.stdout);
  search.look("dissect's errors", ran.stderr);
  if (ran.status !== 0) return `dissect ended with ${ran.status}: ${ran.stderr}`;
  const seen = new Map<string, number>();
  for (const line of ran.stdout.split("\n").filter((text) => text !== "")) {
    // Written by dissect.
    const exchange = JSON.parse(line) as { type: string; server: string };
    const port = exchange.server.slice(exchange.server.lastIndexOf(":") + 1);
    if (exchange.type === "exchange") seen.set(port, (seen.get(port) ?? 0) + 1);
  }
  const wanted: [string, number, number][] = [
    ["nginx", ports.nginx, plants.http.length],
    ["HTTP/2", ports.http2, plants.streams.length],
    // One more for a login that failed, and for one that went well.
    ["PostgreSQL", databases.postgresqlPort, plants.statements.length + 1],
    ["Redis", databases.redisPort, plants.commands.length + 1],
  ];
  // Both ends were recorded, so each exchange shows twice.
  return wanted
    .filter(([, port, count]) => seen.get(String(port)) !== 2 * count)
    .map(([server, port, count]) => `${server}: ${seen.get(String(port)) ?? 0} exchanges, expected ${2 * count}`)
    .join("\n");
}
