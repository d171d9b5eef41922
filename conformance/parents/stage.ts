/**
 * The stage on which parents are compared: one service with its pattern, in front of a slow one, under load.
 */

import { type ChildProcess, fork, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { Agent, get } from "node:http";
import { get as getByTls, Agent as TlsAgent } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";
import { type Databases, postgresqlPrograms, startDatabases } from "../databases/servers.ts";
import { freePort } from "../demo/shop.ts";
import { makeCertificate } from "../tls/services.ts";
import type { Sighting } from "./capture-child.ts";
import { judge, readTruth, type Verdict } from "./judge.ts";

const SERVICES = join(import.meta.dirname, "services");
const PASSWORD = "of-the-stage";
const READY_MS_MAX = 20_000;
/** Longer than a span waits for its other end and for the proof of a rule, and than the rings for their reader. */
const SETTLE_MS = 1600;
const WARM_UP_PAUSE_MS = 400;
const TLS_FOUND_MS = 2000;
/** Until a process whose calls have no sure parent was asked, and until its calls are given up of which it says nothing. */
const ASKED_MS = 4000;

/** A directory for what is built and configured. */
export interface Workshop {
  readonly directory: string;
  /** Builds a program once; a reason where this machine cannot. */
  build(kind: "go" | "java"): { readonly ok: true } | { readonly ok: false; readonly why: string };
  /** Databases of its own, once `startDatabases` has started them. */
  databases: Databases | undefined;
  /** Makes a certificate once. */
  certificate(): Certificate;
  close(): Promise<void>;
}

/** Files with a certificate of this machine, and its key. */
interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

/** Where a service listens, what it calls, and with what it speaks TLS on both sides. */
interface Place {
  readonly own: number;
  readonly to: number;
  readonly certificate: Certificate | undefined;
}

/** One service of a cell. */
export interface Service {
  /** Command and arguments in front of those that all services take: pattern, port, port called, calls. */
  readonly start: (workshop: Workshop, place: Place) => readonly string[];
  /** Tells a line of truth from a line of its output where it is a proxy. */
  readonly proxy?: "nginx" | "haproxy";
}

/** How a cell is loaded. */
export interface CellLoad {
  readonly concurrency: number;
  readonly requests: number;
  readonly warmUp: number;
}

/** Makes a workshop. */
export function openWorkshop(): Workshop {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-parents-"));
  chmodSync(directory, 0o755);
  const built = new Map<string, ReturnType<Workshop["build"]>>();
  const certificate = { certFile: join(directory, "cert.pem"), keyFile: join(directory, "key.pem") };
  return {
    directory,
    certificate() {
      if (!existsSync(certificate.certFile)) makeCertificate(directory);
      return certificate;
    },
    build(kind) {
      let outcome = built.get(kind);
      if (outcome === undefined) {
        outcome = buildProgram(kind, directory);
        built.set(kind, outcome);
      }
      return outcome;
    },
    databases: undefined,
    async close() {
      await this.databases?.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** What this machine lacks for a cell; empty where it lacks nothing. */
export async function missingFor(
  { needs }: { readonly needs: readonly string[] },
  workshop: Workshop,
): Promise<string> {
  for (const need of needs) {
    if (need === "databases") {
      const isThere = spawnSync("sh", ["-c", "command -v redis-server"]).status === 0 && postgresqlPrograms() !== "";
      if (!isThere) return "there is no Redis or no PostgreSQL";
      workshop.databases ??= await startDatabases(PASSWORD, "trust");
    } else if (need === "virtual threads") {
      if (javaWithVirtualThreads() === "") return "there is no Java 21 or later";
    } else if (need === "started goroutines") {
      const minor = Number(/go1\.(\d+)/.exec(spawnSync("go", ["version"], { encoding: "utf8" }).stdout)?.[1]);
      if (!(minor >= GO_WITH_STARTERS)) return "Go before 1.21 does not keep who started a goroutine";
    } else if (need === "go" || need === "java") {
      const built = workshop.build(need);
      if (!built.ok) return built.why;
    } else if (spawnSync("sh", ["-c", `command -v ${need}`]).status !== 0) return `there is no ${need}`;
  }
  return "";
}

function buildProgram(kind: "go" | "java", directory: string): ReturnType<Workshop["build"]> {
  const [command, args] =
    kind === "go"
      ? ["go", ["build", "-o", join(directory, "go-service"), join(SERVICES, "main.go")]]
      : ["javac", ["--release", "17", "-d", directory, join(SERVICES, "Services.java")]];
  const ran = spawnSync(command, args, { encoding: "utf8" });
  if (ran.error !== undefined) return { ok: false, why: `there is no ${command}` };
  return ran.status === 0 ? { ok: true } : { ok: false, why: ran.stderr.slice(0, 500) };
}

const GO_WITH_STARTERS = 21;
const JVMS = "/usr/lib/jvm";

/** A Java with virtual threads, 21 or later; empty where there is none. */
export function javaWithVirtualThreads(): string {
  const folders = existsSync(JVMS) ? readdirSync(JVMS) : [];
  const newer = folders.filter((name) => Number(/(\d+)(?!.*1\.)/.exec(name)?.[1] ?? 0) >= 21);
  return newer.map((name) => join(JVMS, name, "bin/java")).find((path) => existsSync(path)) ?? "";
}

/** The services of this folder. */
export const service = {
  databases: (): Service => ({
    start: ({ databases }, { own }) => {
      const to = `${databases?.redisPort},${databases?.postgresqlPort},${PASSWORD}`;
      return [process.execPath, join(SERVICES, "node.ts"), "databases", `${own}`, to];
    },
  }),
  node: (pattern: string, calls: number): Service => ({
    start: (_, { own, to }) => [process.execPath, join(SERVICES, "node.ts"), pattern, `${own}`, `${to}`, `${calls}`],
  }),
  python: (file: string, pattern: string, calls: number, python = "python3"): Service => ({
    start: (_, { own, to }) => [python, "-B", join(SERVICES, file), pattern, `${own}`, `${to}`, `${calls}`],
  }),
  go: (pattern: string, calls: number): Service => ({
    start: ({ directory }, { own, to }) => [join(directory, "go-service"), pattern, `${own}`, `${to}`, `${calls}`],
  }),
  java: (pattern: string, calls: number, java = "java"): Service => ({
    start: ({ directory }, { own, to }) => [java, "-cp", directory, "Services", pattern, `${own}`, `${to}`, `${calls}`],
  }),
  nginx: (keepAlive: boolean): Service => ({
    proxy: "nginx",
    start: ({ directory }, place) => {
      const conf = join(directory, `nginx-${place.own}.conf`);
      writeFileSync(conf, nginxConf(directory, place, keepAlive));
      return ["nginx", "-e", "stderr", "-p", directory, "-c", conf];
    },
  }),
  /** @param ids It makes an id for each request, and puts it into its call and its answer. */
  haproxy: (ids = false): Service => ({
    proxy: "haproxy",
    start: ({ directory }, { own, to }) => {
      const conf = join(directory, `haproxy-${own}.conf`);
      writeFileSync(conf, haproxyConf(own, to, ids));
      return ["haproxy", "-db", "-f", conf];
    },
  }),
} as const;

/** What is done beside reading sockets: looking into TLS, asking Node processes. */
type CaptureWord = "" | "tls" | "inject";

/** The capturing process, for many cells. */
export class Watcher {
  #child: ChildProcess;
  #word: CaptureWord = "";

  private constructor(child: ChildProcess) {
    this.#child = child;
  }

  static async start(): Promise<Watcher> {
    return new Watcher(await startCapture([]));
  }

  /** Captures so from now on. */
  async setWord(word: CaptureWord): Promise<void> {
    if (this.#word === word) return;
    this.stop();
    this.#word = word;
    this.#child = await startCapture(word === "" ? [] : [word]);
  }

  async look(): Promise<Sighting> {
    const answer = once(this.#child, "message");
    this.#child.send("look");
    const [sighting] = await answer;
    // The child sends nothing else.
    return sighting as Sighting;
  }

  stop(): void {
    this.#child.disconnect();
  }
}

async function startCapture(words: readonly string[]): Promise<ChildProcess> {
  const child = fork(join(import.meta.dirname, "capture-child.ts"), words, {
    stdio: ["ignore", "inherit", "inherit", "ipc"],
  });
  const [message] = await once(child, "message");
  if (message !== "ready") throw new Error("capture did not start");
  return child;
}

/** Runs one cell: `services` in a row, the last of which calls the slow service. */
export async function runCell(
  watcher: Watcher,
  workshop: Workshop,
  {
    services,
    isTls = false,
    isAsked = false,
  }: { readonly services: readonly Service[]; readonly isTls?: boolean; readonly isAsked?: boolean },
  load: CellLoad,
): Promise<Verdict> {
  const running: RunningService[] = [];
  await watcher.setWord(isTls ? "tls" : isAsked ? "inject" : "");
  const certificate = isTls ? workshop.certificate() : undefined;
  try {
    let to = await freePort();
    const backend = [process.execPath, join(SERVICES, "backend.ts"), `${to}`];
    running.push(await RunningService.start(backend, { own: to, to, certificate }, undefined, ""));
    for (const one of services.toReversed()) {
      const place = { own: await freePort(), to, certificate };
      const log = join(workshop.directory, `nginx-${place.own}.log`);
      running.push(await RunningService.start(one.start(workshop, place), place, one.proxy, log));
      to = place.own;
    }
    // Until programs that have just started are looked into.
    if (isTls) await sleep(TLS_FOUND_MS);
    const settings = { keepAlive: true, maxSockets: load.concurrency, rejectUnauthorized: false };
    const agent = isTls ? new TlsAgent(settings) : new Agent(settings);
    await send(to, agent, load.warmUp, load.concurrency);
    await sleep(isAsked ? ASKED_MS : WARM_UP_PAUSE_MS);
    await send(to, agent, load.warmUp, load.concurrency);
    await sleep(WARM_UP_PAUSE_MS / 5);
    for (const one of running) one.mark();
    const failed = await send(to, agent, load.requests, load.concurrency);
    agent.destroy();
    if (failed > 0) throw new Error(`${failed} of ${load.requests} requests failed`);
    await sleep(isAsked ? ASKED_MS : SETTLE_MS);
    const seen = await watcher.look();
    if (seen.lost > 0) throw new Error(`capture lost ${seen.lost} calls: the machine is too busy to compare`);
    return judge(truthOf(running), seen);
  } finally {
    for (const one of running) one.stop();
  }
}

class RunningService {
  readonly proxy: Service["proxy"];
  readonly to: number;
  readonly own: number;
  /** Lines told since the start, and how many of them before the mark. */
  readonly lines: string[] = [];
  /** Where nginx writes its lines. */
  readonly log: string;
  marked = 0;
  readonly #child: ChildProcess;

  private constructor(child: ChildProcess, own: number, proxy: Service["proxy"], to: number, log: string) {
    this.log = log;
    this.#child = child;
    this.proxy = proxy;
    this.own = own;
    this.to = to;
  }

  static async start(
    command: readonly string[],
    { own, to, certificate }: Place,
    proxy: Service["proxy"],
    log: string,
  ): Promise<RunningService> {
    const [program = "", ...args] = command;
    const { certFile, keyFile } = certificate ?? {};
    const env =
      certFile === undefined
        ? process.env
        : { ...process.env, SERVICE_TLS: `${certFile},${keyFile}`, NODE_EXTRA_CA_CERTS: certFile };
    const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"], env });
    const running = new RunningService(child, own, proxy, to, log);
    createInterface({ input: child.stdout }).on("line", (line) => running.lines.push(line));
    let failure = "";
    child.on("error", (error) => {
      failure = error.message;
    });
    const end = performance.now() + READY_MS_MAX;
    while (proxy === undefined ? running.lines[0] !== "ready" : !(await accepts(own, certificate !== undefined))) {
      if (failure !== "" || child.exitCode !== null || performance.now() > end)
        throw new Error(`${command.join(" ")} did not start: ${failure}${running.lines.join(" ")}`);
      await sleep(20);
    }
    return running;
  }

  mark(): void {
    // nginx writes a file, which is read at the end.
    const log = this.proxy === "nginx" ? readFileSync(this.log, "utf8").trimEnd().split("\n") : this.lines;
    this.marked = log.length;
  }

  stop(): void {
    this.#child.kill("SIGTERM");
  }
}

/** A request is refused or answered: both say that somebody listens. */
async function accepts(port: number, isTls: boolean): Promise<boolean> {
  const agent = isTls ? new TlsAgent({ rejectUnauthorized: false }) : new Agent({ keepAlive: false });
  return (await once1(port, agent)) > 0;
}

function once1(port: number, agent: Agent): Promise<number> {
  return new Promise((resolve) => {
    const ask = agent instanceof TlsAgent ? getByTls : get;
    const request = ask({ host: "127.0.0.1", port, path: "/work", agent }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    request.on("error", () => resolve(0));
  });
}

async function send(port: number, agent: Agent, requests: number, concurrency: number): Promise<number> {
  let left = requests;
  let failed = 0;
  const visitor = async () => {
    while (left > 0) {
      left--;
      if ((await once1(port, agent)) !== 200) failed++;
    }
  };
  await Promise.all(Array.from({ length: concurrency }, visitor));
  return failed;
}

/** Truth of the counted part; numbers of messages count from the start. */
function truthOf(running: readonly RunningService[]): Map<string, string> {
  const lines: string[] = [];
  const answers = new Map<string, string>();
  for (const one of running) {
    if (one.proxy === undefined) lines.push(...one.lines.slice(one.marked));
    for (const line of one.lines) {
      const [word, port, ordinal, bytes] = line.split(" ");
      if (word === "backend") answers.set(`${one.own} ${bytes}`, `${port} ${one.own} ${ordinal}`);
    }
  }
  for (const one of running) {
    if (one.proxy === "nginx") one.lines.push(...readFileSync(one.log, "utf8").trimEnd().split("\n"));
    if (one.proxy !== undefined) lines.push(...proxyTruth(one, answers));
  }
  return readTruth(lines);
}

/**
 * Proxies do not tell which call they made, but the length of its answer, which tells the call apart. haproxy counts the
 * requests of a connection itself: it drops lines rather than wait for a reader, and a line that is lost then takes no
 * other line's place.
 */
function proxyTruth(one: RunningService, answers: ReadonlyMap<string, string>): string[] {
  return one.lines.slice(one.marked).flatMap((line) => {
    const [, port, ordinal, bytes] = /^(?:<\d+>)?(?:nginx|haproxy) (\d+) (\d+) (\d+)$/.exec(line) ?? [];
    const call = answers.get(`${one.to} ${bytes}`);
    return port === undefined || call === undefined ? [] : [`call ${call} for ${port} ${one.own} ${ordinal}`];
  });
}

function nginxConf(directory: string, { own, to, certificate }: Place, keepAlive: boolean): string {
  const sealed = certificate && `ssl_certificate ${certificate.certFile}; ssl_certificate_key ${certificate.keyFile};`;
  return `worker_processes 1; daemon off; pid ${directory}/nginx-${own}.pid; error_log stderr crit;
events { worker_connections 1024; }
http {
  log_format truth 'nginx $remote_port $connection_requests $upstream_response_length';
  access_log ${directory}/nginx-${own}.log truth;
  client_body_temp_path ${directory}/b; proxy_temp_path ${directory}/p; fastcgi_temp_path ${directory}/f;
  uwsgi_temp_path ${directory}/u; scgi_temp_path ${directory}/s;
  keepalive_requests 100000;
  upstream behind { server 127.0.0.1:${to}; ${keepAlive ? "keepalive 64;" : ""} }
  server {
    listen 127.0.0.1:${own} ${sealed === undefined ? "" : "ssl"} backlog=256; ${sealed ?? ""}
    location / { proxy_pass ${sealed === undefined ? "http" : "https"}://behind; ${keepAlive ? 'proxy_http_version 1.1; proxy_set_header Connection "";' : ""} }
  }
}
`;
}

const HAPROXY_IDS = `  http-request set-var(txn.id) uuid()
  http-request set-header X-Request-ID %[var(txn.id)]
  http-response set-header X-Request-ID %[var(txn.id)]
`;

function haproxyConf(own: number, to: number, ids: boolean): string {
  return `global
  log stdout format raw local0
  nbthread 2
defaults
  mode http
  log global
  log-format "haproxy %cp %[var(sess.requests)] %[var(txn.bytes)]"
  timeout connect 5s
  timeout client 60s
  timeout server 60s
frontend f
  bind 127.0.0.1:${own}
  http-request set-var(sess.requests,ifnotexists) int(0)
  http-request set-var(sess.requests) int(1),add(sess.requests)
  http-response set-var(txn.bytes) res.hdr(content-length)
${ids ? HAPROXY_IDS : ""}  default_backend b
backend b
  server s 127.0.0.1:${to}
`;
}
