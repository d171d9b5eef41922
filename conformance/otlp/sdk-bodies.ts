/** Bodies that OpenTelemetry SDKs sent, as a suite folder keeps them: `index.json`, `expected.json`, one file a body. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { OtlpRequest, Signal } from "./requests.ts";

/** What a folder expects once all its bodies were sent. */
export interface SdkExpectation {
  readonly spans: number;
  readonly spansByService: Readonly<Record<string, number>>;
  readonly spanMetrics: readonly {
    service: string;
    span_name: string;
    span_kind: string;
    status_code: string;
    calls: number;
  }[];
  readonly serviceGraph: readonly {
    client: string;
    server: string;
    connection_type: string;
    requests: number;
    failed: number;
  }[];
}

/** A body with the transport it came by. */
export interface SdkBody extends OtlpRequest {
  readonly transport: "http" | "grpc";
}

interface IndexEntry {
  readonly file: string;
  readonly transport: "http" | "grpc";
  readonly path: string;
  readonly contentType: string;
  readonly contentEncoding: string;
}

/** Folders of recorded SDK bodies in `dir`. */
export function sdkFolders(dir: string): string[] {
  return readdirSync(dir)
    .filter((name) => name.startsWith("sdk-") && existsSync(join(dir, name, "index.json")))
    .map((name) => join(dir, name));
}

/** What `expected.json` of a folder of recorded bodies asks for. The shape is the suite's own and is not checked. */
export function readExpectation(folder: string): SdkExpectation {
  return JSON.parse(readFileSync(join(folder, "expected.json"), "utf8"));
}

/** The folder's bodies of all signals, as they were captured, in their order. */
export function readBodies(folder: string): SdkBody[] {
  const index: { captured: IndexEntry[] } = JSON.parse(readFileSync(join(folder, "index.json"), "utf8"));
  return index.captured.map(({ file, transport, path, contentType, contentEncoding }) => ({
    name: file,
    signal: signalOf(path),
    transport,
    encoding: contentType.startsWith("application/json") ? "json" : "protobuf",
    compression: contentEncoding === "gzip" ? "gzip" : "",
    body: readFileSync(join(folder, file)),
  }));
}

function signalOf(path: string): Signal {
  if (/traces|TraceService/.test(path)) return "traces";
  return /logs|LogsService/.test(path) ? "logs" : "metrics";
}
