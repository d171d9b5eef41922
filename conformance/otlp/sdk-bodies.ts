/** Bodies that OpenTelemetry SDKs sent, as a suite folder keeps them: `index.json`, `expected.json`, one file a body. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { oracleEncode } from "../../server/wire/trace-oracle.ts";

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

/** One trace body, ready to be sent. */
export interface SdkBody {
  readonly file: string;
  readonly transport: "http" | "grpc";
  readonly contentEncoding: string;
  readonly body: Uint8Array;
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

/** The folder's trace bodies in the order they were captured; JSON ones become protobuf. */
export function readBodies(folder: string): SdkBody[] {
  const index: { captured: IndexEntry[] } = JSON.parse(readFileSync(join(folder, "index.json"), "utf8"));
  return index.captured
    .filter((entry) => /traces|TraceService/.test(entry.path))
    .map((entry) => {
      const stored = readFileSync(join(folder, entry.file));
      if (!entry.contentType.startsWith("application/json")) {
        return { file: entry.file, transport: entry.transport, contentEncoding: entry.contentEncoding, body: stored };
      }
      const text = (entry.contentEncoding === "gzip" ? gunzipSync(stored) : stored).toString("utf8");
      return {
        file: entry.file,
        transport: entry.transport,
        contentEncoding: "",
        body: oracleEncode("TracesData", withBinaryIds(JSON.parse(text))),
      };
    });
}

/** OTLP JSON has ids in hex, where protobuf's own JSON has base64. */
function withBinaryIds(value: unknown): object {
  const convert = (node: unknown): unknown => {
    if (Array.isArray(node)) return node.map(convert);
    if (typeof node !== "object" || node === null) return node;
    return Object.fromEntries(
      Object.entries(node).map(([key, child]) =>
        /^(traceId|spanId|parentSpanId)$/.test(key) && typeof child === "string"
          ? [key, Buffer.from(child, "hex")]
          : [key, convert(child)],
      ),
    );
  };
  const converted = convert(value);
  if (typeof converted !== "object" || converted === null) throw new Error("the body is not a JSON object");
  return converted;
}
