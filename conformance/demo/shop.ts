/**
 * The shop as a handle: starts its processes, stops them again.
 *
 * Three Node processes always; nginx before them, Python and Redis beside them where the machine has them.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";

const HERE = import.meta.dirname;
const START_MS_MAX = 10_000;

/** A running shop. */
export interface Shop {
  /** Address of its front: nginx where it runs, else the storefront process. */
  readonly front: string;
  /** Names of the parts that run, as a person would call them. */
  readonly parts: readonly string[];
  /** Its processes, those that nginx started too. */
  readonly pids: readonly number[];
  /** What is left out and why. */
  readonly missing: readonly string[];
  stop(): Promise<void>;
}

/**
 * Starts the shop.
 *
 * @param perSecond Requests a second of its visitors; 0 starts none.
 * @param visitAfterMs Time before the first visit.
 */
export async function startShop(perSecond: number, visitAfterMs = 0): Promise<Shop> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-shop-"));
  const children: ChildProcess[] = [];
  const parts: string[] = [];
  const missing: string[] = [];
  const node = async (file: string, env: Record<string, string>) => {
    parts.push(file.replace(".ts", ""));
    return startWithPort(children, process.execPath, ["--disable-warning=ExperimentalWarning", join(HERE, file)], env);
  };
  const redisPort = await startRedis(children, directory);
  if (redisPort === 0) missing.push("Redis (redis-server is not installed)");
  else parts.push("redis");
  const env: Record<string, string> = redisPort === 0 ? {} : { SHOP_REDIS_PORT: String(redisPort) };
  if (has("python3")) {
    const port = await startWithPort(children, "python3", [join(HERE, "reviews.py")], {});
    env["SHOP_REVIEWS"] = `http://127.0.0.1:${port}`;
    parts.push("reviews (Python)");
  } else missing.push("reviews (python3 is not installed)");
  env["SHOP_CATALOG"] = `http://127.0.0.1:${await node("catalog.ts", env)}`;
  env["SHOP_CART"] = `http://127.0.0.1:${await node("cart.ts", env)}`;
  const web = await node("storefront.ts", env);
  let front = `http://127.0.0.1:${web}`;
  if (has("nginx")) {
    front = `http://127.0.0.1:${await startNginx(children, directory, web)}`;
    parts.push("nginx");
  } else missing.push("nginx (it is not installed)");
  if (perSecond > 0) {
    const shopper = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", join(HERE, "shopper.ts")], {
      stdio: ["pipe", "ignore", "inherit"],
      env: {
        ...process.env,
        SHOP_FRONT: front,
        SHOP_RATE: String(perSecond),
        SHOP_VISIT_AFTER_MS: String(visitAfterMs),
      },
    });
    children.push(shopper);
  }
  return {
    front,
    parts,
    pids: children.flatMap(({ pid }) => (pid === undefined ? [] : [pid, ...childrenOf(pid)])),
    missing,
    stop: async () => {
      await Promise.all(children.map(stopChild));
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

function childrenOf(pid: number): number[] {
  const text = readFileSync(`/proc/${pid}/task/${pid}/children`, "utf8").trim();
  return text === "" ? [] : text.split(" ").map(Number);
}

function has(program: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
}

async function startWithPort(
  children: ChildProcess[],
  program: string,
  args: string[],
  env: Record<string, string>,
): Promise<number> {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"], env: { ...process.env, ...env } });
  children.push(child);
  return new Promise((resolve, reject) => {
    const timer = setTimeout(
      () => reject(new Error(`${args.at(-1)} did not start within ${START_MS_MAX / 1000} s`)),
      START_MS_MAX,
    );
    child.stdout.setEncoding("utf8");
    child.stdout.once("data", (text: string) => {
      clearTimeout(timer);
      resolve(Number.parseInt(text, 10));
    });
    child.once("error", reject);
    child.once("exit", (code) => reject(new Error(`${args.at(-1)} ended with status ${code}`)));
  });
}

async function startRedis(children: ChildProcess[], directory: string): Promise<number> {
  if (!has("redis-server")) return 0;
  const port = await freePort();
  const child = spawn(
    "redis-server",
    ["--port", String(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", directory],
    {
      stdio: ["pipe", "ignore", "inherit"],
    },
  );
  children.push(child);
  await untilAccepts(port);
  return port;
}

async function startNginx(children: ChildProcess[], directory: string, web: number): Promise<number> {
  const port = await freePort();
  const file = join(directory, "nginx.conf");
  writeFileSync(
    file,
    `worker_processes 1; daemon off; pid ${directory}/nginx.pid; error_log stderr crit;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path ${directory}; proxy_temp_path ${directory}; fastcgi_temp_path ${directory};
  uwsgi_temp_path ${directory}; scgi_temp_path ${directory};
  upstream web { server 127.0.0.1:${web}; keepalive 8; }
  server {
    listen 127.0.0.1:${port};
    location / { proxy_pass http://web; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`,
  );
  children.push(
    spawn("nginx", ["-e", "stderr", "-p", directory, "-c", file], { stdio: ["pipe", "ignore", "inherit"] }),
  );
  await untilAccepts(port);
  return port;
}

/** A port that was free a moment ago. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      const port = address !== null && typeof address === "object" ? address.port : 0;
      server.close(() => resolve(port));
    });
  });
}

async function untilAccepts(port: number): Promise<void> {
  const { connect } = await import("node:net");
  const deadline = performance.now() + START_MS_MAX;
  while (performance.now() < deadline) {
    const open = await new Promise<boolean>((resolve) => {
      const socket = connect(port, "127.0.0.1", () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => resolve(false));
    });
    if (open) return;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`nothing accepts on port ${port} after ${START_MS_MAX / 1000} s`);
}

async function stopChild(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  child.removeAllListeners("exit");
  const ended = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.stdin?.end();
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), 2_000);
  await ended;
  clearTimeout(timer);
}
