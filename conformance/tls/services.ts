/**
 * Services that speak HTTPS to one another, and clients of theirs: each keeps a ledger of what it was asked, or asked.
 *
 * They run under names of their own (`tw-node`, …: links to the real programs), so that policy by name touches nothing else
 * of the machine.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { freePort } from "../demo/shop.ts";
import { until } from "../program.ts";

/** Names under which the programs run. */
export const PROGRAMS = ["tw-node", "tw-python", "tw-nginx", "tw-curl"] as const;

/** The services of one run. */
export interface Services {
  readonly directory: string;
  readonly nginxPort: number;
  readonly children: ChildProcess[];
}

/** What is missing on this machine; empty where all is there. */
export function missingPrograms(): string {
  for (const program of ["nginx", "curl", "python3", "openssl"]) {
    if (spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0) return `this machine has no ${program}`;
  }
  return "";
}

/** Starts nginx → front (Node) → back (Node) and stock (Python), all of them by HTTPS. */
export async function startServices(directory: string, children: ChildProcess[]): Promise<Services> {
  mkdirSync(join(directory, "bin"));
  const python = spawnSync("python3", ["-c", "import sys; print(sys.executable)"], { encoding: "utf8" }).stdout.trim();
  for (const [name, target] of [
    ["tw-node", process.execPath],
    ["tw-python", python],
    ["tw-nginx", whereIs("nginx")],
    ["tw-curl", whereIs("curl")],
  ] as const) {
    symlinkSync(target, join(directory, "bin", name));
  }
  makeCertificate(directory);
  const [back, stock, front, nginx] = [await freePort(), await freePort(), await freePort(), await freePort()];
  writeFileSync(join(directory, "back.mjs"), BACK);
  writeFileSync(join(directory, "front.mjs"), FRONT);
  writeFileSync(join(directory, "stock.py"), STOCK);
  writeFileSync(join(directory, "visitor.mjs"), VISITOR);
  writeFileSync(join(directory, "reader.py"), READER);
  writeFileSync(join(directory, "nginx.conf"), nginxConf(directory, nginx, front));
  run(directory, children, "tw-node", ["back.mjs", String(back)]);
  run(directory, children, "tw-python", ["stock.py", String(stock)]);
  run(directory, children, "tw-node", ["front.mjs", String(front), String(back), String(stock)]);
  run(directory, children, "tw-nginx", ["-e", "stderr", "-p", directory, "-c", join(directory, "nginx.conf")]);
  const isUp = await until(async () => {
    const { status } = spawnSync("curl", ["-sfk", "-o", "/dev/null", `https://127.0.0.1:${nginx}/ready`]);
    return status === 0 ? true : undefined;
  }, 20_000);
  if (isUp === undefined) throw new Error("nginx → front → back and stock did not come up");
  return { directory, nginxPort: nginx, children };
}

/** Starts a program of `bin/` in the directory. */
export function run(directory: string, children: ChildProcess[], name: string, args: readonly string[]): ChildProcess {
  const child = spawn(join(directory, "bin", name), args, {
    cwd: directory,
    stdio: ["pipe", "ignore", "inherit"],
    env: {
      ...process.env,
      NODE_EXTRA_CA_CERTS: join(directory, "cert.pem"),
      SSL_CERT_FILE: join(directory, "cert.pem"),
    },
  });
  children.push(child);
  return child;
}

/** Paths in a ledger, without those that asked whether a service is up. */
export function ledgerOf(directory: string, name: string): string[] {
  const lines = readFileSync(join(directory, `${name}.log`), "utf8")
    .trimEnd()
    .split("\n");
  return lines.filter((line) => line !== "" && !line.includes("/ready"));
}

function whereIs(program: string): string {
  return spawnSync("sh", ["-c", `command -v ${program}`], { encoding: "utf8" }).stdout.trim();
}

/** Writes `key.pem` and `cert.pem` of this machine into a directory. */
export function makeCertificate(directory: string): void {
  const made = spawnSync(
    "openssl",
    [
      ...["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"],
      ...["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"],
      ...["-keyout", join(directory, "key.pem"), "-out", join(directory, "cert.pem")],
    ],
    { encoding: "utf8" },
  );
  if (made.status !== 0) throw new Error(`openssl makes no certificate: ${made.stderr}`);
}

function nginxConf(directory: string, port: number, front: number): string {
  return `worker_processes 1; daemon off; pid ${directory}/nginx.pid; error_log stderr crit;
events { worker_connections 512; }
http {
  log_format path '$request_uri';
  access_log ${directory}/nginx.log path;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  upstream front { server 127.0.0.1:${front}; keepalive 32; }
  server {
    listen 127.0.0.1:${port} ssl http2;
    ssl_certificate ${directory}/cert.pem; ssl_certificate_key ${directory}/key.pem;
    location / { proxy_pass https://front; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`;
}

const BACK = `import { appendFileSync, readFileSync } from "node:fs";
import { createServer } from "node:https";
const [, , port] = process.argv;
createServer({ key: readFileSync("key.pem"), cert: readFileSync("cert.pem") }, (request, response) => {
  appendFileSync("back.log", request.url + "\\n");
  response.end("stored ".repeat(200));
}).listen(Number(port), "127.0.0.1");
`;

const FRONT = `import { appendFileSync, readFileSync } from "node:fs";
import { Agent, createServer, get } from "node:https";
const [, , port, back, stock] = process.argv;
const agent = new Agent({ keepAlive: true, maxSockets: 32 });
const ask = (port, path) => new Promise((resolve, reject) => {
  get({ host: "127.0.0.1", port: Number(port), path, agent }, (answer) => {
    const chunks = [];
    answer.on("data", (chunk) => chunks.push(chunk));
    answer.on("end", () => resolve(Buffer.concat(chunks)));
  }).on("error", reject);
});
createServer({ key: readFileSync("key.pem"), cert: readFileSync("cert.pem") }, async (request, response) => {
  appendFileSync("front.log", request.url + "\\n");
  try {
    const stored = await ask(back, request.url);
    const counted = await ask(stock, request.url);
    response.end(Buffer.concat([stored, counted]));
  } catch (error) {
    response.writeHead(502);
    response.end(String(error));
  }
}).listen(Number(port), "127.0.0.1");
`;

const STOCK = `import ssl, sys, threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
log = open("stock.log", "a", buffering=1)
lock = threading.Lock()
class Stock(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        with lock:
            log.write(self.path + "\\n")
        body = b"7 left"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *_):
        pass
class Server(ThreadingHTTPServer):
    request_queue_size = 128
server = Server(("127.0.0.1", int(sys.argv[1])), Stock)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("cert.pem", "key.pem")
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
`;

/** Asks \`count\` times with so many in flight, once a line comes on its standard input. */
const VISITOR = `import { appendFileSync } from "node:fs";
import { Agent, get } from "node:https";
const [, , port, count, inFlight] = process.argv.map(Number);
const agent = new Agent({ keepAlive: true, maxSockets: inFlight });
let next = 0;
const visit = async () => {
  while (next < count) {
    const path = "/visitor/" + next++;
    await new Promise((resolve) => {
      get({ host: "127.0.0.1", port, path, agent }, (answer) => {
        answer.resume();
        answer.on("end", resolve);
        appendFileSync("visitor.log", path + "\\n");
      }).on("error", resolve);
    });
  }
};
process.stdin.once("data", async () => {
  await Promise.all(Array.from({ length: inFlight }, visit));
  process.exit(0);
});
`;

const READER = `import sys, urllib.request
port, count = int(sys.argv[1]), int(sys.argv[2])
sys.stdin.readline()
with open("reader.log", "a") as log:
    for number in range(count):
        path = "/reader/%d" % number
        with urllib.request.urlopen("https://localhost:%d%s" % (port, path)) as answer:
            answer.read()
        log.write(path + "\\n")
`;
