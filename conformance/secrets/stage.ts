/** nginx → Node → Python, an HTTP/2 server, PostgreSQL and Redis, with secrets in command lines and environments, too. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Databases, postgresqlPrograms, startDatabases } from "../databases/servers.ts";
import { freePort } from "../demo/shop.ts";
import { until } from "../program.ts";
import { makeCertificate } from "../tls/services.ts";
import type { Planter } from "./planter.ts";
import { SECRETS_SCHEMA } from "./postgresql-requests.ts";

const READY_MS_MAX = 10_000;
const SERVICES = join(import.meta.dirname, "services");

/** All servers of the suite. */
export interface Stage {
  readonly ports: {
    readonly nginx: number;
    readonly tls: number;
    readonly node: number;
    readonly http2: number;
    readonly python: number;
  };
  readonly databases: Databases;
  /** Lines that a server wrote: `METHOD ROUTE STATUS`; of nginx with the version before the status and its port behind it. */
  ledger(server: "nginx" | "node" | "http2" | "python"): string[];
  stop(): Promise<void>;
}

/** What this machine lacks; empty where nothing. */
export function missingProgram(): string {
  const programs = ["nginx", "openssl", "python3", "redis-server", "redis-cli", "psql"];
  const missing = programs.find((program) => spawnSync("sh", ["-c", `command -v ${program}`]).status !== 0);
  return missing ?? (postgresqlPrograms() === "" ? "PostgreSQL" : "");
}

/** Starts them and waits until they listen. */
export async function startStage(planter: Planter, password: string): Promise<Stage> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-secrets-"));
  const databases = await startDatabases(password, "password");
  const children: ChildProcess[] = [];
  const ports = {
    nginx: await freePort(),
    tls: await freePort(),
    node: await freePort(),
    http2: await freePort(),
    python: await freePort(),
  };
  const files = {
    nginx: join(directory, "nginx.log"),
    node: join(directory, "node.log"),
    http2: join(directory, "node.log.h2"),
    python: join(directory, "python.log"),
  };
  const stop = async () => {
    for (const child of children) child.kill("SIGTERM");
    await databases.stop();
    rmSync(directory, { recursive: true, force: true });
  };
  const env = {
    ...process.env,
    DATABASE_URL: `postgres://app:${planter.plain()}@db/shop`,
    API_KEY: planter.anyShape(),
  };
  const start = (program: string, words: string[]) =>
    children.push(spawn(program, words, { stdio: "ignore", env: { ...env, TOKEN: planter.plain() } }));
  try {
    const { postgresqlPort } = databases;
    const made = spawnSync("psql", ["-h", "127.0.0.1", "-p", String(postgresqlPort), "-q", "-c", SECRETS_SCHEMA], {
      env: databases.env,
      encoding: "utf8",
    });
    if (made.status !== 0) throw new Error(`psql: ${made.stderr}`);
    for (const path of Object.values(files)) writeFileSync(path, "");
    start("python3", [
      ...[join(SERVICES, "secrets_stock.py"), String(ports.python), files.python],
      ...["--token", planter.plain(), `--password=${planter.plain()}`],
    ]);
    start(process.execPath, [
      ...["--disable-warning=ExperimentalWarning", join(SERVICES, "secrets-shop.ts")],
      ...[String(ports.node), String(ports.http2), String(ports.python), files.node, `--api-key=${planter.anyShape()}`],
    ]);
    makeCertificate(directory);
    const conf = join(directory, "nginx.conf");
    writeFileSync(conf, nginxConf(directory, ports, files.nginx));
    start("nginx", ["-e", "stderr", "-p", directory, "-c", conf]);
    for (const port of Object.values(ports)) {
      if ((await until(() => listens(port), READY_MS_MAX)) === undefined) throw new Error(`nothing listens on ${port}`);
    }
    return { ports, databases, ledger: (server) => linesOf(files[server]), stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

function listens(port: number): Promise<true | undefined> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => resolve(true)).on("error", () => resolve(undefined));
    socket.end();
  });
}

function linesOf(file: string): string[] {
  return readFileSync(file, "utf8")
    .split("\n")
    .filter((line) => line !== "");
}

function nginxConf(directory: string, ports: { nginx: number; tls: number; node: number }, log: string): string {
  return `worker_processes 1; daemon off; pid ${directory}/nginx.pid; error_log stderr crit;
events { worker_connections 256; }
http {
  log_format ledger '$request $status $server_port';
  access_log ${log} ledger;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  upstream node { server 127.0.0.1:${ports.node}; keepalive 8; }
  server {
    listen 127.0.0.1:${ports.nginx};
    listen 127.0.0.1:${ports.tls} ssl;
    ssl_certificate ${directory}/cert.pem; ssl_certificate_key ${directory}/key.pem;
    location / { proxy_pass http://node; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`;
}
