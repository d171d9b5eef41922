/** A real Redis and a real PostgreSQL, on free ports, with passwords, in directories of their own. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { chmodSync, chownSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../demo/shop.ts";
import { sleep, until } from "../program.ts";

const READY_MS_MAX = 15_000;
/** PostgreSQL refuses to run as root; this user owns nothing. */
const NOBODY = 65_534;
const DEBIAN_POSTGRESQL = "/usr/lib/postgresql";

/** Both servers. */
export interface Databases {
  readonly redisPort: number;
  readonly postgresqlPort: number;
  /** Path of Redis' socket, and directory of PostgreSQL's. */
  readonly redisSocket: string;
  readonly postgresqlDirectory: string;
  /** Environment of clients, with the passwords. */
  readonly env: Readonly<Record<string, string | undefined>>;
  stop(): Promise<void>;
}

/** Where PostgreSQL's programs are; empty where it is not installed. */
export function postgresqlPrograms(): string {
  try {
    const [newest] = readdirSync(DEBIAN_POSTGRESQL).sort((a, b) => Number(b) - Number(a));
    return newest === undefined ? "" : join(DEBIAN_POSTGRESQL, newest, "bin");
  } catch {
    return "";
  }
}

/**
 * Starts both and waits until they answer. The PostgreSQL has a table `items` with 100 rows.
 *
 * @param method How PostgreSQL asks for the password; `password` as clear text, `trust` for none.
 * @param makeKeys Makes `key.pem` and `cert.pem` in a directory: then both servers speak TLS, Redis nothing else.
 */
export async function startDatabases(
  password: string,
  method: "scram-sha-256" | "password" | "trust" = "scram-sha-256",
  makeKeys?: (directory: string) => void,
): Promise<Databases> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-databases-"));
  const ports = { redis: await freePort(), postgresql: await freePort() };
  const children: ChildProcess[] = [];
  const env = { ...process.env, REDISCLI_AUTH: password, PGPASSWORD: password, PGUSER: "app", PGDATABASE: "postgres" };
  const stop = async () => {
    for (const child of children) child.kill("SIGTERM");
    await until(
      async () => (children.every((child) => child.exitCode !== null || child.signalCode !== null) ? true : undefined),
      10_000,
    );
    rmSync(directory, { recursive: true, force: true });
  };
  try {
    makeKeys?.(directory);
    const isTls = makeKeys !== undefined;
    const listens = isTls ? redisTls(directory, ports.redis) : ["--port", String(ports.redis)];
    const redis = [...listens, "--save", "", "--requirepass", password, "--dir", directory];
    const redisSocket = join(directory, "redis.sock");
    redis.push("--unixsocket", redisSocket);
    children.push(spawn("redis-server", [...redis, "--bind", "127.0.0.1"], { stdio: "ignore" }));
    children.push(startPostgresql(directory, ports.postgresql, { password, method, isTls }));
    const asking = isTls ? ["--tls", "--insecure"] : [];
    await answers("redis-cli", ["-p", String(ports.redis), ...asking, "PING"], env);
    await answers("psql", ["-h", "127.0.0.1", "-p", String(ports.postgresql), "-c", SCHEMA], env);
    await sleep(300);
    const places = { redisSocket, postgresqlDirectory: join(directory, "postgresql") };
    return { redisPort: ports.redis, postgresqlPort: ports.postgresql, ...places, env, stop };
  } catch (error) {
    await stop();
    throw error;
  }
}

const SCHEMA =
  "CREATE TABLE items (id int PRIMARY KEY, name text, n int); INSERT INTO items SELECT g, 'item', 0 FROM generate_series(1, 100) g";

function redisTls(directory: string, port: number): string[] {
  const certificate = join(directory, "cert.pem");
  const keys = ["--tls-key-file", join(directory, "key.pem"), "--tls-cert-file", certificate];
  return [
    "--port",
    "0",
    "--tls-port",
    String(port),
    ...keys,
    "--tls-ca-cert-file",
    certificate,
    "--tls-auth-clients",
    "no",
  ];
}

function startPostgresql(
  directory: string,
  port: number,
  { password, method, isTls }: { readonly password: string; readonly method: string; readonly isTls: boolean },
): ChildProcess {
  const programs = postgresqlPrograms();
  const home = join(directory, "postgresql");
  mkdirSync(home);
  const passwordFile = join(directory, "password");
  writeFileSync(passwordFile, password);
  for (const path of [directory, home, passwordFile]) chownSync(path, NOBODY, NOBODY);
  const owner = { uid: NOBODY, gid: NOBODY, cwd: home };
  const made = spawnSync(
    join(programs, "initdb"),
    [
      "-D",
      join(home, "data"),
      "-U",
      "app",
      "-A",
      method,
      "--pwfile",
      passwordFile,
      "--no-sync",
      "-E",
      "UTF8",
      "--locale",
      "C",
    ],
    { ...owner, encoding: "utf8" },
  );
  if (made.status !== 0) throw new Error(`initdb failed: ${made.stderr}`);
  const options = ["-h", "127.0.0.1", "-p", String(port), "-k", home, "-c", "fsync=off", "-c", "autovacuum=off"];
  if (isTls) {
    const [key, certificate] = [join(directory, "key.pem"), join(directory, "cert.pem")];
    for (const file of [key, certificate]) chownSync(file, NOBODY, NOBODY);
    chmodSync(key, 0o600);
    options.push("-c", "ssl=on", "-c", `ssl_key_file=${key}`, "-c", `ssl_cert_file=${certificate}`);
  }
  return spawn(join(programs, "postgres"), ["-D", join(home, "data"), ...options], { ...owner, stdio: "ignore" });
}

async function answers(program: string, args: string[], env: NodeJS.ProcessEnv): Promise<void> {
  let said = "";
  const up = await until(async () => {
    const ran = spawnSync(program, args, { env, encoding: "utf8", timeout: 5_000 });
    said = ran.stderr;
    return ran.status === 0 && !said.includes("refused") ? true : undefined;
  }, READY_MS_MAX);
  if (up === undefined) throw new Error(`${program} was not answered: ${said}`);
}
