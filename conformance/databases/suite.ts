/**
 * A real Redis and a real PostgreSQL under their own clients: names, statuses and rows of every call, the graph, one truth,
 * and none of the planted secrets anywhere, on each live rung.
 */

import { spawn, spawnSync } from "node:child_process";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { type Databases, postgresqlPrograms, startDatabases } from "./servers.ts";

const RUNGS = ["socket", "packet"] as const;
const SETTLE_MS_MAX = 15_000;
/** Begins every secret, so that one search finds each. */
const SECRET = "hunter2secret";
const PASSWORD = `${SECRET}password`;
/** Values that are written, each in commands of its own. */
const PLANTED = 100;
const PIPELINED = 2_000;
const PIPELINE_DEPTH = 16;
const PACKET_PIPELINE_DEPTH = 2;
const TRANSACTIONS = 50;

/** A call as both of its ends must show it: `name status code`. */
type Call = string;

/** The suite `databases`: both databases on each live rung. */
export async function runDatabases(): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  const missing = ["redis-server", "redis-cli", "redis-benchmark", "psql"].filter(
    (program) => spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0,
  );
  if (missing.length > 0 || postgresqlPrograms() === "") {
    report.skip("databases", `this machine has no ${missing[0] ?? "PostgreSQL"}`, "servers");
    return report.outcome;
  }
  if (process.getuid?.() !== 0) {
    report.skip("databases", "live capture needs root", "capture");
    return report.outcome;
  }
  for (const rung of RUNGS) await runOn(rung, report);
  return report.outcome;
}

async function runOn(rung: string, report: SuiteReport): Promise<void> {
  const databases = await startDatabases(PASSWORD);
  const program = await Program.start(["--capture", rung, "--capture-cpu", "none"]);
  try {
    await redisCalls(rung, program, databases, report);
    await pipelinedCalls(rung, program, databases, report);
    await postgresqlCalls(rung, program, databases, report);
    await preparedCalls(rung, program, databases, report);
    report.add(`${rung}: edges into the databases`, await edgesFault(program));
    report.add(`${rung}: one truth`, await oneTruthFault(program));
    report.add(`${rung}: no secret is stored or told`, await secretsFault(program));
  } finally {
    await program.discard();
    await databases.stop();
  }
}

async function redisCalls(rung: string, program: Program, { redisPort, env }: Databases, report: SuiteReport) {
  const lines: string[] = [
    "HELLO 3",
    "DEL counter list",
    "INCR counter",
    "LPUSH counter x",
    "MULTI",
    "SET a 1",
    "GET a",
    "EXEC",
  ];
  const wanted: Call[] = ["AUTH", "HELLO", "DEL", "INCR", "LPUSH WRONGTYPE", "MULTI", "SET", "GET", "EXEC"];
  const add = (line: string, ...calls: Call[]) => {
    lines.push(line);
    wanted.push(...calls);
  };
  add("CONFIG SET requirepass x extra", "CONFIG SET ERR");
  add("EVAL 'return redis.call(\"GET\", KEYS[1])' 1 a", "EVAL");
  add("NOSUCHCOMMAND x", "NOSUCHCOMMAND ERR");
  add("SELECT 3", "SELECT");
  for (let at = 0; at < PLANTED; at++) add(`SET key:${at} ${SECRET}${at}`, "SET");
  add("BLPOP nothing 0.05", "BLPOP");
  const ran = spawnSync("redis-cli", ["-p", String(redisPort)], {
    env,
    input: `${lines.join("\n")}\n`,
    encoding: "utf8",
  });
  report.add(`${rung}: redis-cli was answered`, ran.status === 0 ? "" : ran.stderr);
  await holdCalls(`${rung}: redis-cli: each command`, program, redisPort, {
    client: "redis-cli",
    wanted,
    report,
    except: "COMMAND DOCS",
  });
  const rows = await program.sql(
    "SELECT DISTINCT attributes['db.query.text'] FROM spans WHERE server_port = $1 AND name = 'SET' AND attributes['db.namespace'] = '3' ORDER BY 1 LIMIT 1",
    [redisPort],
  );
  report.add(
    `${rung}: values are left out, the database is known`,
    String(rows[0]?.[0]) === "SET key:0 ?" ? "" : JSON.stringify(rows),
  );
}

async function pipelinedCalls(rung: string, program: Program, { redisPort, env }: Databases, report: SuiteReport) {
  // Packets tell who sent them only while the sender lives: there it gets more to wait for.
  const depth = rung === "packet" ? PACKET_PIPELINE_DEPTH : PIPELINE_DEPTH;
  const args = [
    "-p",
    String(redisPort),
    "-a",
    PASSWORD,
    "-n",
    String(PIPELINED),
    "-c",
    "2",
    "-P",
    String(depth),
    "-t",
    "incr,lpush",
    "-q",
  ];
  const ran = spawnSync("redis-benchmark", args, { env, encoding: "utf8", timeout: 60_000 });
  report.add(`${rung}: redis-benchmark was answered`, ran.status === 0 ? "" : ran.stderr);
  const wanted = [...Array(PIPELINED).fill("INCR"), ...Array(PIPELINED).fill("LPUSH")];
  await holdCalls(`${rung}: redis-benchmark: ${2 * PIPELINED} commands, ${depth} at a time`, program, redisPort, {
    client: "redis-benchmark",
    wanted,
    report,
    only: ["INCR", "LPUSH"],
  });
}

async function postgresqlCalls(rung: string, program: Program, databases: Databases, report: SuiteReport) {
  const { postgresqlPort: port, env } = databases;
  const lines: string[] = [];
  const wanted: Call[] = [];
  const add = (line: string, ...calls: Call[]) => {
    lines.push(line);
    wanted.push(...calls);
  };
  add("SELECT name FROM items WHERE id = 7;", "SELECT items");
  add("SELECT nothing FROM items;", "SELECT items 42703");
  add("INSERT INTO items VALUES (1, 'twice', 0);", "INSERT items 23505");
  add("BEGIN;", "BEGIN");
  add("UPDATE items SET n = n + 1 WHERE id IN (1, 2, 3);", "UPDATE items");
  add("ROLLBACK;", "ROLLBACK");
  add("CREATE TABLE carts (id int, owner text);", "CREATE TABLE carts");
  add("COPY carts FROM STDIN;\n1\tann\n2\tbob\n\\.", "COPY carts");
  add("COPY carts TO STDOUT;", "COPY carts");
  add("WITH c AS (SELECT * FROM carts) SELECT * FROM c JOIN items i ON i.id = c.id;", "SELECT carts SELECT items");
  add("DO $body$ BEGIN RAISE NOTICE 'hello'; END $body$;", "DO");
  add("LISTEN news; NOTIFY news, 'one';", "LISTEN", "NOTIFY");
  for (let at = 0; at < PLANTED; at++)
    add(
      `SELECT '${SECRET}${at}', E'\\'${SECRET}', $$${SECRET}$$ /* ${SECRET} */ FROM items WHERE name = '${SECRET}';`,
      "SELECT items",
    );
  add(`CREATE USER joe PASSWORD '${SECRET}joe';`, "CREATE USER");
  add("DROP TABLE carts;", "DROP TABLE carts");
  const ran = spawnSync("psql", ["-h", "127.0.0.1", "-p", String(port), "-X", "-q"], {
    env,
    input: `${lines.join("\n")}\n`,
    encoding: "utf8",
    timeout: 60_000,
  });
  report.add(`${rung}: psql was answered`, ran.status === 0 ? "" : ran.stderr);
  await holdCalls(`${rung}: psql: each statement`, program, port, {
    client: "psql",
    wanted,
    report,
  });
  const rows = await program.sql(
    "SELECT DISTINCT attributes['db.query.text'], attributes['db.response.returned_rows'], attributes['db.namespace'] FROM spans WHERE server_port = $1 AND kind = 'client' AND name = 'SELECT items' AND status <> 'error' ORDER BY 1",
    [port],
  );
  const found = JSON.stringify(rows);
  const expected = JSON.stringify([
    ["SELECT ?, ?, ? FROM items WHERE name = ?;", "0", "postgres"],
    ["SELECT name FROM items WHERE id = ?;", "1", "postgres"],
  ]);
  report.add(`${rung}: templates, rows and database`, found === expected ? "" : found);
}

async function preparedCalls(rung: string, program: Program, databases: Databases, report: SuiteReport) {
  const { postgresqlPort: port, env } = databases;
  const script = join(program.dataDirectory, "pgbench.sql");
  const first =
    "\\set id random(1, 100)\nSELECT name FROM items WHERE id = :id;\nUPDATE items SET n = n + 1 WHERE id = :id;\n";
  const pipeline =
    "\\startpipeline\nSELECT n FROM items WHERE id = :id;\nDELETE FROM items WHERE id = 1000 + :id;\n\\endpipeline\n";
  writeFileSync(script, first + pipeline);
  const args = [
    "-h",
    "127.0.0.1",
    "-p",
    String(port),
    "-n",
    "-M",
    "prepared",
    "-c",
    "2",
    "-t",
    String(TRANSACTIONS),
    "-f",
    script,
  ];
  const code = await new Promise<number | null>((resolve) => {
    spawn(join(postgresqlPrograms(), "pgbench"), args, { env, stdio: "ignore" }).once("exit", resolve);
  });
  report.add(`${rung}: pgbench was answered`, code === 0 ? "" : `status ${code}`);
  const count = 2 * TRANSACTIONS;
  const wanted = [
    ...Array(2 * count).fill("SELECT items"),
    ...Array(count).fill("UPDATE items"),
    ...Array(count).fill("DELETE items"),
  ];
  await holdCalls(`${rung}: pgbench: ${wanted.length} prepared statements, half of them pipelined`, program, port, {
    client: "pgbench",
    wanted,
    report,
  });
}

interface Held {
  /** Service whose calls these are; the server's own spans are found by the trace. */
  readonly client: string;
  readonly wanted: readonly Call[];
  readonly report: SuiteReport;
  readonly only?: readonly string[];
  readonly except?: string;
}

/** Both sides must have exactly these calls. */
async function holdCalls(name: string, program: Program, port: number, held: Held): Promise<void> {
  const { client, wanted, report, only, except } = held;
  let fault = "";
  await until(async () => {
    const rows = await program.sql(
      "SELECT c.name, c.attributes['db.response.status_code'], s.name, s.attributes['db.response.status_code'], c.status FROM spans c LEFT JOIN spans s ON s.trace_id = c.trace_id AND s.parent_span_id = c.span_id WHERE c.server_port = $1 AND c.kind = 'client' AND c.service = $2",
      [port, client],
    );
    const kept = rows.filter(([called]) => (only === undefined || only.includes(String(called))) && called !== except);
    const line = (...words: unknown[]) => words.filter((word) => word !== null).join(" ");
    const left = kept.map(
      ([called, code, , , status]) =>
        line(called, code) + ((status === "error") === (code !== null) ? "" : ` is ${status}`),
    );
    const right = kept.map(([, , called, code]) => line(called, code));
    fault = difference("client", left, wanted) || difference("server", right, wanted);
    return fault === "" ? true : undefined;
  }, SETTLE_MS_MAX);
  report.add(name, fault);
}

function difference(side: string, found: readonly string[], wanted: readonly string[]): string {
  const counts = new Map<string, number>();
  for (const call of found) counts.set(call, (counts.get(call) ?? 0) + 1);
  for (const call of wanted) counts.set(call, (counts.get(call) ?? 0) - 1);
  const wrong = [...counts].filter(([, count]) => count !== 0);
  return wrong.length === 0
    ? ""
    : `${side}: ${wrong.map(([call, count]) => `${call} ${count > 0 ? "+" : ""}${count}`).join(", ")}`;
}

async function edgesFault(program: Program): Promise<string> {
  const wanted = ["pgbench postgres", "psql postgres", "redis-benchmark redis-server", "redis-cli redis-server"];
  let found: string[] = [];
  await until(async () => {
    const graph = await program.json<{ edges: { client: string; server: string; connection_type: string }[] }>(
      "/api/v1/graph?window=15m",
    );
    found = graph.edges
      .filter(
        ({ client, connection_type }) =>
          connection_type === "database" && wanted.some((edge) => edge.startsWith(`${client} `)),
      )
      .map(({ client, server }) => `${client} ${server}`)
      .sort();
    return found.join() === wanted.join() ? true : undefined;
  }, SETTLE_MS_MAX);
  return found.join() === wanted.join() ? "" : `found ${JSON.stringify(found)}`;
}

/** Looks for secrets in every column of every span, in the data directory and in what the program printed. */
async function secretsFault(program: Program): Promise<string> {
  const rows = await program.sql(
    `SELECT count(*) FROM spans WHERE contains(name || CAST(attributes AS VARCHAR) || CAST(resource AS VARCHAR), '${SECRET}')`,
  );
  if (Number(rows[0]?.[0]) !== 0) return `${rows[0]?.[0]} spans hold a secret`;
  await sleep(500);
  for (const file of readdirSync(program.dataDirectory, { recursive: true, withFileTypes: true })) {
    if (!file.isFile()) continue;
    const path = join(file.parentPath, file.name);
    if (readFileSync(path).includes(SECRET)) return `${path} holds a secret`;
  }
  return program.output.includes(SECRET) ? "the program printed a secret" : "";
}
