/**
 * Calls over sockets with a path: Node → nginx → Node, redis-cli → Redis, psql → PostgreSQL. Both ends of each call, its
 * parent, its names and its edge are those of the same call over TCP.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { postgresqlPrograms, startDatabases } from "../databases/servers.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, until } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

const SETTLE_MS_MAX = 15_000;
const READY_MS_MAX = 10_000;
const REQUESTS = 240;
/** nginx' rule has to prove itself first. */
const DRAWN_MIN = 150;
const LEAVERS = 6;
const PASSWORD = "unix";

const RUNGS = ["socket", "syscall"] as const;

/** The suite `unix-sockets`, on the rungs that see them and run on a kernel of today. Words choose among them. */
export async function runUnixSockets(words: readonly string[] = []): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  const missing = ["nginx", "redis-server", "psql", "python3"].find(
    (program) => spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0,
  );
  if (missing !== undefined || postgresqlPrograms() === "") {
    report.skip("unix-sockets", `this machine has no ${missing ?? "PostgreSQL"}`, "servers");
    return report.outcome;
  }
  if (process.getuid?.() !== 0) {
    report.skip("unix-sockets", "live capture needs root", "capture");
    return report.outcome;
  }
  for (const rung of RUNGS) if (words.every((word) => rung === word)) await runOn(rung, report);
  return report.outcome;
}

async function runOn(rung: (typeof RUNGS)[number], all: SuiteReport): Promise<void> {
  const report = { add: (name: string, fault: string) => all.add(`${rung}: ${name}`, fault) };
  const directory = mkdtempSync(join(tmpdir(), "thalweg-unix-"));
  chmodSync(directory, 0o755);
  const children: ChildProcess[] = [];
  const databases = await startDatabases(PASSWORD);
  const program = await Program.start(["--capture", rung, "--capture-cpu", "none", "--network-namespace", "own"]);
  try {
    const front = await startWeb(directory, children);
    await overHttp(program, front, report);
    const { redisSocket, postgresqlDirectory, env } = databases;
    const redis = spawnSync("redis-cli", ["-s", redisSocket, "SET", "a", "1"], { env, encoding: "utf8" });
    report.add("redis-cli is answered", redis.stdout.includes("OK") ? "" : `${redis.stdout}${redis.stderr}`);
    report.add("Redis: both ends", await pairFault(program, redisSocket, "SET", 1));
    const port = String(databases.postgresqlPort);
    const psql = spawnSync("psql", ["-h", postgresqlDirectory, "-p", port, "-X", "-c", "SELECT name FROM items"], {
      env,
      encoding: "utf8",
    });
    report.add("psql is answered", psql.status === 0 ? "" : psql.stderr);
    const path = join(postgresqlDirectory, `.s.PGSQL.${port}`);
    report.add("PostgreSQL: both ends", await pairFault(program, path, "SELECT items", 1));
    report.add("clients that leave before they are read", await leaversFault(program, join(directory, "late.sock")));
    report.add("edges", await edgesFault(program));
    report.add("one truth", await oneTruthFault(program));
  } finally {
    for (const child of children) child.kill("SIGTERM");
    await program.discard();
    await databases.stop();
    rmSync(directory, { recursive: true, force: true });
  }
}

/** nginx in front of a service, each with a path. @returns That of nginx. */
async function startWeb(directory: string, children: ChildProcess[]): Promise<string> {
  const front = join(directory, "front.sock");
  const back = join(directory, "back.sock");
  const service = join(directory, "unix-back.mjs");
  writeFileSync(
    service,
    `import { createServer } from "node:http";
createServer((request, response) => { request.resume(); response.writeHead(request.url.includes("fail") ? 500 : 200); response.end("x".repeat(3000)); }).listen(process.argv[2]);`,
  );
  children.push(spawn(process.execPath, [service, back], { stdio: "ignore" }));
  const conf = join(directory, "nginx.conf");
  writeFileSync(
    conf,
    `user root; worker_processes 1; daemon off; pid ${directory}/nginx.pid; error_log stderr crit;
events { worker_connections 128; }
http {
  access_log off;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  upstream back { server unix:${back}; keepalive 8; }
  server {
    listen unix:${front};
    location / { proxy_pass http://back; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  );
  children.push(spawn("nginx", ["-e", "stderr", "-p", directory, "-c", conf], { stdio: "ignore" }));
  const up = await until(async () => (existsSync(front) && existsSync(back) ? true : undefined), READY_MS_MAX);
  if (up === undefined) throw new Error("nginx and its service did not come up");
  return front;
}

async function overHttp(program: Program, front: string, report: Pick<SuiteReport, "add">): Promise<void> {
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  const statuses = await Promise.all(
    Array.from({ length: REQUESTS }, (_, number) =>
      ask(front, number % 8 === 7 ? "/fail" : `/orders/${number}`, agent),
    ),
  );
  agent.destroy();
  report.add("every request was answered", statuses.every((status) => status > 0) ? "" : statuses.join());
  const failed = Math.floor(REQUESTS / 8);
  report.add("nginx: both ends", await pairFault(program, front, "GET /orders/{id}", REQUESTS - failed));
  report.add("nginx: both ends of what fails", await pairFault(program, front, "GET /fail", failed));
  const back = front.replace("front.sock", "back.sock");
  report.add("Node: both ends", await pairFault(program, back, "GET /orders/{id}", REQUESTS - failed));
  let parents = "";
  const hold = async () => {
    const rows = await program.sql(
      `SELECT count(*), count(c.parent_span_id), count(*) FILTER (WHERE p.attributes['url.path'] = c.attributes['url.path'])
       FROM spans c LEFT JOIN spans p ON p.trace_id = c.trace_id AND p.span_id = c.parent_span_id
       WHERE c.server_addr = $1 AND c.kind = 'client'`,
      [back],
    );
    const [calls, drawn, right] = (rows[0] ?? []).map(Number);
    parents = `${calls} calls, ${drawn} parents, ${right} right`;
    return calls === REQUESTS && drawn === right && Number(drawn) >= DRAWN_MIN ? true : undefined;
  };
  const isHeld = (await until(hold, SETTLE_MS_MAX)) === true;
  report.add(`nginx calls for what it was asked: ${parents}`, isHeld ? "" : `expected ${REQUESTS}, most of them drawn`);
}

function ask(socketPath: string, path: string, agent: Agent): Promise<number> {
  return new Promise((resolve) => {
    const asked = request({ socketPath, path, agent }, (answer) =>
      answer.resume().on("end", () => resolve(answer.statusCode ?? 0)),
    );
    asked.on("error", () => resolve(0));
    asked.end();
  });
}

/** So many calls, each with both ends in one trace, the server's under the client's. */
async function pairFault(program: Program, path: string, name: string, count: number): Promise<string> {
  let found = "";
  const wanted = JSON.stringify([String(count), String(count), String(count)]);
  await until(async () => {
    const rows = await program.sql(
      `SELECT count(*), count(s.span_id), count(*) FILTER (WHERE c.attributes['network.transport'] = 'unix')
       FROM spans c LEFT JOIN spans s ON s.trace_id = c.trace_id AND s.parent_span_id = c.span_id AND s.kind = 'server' AND s.name = c.name
       WHERE c.server_addr = $1 AND c.kind = 'client' AND c.name = $2`,
      [path, name],
    );
    found = JSON.stringify(rows[0]);
    return found === wanted ? true : undefined;
  }, SETTLE_MS_MAX);
  if (found === wanted) return "";
  const all = await program.sql(
    "SELECT name, kind, service, server_addr, client_addr, count(*) FROM spans WHERE protocol <> 'http' OR server_port = 0 GROUP BY ALL LIMIT 20",
  );
  return `found ${found}, expected ${wanted}\n${JSON.stringify(all)}`;
}

/** A server that accepts late: each request of a client that is gone by then is one span of the server, under no other's name. */
async function leaversFault(program: Program, path: string): Promise<string> {
  const script = `
import socket, sys, time
listener = socket.socket(socket.AF_UNIX); listener.bind(sys.argv[1]); listener.listen(10)
for number in range(${LEAVERS}):
    client = socket.socket(socket.AF_UNIX); client.connect(sys.argv[1])
    client.sendall(b"GET /late HTTP/1.1\\r\\nHost: a\\r\\n\\r\\n"); client.close()
served = [listener.accept()[0] for number in range(${LEAVERS})]
for end in served: end.recv(4096)
time.sleep(0.3)`;
  const { status, stderr } = spawnSync("python3", ["-c", script, path], { encoding: "utf8" });
  if (status !== 0) return `python3 ended with ${status}: ${stderr}`;
  let found = "";
  await until(async () => {
    const rows = await program.sql(
      "SELECT count(*), count(DISTINCT client_addr) FROM spans WHERE server_addr = $1 AND kind = 'server'",
      [path],
    );
    found = JSON.stringify(rows[0]);
    return found === JSON.stringify([String(LEAVERS), String(LEAVERS)]) ? true : undefined;
  }, SETTLE_MS_MAX);
  return found === JSON.stringify([String(LEAVERS), String(LEAVERS)]) ? "" : `${found} of ${LEAVERS} requests`;
}

async function edgesFault(program: Program): Promise<string> {
  const wanted = ["nginx unix-back", "psql postgres", "redis-cli redis-server"];
  let missing = wanted;
  let found = "";
  await until(async () => {
    const graph = await program.json<{ edges: { client: string; server: string }[] }>("/api/v1/graph?window=15m");
    const edges = new Set(graph.edges.map(({ client, server }) => `${client} ${server}`));
    found = [...edges].join(", ");
    missing = wanted.filter((edge) => !edges.has(edge));
    return missing.length === 0 ? true : undefined;
  }, SETTLE_MS_MAX);
  return missing.length === 0 ? "" : `missing: ${missing.join(", ")} among ${found}`;
}
