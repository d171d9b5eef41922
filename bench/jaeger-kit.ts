/**
 * Jaeger 2 under the same load, with its memory store or with Badger as it comes: it does not sync before it answers.
 */

import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Load } from "../conformance/otlp-senders.ts";
import { type IngestRun, measure, stopProcess, waitUntil } from "./otlp-run-kit.ts";

/** Traces that the memory store keeps. */
const MEMORY_TRACES = 2_000_000;

/** Runs a load against a Jaeger program. */
export async function runJaeger(program: string, store: "memory" | "badger", load: Load): Promise<IngestRun> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-bench-jaeger-"));
  const [grpc, http, query, health] = await Promise.all([freePort(), freePort(), freePort(), freePort()]);
  const file = join(directory, "config.yaml");
  writeFileSync(file, configuration(store, directory, { grpc, http, query, health }));
  const child = spawn(program, ["--config", file], { stdio: ["ignore", "ignore", "ignore"] });
  await waitUntil(async () => (await fetch(`http://127.0.0.1:${health}/status`)).ok, "Jaeger");
  return measure(
    {
      pid: child.pid ?? 0,
      http: `127.0.0.1:${http}`,
      grpc: `127.0.0.1:${grpc}`,
      directory,
      version: versionOf(program),
      loopP99Ms: async () => Number.NaN,
      stop: () => stopProcess(child),
    },
    load,
  );
}

interface Ports {
  readonly grpc: number;
  readonly http: number;
  readonly query: number;
  readonly health: number;
}

function configuration(store: "memory" | "badger", directory: string, ports: Ports): string {
  const backend =
    store === "memory"
      ? `memory: { max_traces: ${MEMORY_TRACES} }`
      : `badger: { directories: { keys: "${directory}/keys", values: "${directory}/values" }, ephemeral: false }`;
  return `service:
  extensions: [jaeger_storage, jaeger_query, healthcheckv2]
  pipelines:
    traces: { receivers: [otlp], processors: [batch], exporters: [jaeger_storage_exporter] }
  telemetry: { metrics: { level: none }, logs: { level: error } }
extensions:
  healthcheckv2: { use_v2: true, http: { endpoint: "127.0.0.1:${ports.health}" } }
  jaeger_query:
    storage: { traces: store }
    http: { endpoint: "127.0.0.1:${ports.query}" }
    grpc: { endpoint: "127.0.0.1:0" }
  jaeger_storage: { backends: { store: { ${backend} } } }
receivers:
  otlp:
    protocols:
      grpc: { endpoint: "127.0.0.1:${ports.grpc}" }
      http: { endpoint: "127.0.0.1:${ports.http}" }
processors: { batch: {} }
exporters: { jaeger_storage_exporter: { trace_storage: store } }
`;
}

function versionOf(program: string): string {
  const { stdout } = spawnSync("go", ["version", "-m", program], { encoding: "utf8" });
  return /^\s*mod\s+\S+\s+(\S+)/m.exec(stdout ?? "")?.[1] ?? "unknown";
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer().on("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}
