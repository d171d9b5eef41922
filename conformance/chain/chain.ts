/**
 * nginx → Node → Python → Redis (and PostgreSQL), each where it is told to run, with a ledger of its own. Nothing that
 * passes between them has an id.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { readTruth } from "../parents/judge.ts";
import { sleep } from "../program.ts";

const SERVICES = join(import.meta.dirname, "services");
const READY_MS_MAX = 20_000;
const IN_FLIGHT = 16;
const WARM_UP_REQUESTS = 80;
const WARM_UP_PAUSE_MS = 300;

/** Where a service runs and listens, and how the one before it reaches it. */
export interface Place {
  /** Words that run a command there. */
  readonly before: readonly string[];
  readonly host: string;
  readonly port: number;
  readonly reachedAt: { readonly host: string; readonly port: number };
}

/** Where each service is. */
export interface ChainPlan {
  readonly nginx: Place;
  readonly node: Place;
  readonly python: Place;
  /** Started here. */
  readonly redis: Place;
  /** One that runs already, and takes the user `app` without a password. */
  readonly postgresql?: { readonly host: string; readonly port: number };
  /** Files with a certificate and its key: all speak TLS. */
  readonly tls?: { readonly certFile: string; readonly keyFile: string };
}

/** Parents by call and the time from which on they count. */
export interface ChainTruth {
  readonly parents: ReadonlyMap<string, string>;
  readonly fromNs: bigint;
  /** Requests at each hop since the start, by the port it listens on. */
  readonly served: ReadonlyMap<number, number>;
  /** Requests since `fromNs`. */
  readonly requests: number;
}

/** A running chain. */
export class Chain {
  readonly #plan: ChainPlan;
  readonly #log: string;
  readonly #children: ChildProcess[] = [];
  readonly #lines: { readonly node: string[]; readonly python: string[] } = { node: [], python: [] };
  #load: ChildProcess | undefined;

  private constructor(plan: ChainPlan, log: string) {
    this.#plan = plan;
    this.#log = log;
  }

  get #env(): NodeJS.ProcessEnv {
    const { tls } = this.#plan;
    return { ...process.env, ...(tls === undefined ? {} : { SERVICE_TLS: `${tls.certFile},${tls.keyFile}` }) };
  }

  static async start(plan: ChainPlan, directory: string): Promise<Chain> {
    const chain = new Chain(plan, join(directory, `nginx-${plan.nginx.port}.log`));
    try {
      await chain.#start(directory);
      return chain;
    } catch (error) {
      chain.stop();
      throw error;
    }
  }

  /** Warms up, so that rules inside of processes can prove themselves, then sends `requests` that count. */
  async run(requests: number): Promise<ChainTruth> {
    for (let round = 0; round < 2; round++) {
      await this.#send(WARM_UP_REQUESTS);
      await sleep(WARM_UP_PAUSE_MS);
    }
    const marked = { nginx: this.#logLines().length, node: this.#lines.node.length, python: this.#lines.python.length };
    const fromNs = BigInt(Date.now()) * 1_000_000n;
    await this.#send(requests);
    await sleep(WARM_UP_PAUSE_MS);
    const { nginx, node, python, redis } = this.#plan;
    const answers = new Map<string, string>();
    for (const line of this.#lines.node) {
      const [, port, ordinal, bytes] = /^backend (\d+) (\d+) (\d+)$/.exec(line) ?? [];
      if (bytes !== undefined) answers.set(bytes, `${port} ${node.reachedAt.port} ${ordinal}`);
    }
    const byNginx = this.#logLines()
      .slice(marked.nginx)
      .flatMap((line) => {
        const [, port, ordinal, bytes = ""] = /^nginx (\d+) (\d+) (\d+)$/.exec(line) ?? [];
        const call = answers.get(bytes);
        return port === undefined || call === undefined ? [] : [`call ${call} for ${port} ${nginx.port} ${ordinal}`];
      });
    const own = [...this.#lines.node.slice(marked.node), ...this.#lines.python.slice(marked.python)];
    const toRedis = this.#lines.python.filter((line) => line.split(" ")[2] === String(redis.reachedAt.port)).length;
    return {
      parents: readTruth([...byNginx, ...own]),
      fromNs,
      requests,
      served: new Map([
        [nginx.port, this.#logLines().length],
        [node.port, answers.size],
        [python.port, toRedis],
        [redis.port, toRedis],
      ]),
    };
  }

  stop(): void {
    this.#load?.stdin?.end();
    for (const child of this.#children) child.kill("SIGTERM");
  }

  async #start(directory: string): Promise<void> {
    const { nginx, node, python, redis, postgresql, tls } = this.#plan;
    const listen = tls === undefined ? ["--port", `${redis.port}`] : redisTls(redis.port, tls);
    const bind = ["--bind", redis.host, ...listen, "--protected-mode", "no", "--save", ""];
    this.#spawn(redis, ["redis-server", ...bind, "--dir", directory], undefined);
    await this.#until(async () => accepts(redis), "Redis");
    const databases = [redis.reachedAt, ...(postgresql === undefined ? [] : [postgresql])];
    const asked = databases.flatMap(({ host, port }) => [host, `${port}`]);
    const program = join(SERVICES, "..", "..", "parents", "services", "threads_databases.py");
    this.#spawn(python, ["python3", "-B", program, python.host, `${python.port}`, ...asked], this.#lines.python);
    const front = [process.execPath, "--disable-warning=ExperimentalWarning", join(SERVICES, "chain-front.ts")];
    const next = [python.reachedAt.host, `${python.reachedAt.port}`];
    this.#spawn(node, [...front, node.host, `${node.port}`, ...next], this.#lines.node);
    const conf = join(directory, `nginx-${nginx.port}.conf`);
    writeFileSync(this.#log, "");
    writeFileSync(conf, nginxConf(directory, this.#plan, this.#log));
    this.#spawn(nginx, ["nginx", "-e", "stderr", "-p", directory, "-c", conf], undefined);
    const load = [process.execPath, "--disable-warning=ExperimentalWarning", join(SERVICES, "chain-load.ts")];
    const words = [...nginx.before, ...load, nginx.host, `${nginx.port}`];
    this.#load = spawn(words[0] ?? "", words.slice(1), { stdio: ["pipe", "pipe", "inherit"], env: this.#env });
    this.#children.push(this.#load);
    await this.#until(
      async () => this.#lines.node[0] === "ready" && this.#lines.python[0] === "ready",
      "Node or Python",
    );
    // Before nginx listens nobody sees the request.
    await this.#until(async () => (await this.#ask(1)) === 0, "nginx");
  }

  async #until(isUp: () => Promise<boolean>, what: string): Promise<void> {
    const deadline = performance.now() + READY_MS_MAX;
    while (!(await isUp())) {
      if (performance.now() > deadline) throw new Error(`${what} of the chain did not come up`);
      await sleep(50);
    }
  }

  #spawn({ before }: Place, command: readonly string[], lines: string[] | undefined): void {
    const words = [...before, ...command];
    const child = spawn(words[0] ?? "", words.slice(1), {
      stdio: ["ignore", lines === undefined ? "ignore" : "pipe", "inherit"],
      env: this.#env,
    });
    this.#children.push(child);
    if (lines !== undefined && child.stdout !== null) {
      createInterface({ input: child.stdout }).on("line", (line) => lines.push(line));
    }
  }

  async #send(requests: number): Promise<void> {
    const failed = await this.#ask(requests);
    if (failed > 0) throw new Error(`${failed} of ${requests} requests failed`);
  }

  /** Requests that failed. */
  async #ask(requests: number): Promise<number> {
    const load = this.#load;
    if (load?.stdin == null || load.stdout === null) throw new Error("the load is not started");
    load.stdin.write(`${requests} ${IN_FLIGHT}\n`);
    const [answer] = await once(load.stdout, "data");
    return Number(String(answer).trim());
  }

  #logLines(): string[] {
    return readFileSync(this.#log, "utf8")
      .split("\n")
      .filter((line) => line !== "");
  }
}

/** Whether somebody listens, asked without a word of its protocol. */
function accepts({ before, reachedAt: { host, port } }: Place): boolean {
  const ask = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), 1)";
  const words = [...before, "python3", "-c", ask, host, `${port}`];
  return spawnSync(words[0] ?? "", words.slice(1), { stdio: "ignore" }).status === 0;
}

function redisTls(port: number, { certFile, keyFile }: NonNullable<ChainPlan["tls"]>): string[] {
  const files = ["--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", certFile];
  return ["--port", "0", "--tls-port", `${port}`, ...files, "--tls-auth-clients", "no"];
}

function nginxConf(directory: string, { nginx, node, tls }: ChainPlan, log: string): string {
  const certificate = tls && `ssl_certificate ${tls.certFile}; ssl_certificate_key ${tls.keyFile};`;
  return `worker_processes 1; daemon off; pid ${directory}/nginx-${nginx.port}.pid; error_log stderr crit;
events { worker_connections 512; }
http {
  log_format truth 'nginx $remote_port $connection_requests $upstream_response_length';
  access_log ${log} truth;
  client_body_temp_path ${directory}/b; proxy_temp_path ${directory}/p; fastcgi_temp_path ${directory}/f;
  uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  keepalive_requests 100000;
  upstream behind { server ${node.reachedAt.host}:${node.reachedAt.port}; keepalive 64; }
  server {
    listen ${nginx.host}:${nginx.port} ${tls === undefined ? "" : "ssl"} backlog=256; ${certificate ?? ""}
    location / { proxy_pass ${tls === undefined ? "http" : "https"}://behind; proxy_http_version 1.1; proxy_set_header Connection ""; }
  }
}
`;
}
