/**
 * Servers that take remote write and answer PromQL, each in a directory of its own: this program, Prometheus 3 and
 * VictoriaMetrics, with what each offers to settle what it stored.
 *
 * Prometheus and VictoriaMetrics do not sync before they answer.
 */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { freePort } from "../conformance/prometheus.ts";
import { systemClock } from "../server/platform/system-clock.ts";
import { MetricStore } from "../server/store/metric-store.ts";
import { diskBytes, startServer, stopProcess, waitUntil } from "./otlp-run-kit.ts";

/** Kinds of servers, as flags name them; `thalweg-interval` syncs within a second of its answer. */
export type ServerKind = "thalweg" | "thalweg-interval" | "prometheus" | "victoria";

/** Programs of the peers. */
export interface PeerPrograms {
  readonly prometheus: string | undefined;
  readonly victoria: string | undefined;
}

/** Bytes on the disk once all samples are where they stay. */
export interface SettledBytes {
  /** Blocks, or what stands for them. */
  readonly blocks: number;
  /** The whole data directory, logs included, as it is when the load has ended. */
  readonly whole: number;
}

/** A running server. */
export interface MetricServer {
  readonly kind: ServerKind;
  readonly version: string;
  readonly durability: string;
  readonly pid: number;
  /** `http://HOST:PORT`. */
  readonly base: string;
  readonly directory: string;
  /** Brings what is stored to rest where it can, stops the server and measures. */
  settle(): Promise<SettledBytes>;
  /** Stops it; what it stored stays. */
  stop(): Promise<void>;
  /** Stops it and removes its directory. */
  discard(): Promise<void>;
}

/** Starts a server over an empty directory. @throws Error where its program is not given or does not come up. */
export function startMetricServer(kind: ServerKind, programs: PeerPrograms): Promise<MetricServer> {
  const directory = mkdtempSync(join(tmpdir(), `thalweg-bench-${kind}-`));
  switch (kind) {
    case "thalweg":
      return startThalweg(kind, directory, "always");
    case "thalweg-interval":
      return startThalweg(kind, directory, "interval");
    case "prometheus":
      return startPrometheus(programOf(programs.prometheus, kind), directory);
    case "victoria":
      return startVictoria(programOf(programs.victoria, kind), directory);
  }
}

function programOf(program: string | undefined, kind: string): string {
  if (program === undefined) throw new Error(`the program of ${kind} is not given: --${kind} PROGRAM`);
  return program;
}

/** Starts this program over a directory, which may hold what was stored before. */
export async function startThalweg(
  kind: ServerKind,
  directory: string,
  durability: string,
  flags: readonly string[] = [],
): Promise<MetricServer> {
  const server = await startServer(directory, ["--durability", durability, ...flags]);
  return {
    kind,
    version: "",
    durability,
    pid: server.pid,
    base: server.face,
    directory,
    settle: async () => {
      await server.stop();
      const whole = diskBytes(directory);
      return { whole, blocks: await sealedBytes(directory) };
    },
    stop: () => server.stop(),
    discard: async () => {
      await server.stop();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}

/** Moves what the log still holds into blocks, as the server does with time, and measures all blocks. */
async function sealedBytes(directory: string): Promise<number> {
  const store = await MetricStore.open({ directory, clock: systemClock(), retentionMs: 1e12, memoryBytesMax: 2 ** 33 });
  await store.sealAll();
  await store.close();
  return diskBytes(join(directory, "blocks"));
}

async function startPrometheus(program: string, directory: string): Promise<MetricServer> {
  const config = join(directory, "prometheus.yml");
  const data = join(directory, "data");
  writeFileSync(config, "global: {}\n");
  const address = `127.0.0.1:${await freePort()}`;
  const base = `http://${address}`;
  const child = spawnQuiet(program, [
    `--config.file=${config}`,
    `--storage.tsdb.path=${data}`,
    "--storage.tsdb.retention.time=60d",
    `--web.listen-address=${address}`,
    "--web.enable-remote-write-receiver",
    "--web.enable-admin-api",
    "--query.max-samples=500000000",
    "--log.level=error",
  ]);
  await waitUntil(async () => (await fetch(`${base}/-/ready`)).ok, program);
  return {
    kind: "prometheus",
    version: moduleVersion(program),
    durability: "none before the answer",
    pid: child.pid ?? 0,
    base,
    directory,
    settle: async () => {
      const whole = diskBytes(data);
      const answer = await fetch(`${base}/api/v1/admin/tsdb/snapshot`, { method: "POST" });
      if (!answer.ok) throw new Error(`Prometheus makes no snapshot: ${await answer.text()}`);
      const blocks = readdirSync(join(data, "snapshots")).map((name) => diskBytes(join(data, "snapshots", name)));
      return { whole, blocks: blocks.reduce((sum, bytes) => sum + bytes, 0) };
    },
    stop: () => stopProcess(child),
    discard: () => discard(child, directory),
  };
}

async function startVictoria(program: string, directory: string): Promise<MetricServer> {
  const address = `127.0.0.1:${await freePort()}`;
  const base = `http://${address}`;
  const child = spawnQuiet(program, [
    `-storageDataPath=${directory}`,
    `-httpListenAddr=${address}`,
    "-retentionPeriod=12",
    "-search.disableCache",
    "-search.latencyOffset=0s",
    "-search.maxUniqueTimeseries=2000000",
    "-loggerLevel=ERROR",
  ]);
  await waitUntil(async () => (await fetch(`${base}/health`)).ok, program);
  return {
    kind: "victoria",
    version: moduleVersion(program),
    durability: "none before the answer",
    pid: child.pid ?? 0,
    base,
    directory,
    settle: async () => {
      await fetch(`${base}/internal/force_flush`);
      await sleep(1_000);
      const whole = diskBytes(directory);
      await fetch(`${base}/internal/force_merge`);
      await sleep(1_000);
      const merging = async () =>
        /^vm_active_merges\{[^}]*\} [1-9]/m.test(await (await fetch(`${base}/metrics`)).text());
      while (await merging()) await sleep(500);
      await sleep(2_000);
      return { whole, blocks: diskBytes(directory) };
    },
    stop: () => stopProcess(child),
    discard: () => discard(child, directory),
  };
}

function spawnQuiet(program: string, args: readonly string[]): ChildProcess {
  return spawn(program, args, { stdio: ["ignore", "ignore", "inherit"] });
}

async function discard(child: ChildProcess, directory: string): Promise<void> {
  await stopProcess(child);
  rmSync(directory, { recursive: true, force: true });
}

/** Both peers print no version of their own when they are built from their modules. */
function moduleVersion(program: string): string {
  const { stdout } = spawnSync("go", ["version", "-m", program], { encoding: "utf8" });
  const path = /^\s*path\s+(\S+)/m.exec(stdout ?? "")?.[1] ?? "";
  const modules = [...(stdout ?? "").matchAll(/^\s*(?:mod|dep)\s+(\S+)\s+(v\S+)/gm)];
  return modules.find(([, module]) => path.startsWith(module ?? " "))?.[2] ?? "unknown";
}

/** How many samples of these metrics a server answers for the `windowSeconds` before `endMs`. */
export async function countStored(
  server: MetricServer,
  names: readonly string[],
  window: { readonly endMs: number; readonly seconds: number },
): Promise<number> {
  let stored = 0;
  for (const name of names) {
    const query = new URLSearchParams({
      query: `sum(count_over_time(${name}[${window.seconds}s]))`,
      time: String(window.endMs / 1000),
      timeout: "120s",
    });
    const answer = await fetch(`${server.base}/api/v1/query?${query}`);
    const text = await answer.text();
    if (!answer.ok) throw new Error(`${server.kind} does not count ${name}: ${text.slice(0, 300)}`);
    const found: { data: { result: { value: [number, string] }[] } } = JSON.parse(text);
    stored += Number(found.data.result[0]?.value[1] ?? 0);
  }
  return stored;
}
