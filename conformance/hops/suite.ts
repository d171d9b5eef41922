/**
 * 2,000 requests through nginx → Node → Python at 24 in flight: as many spans at each hop as its access log has lines.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../demo/shop.ts";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

const REQUESTS = 2_000;
const IN_FLIGHT = 24;
const SETTLE_MS_MAX = 15_000;
const RUNGS = ["socket", "syscall", "packet"] as const;

/** One hop: the service as it should be named, and the log it writes a line to for each request. */
interface Hop {
  readonly service: string;
  readonly log: string;
}

/** The suite `hops`: spans of three services in a row against their access logs, on each live rung. */
export async function runHops(): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  for (const program of ["nginx", "python3"]) {
    if (spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0) {
      report.skip("hops", `this machine has no ${program}`, "servers");
      return report.outcome;
    }
  }
  if (process.getuid?.() !== 0) {
    report.skip("hops", "live capture needs root", "capture");
    return report.outcome;
  }
  for (const rung of RUNGS) await runOn(rung, report);
  return report.outcome;
}

async function runOn(rung: string, report: SuiteReport): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-hops-"));
  const children: ChildProcess[] = [];
  const program = await Program.start(["--capture", rung, "--capture-cpu", "none"]);
  try {
    const { port, hops } = await startChain(directory, children);
    const failed = await load(port);
    report.add(
      `${rung}: ${REQUESTS} requests at ${IN_FLIGHT} in flight are answered`,
      failed === 0 ? "" : `${failed} were not`,
    );
    for (const hop of hops) {
      let lines = 0;
      let found = 0;
      await until(async () => {
        const rows = await program.sql("SELECT sum(weight) AS n FROM spans WHERE service = $1 AND kind = 'server'", [
          hop.service,
        ]);
        found = Number(rows[0]?.[0] ?? 0);
        // A server may write its line after its answer.
        lines = readFileSync(hop.log, "utf8").trimEnd().split("\n").length;
        return found === lines ? true : undefined;
      }, SETTLE_MS_MAX);
      report.add(
        `${rung}: ${hop.service}: ${found} spans, ${lines} access-log lines`,
        found === lines ? "" : await whatWasSeen(program),
      );
    }
    report.add(`${rung}: one truth`, await oneTruthFault(program));
  } finally {
    for (const child of children) child.kill("SIGTERM");
    await program.discard();
    rmSync(directory, { recursive: true, force: true });
  }
}

async function startChain(directory: string, children: ChildProcess[]): Promise<{ port: number; hops: Hop[] }> {
  const python = join(directory, "hop_python.py");
  writeFileSync(python, PYTHON_HOP);
  const node = join(directory, "hop-node.mjs");
  writeFileSync(node, NODE_HOP);
  const logs = {
    nginx: join(directory, "nginx.log"),
    node: join(directory, "node.log"),
    python: join(directory, "python.log"),
  };
  const ports = { nginx: await freePort(), node: await freePort(), python: await freePort() };
  children.push(spawn("python3", [python, String(ports.python), logs.python], { stdio: "ignore" }));
  children.push(
    spawn(process.execPath, [node, String(ports.node), String(ports.python), logs.node], { stdio: "ignore" }),
  );
  const conf = join(directory, "nginx.conf");
  writeFileSync(conf, nginxConf(directory, ports, logs.nginx));
  children.push(spawn("nginx", ["-e", "stderr", "-p", directory, "-c", conf], { stdio: "ignore" }));
  const answered = await until(async () => ((await once(ports.nginx, "/ready")) === 200 ? true : undefined), 10_000);
  if (answered === undefined) throw new Error("nginx → Node → Python did not come up");
  await sleep(200);
  return {
    port: ports.nginx,
    hops: [
      { service: "nginx", log: logs.nginx },
      { service: "hop-node", log: logs.node },
      { service: "hop_python", log: logs.python },
    ],
  };
}

async function load(port: number): Promise<number> {
  const agent = new Agent({ keepAlive: true, maxSockets: IN_FLIGHT });
  let next = 0;
  let failed = 0;
  const visitor = async () => {
    while (next < REQUESTS) {
      const number = next++;
      if ((await once(port, `/orders/${number}`, agent)) !== 200) failed++;
    }
  };
  await Promise.all(Array.from({ length: IN_FLIGHT }, visitor));
  agent.destroy();
  return failed;
}

function once(port: number, path: string, agent?: Agent): Promise<number> {
  return new Promise((resolve) => {
    const asked = get(
      { host: "127.0.0.1", port, path, ...(agent === undefined ? { agent: false } : { agent }) },
      (response) => {
        response.resume();
        response.on("end", () => resolve(response.statusCode ?? 0));
      },
    );
    asked.on("error", () => resolve(0));
  });
}

async function whatWasSeen(program: Program): Promise<string> {
  const rows = await program.sql(
    "SELECT service, kind, count(*) AS n FROM spans GROUP BY service, kind ORDER BY service",
  );
  const capture = await program.json<object>("/api/v1/capture");
  return `${JSON.stringify(rows)}\n${JSON.stringify(capture)}`;
}

function nginxConf(directory: string, ports: { nginx: number; node: number }, log: string): string {
  return `worker_processes 1; daemon off; pid ${directory}/nginx.pid; error_log stderr crit;
events { worker_connections 512; }
http {
  access_log ${log};
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  upstream node { server 127.0.0.1:${ports.node}; keepalive 32; }
  server {
    listen 127.0.0.1:${ports.nginx};
    location / { proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`;
}

const NODE_HOP = `import { appendFileSync } from "node:fs";
import { Agent, createServer, get } from "node:http";
const [, , port, python, log] = process.argv;
const agent = new Agent({ keepAlive: true, maxSockets: 32 });
createServer((request, response) => {
  get({ host: "127.0.0.1", port: Number(python), path: request.url, agent }, (answer) => {
    const chunks = [];
    answer.on("data", (chunk) => chunks.push(chunk));
    answer.on("end", () => {
      appendFileSync(log, request.url + "\\n");
      response.writeHead(answer.statusCode);
      response.end(Buffer.concat(chunks));
    });
  }).on("error", () => { appendFileSync(log, request.url + "\\n"); response.writeHead(502); response.end(); });
}).listen(Number(port), "127.0.0.1");
`;

const PYTHON_HOP = `import sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
log = open(sys.argv[2], "a", buffering=1)
lock = threading.Lock()
class Hop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        body = b"x" * 200
        with lock:
            log.write(self.path + "\\n")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 128
Server(("127.0.0.1", int(sys.argv[1])), Hop).serve_forever()
`;
