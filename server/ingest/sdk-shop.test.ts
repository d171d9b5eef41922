import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { gunzipSync } from "node:zlib";
import { DerivedStreams } from "../derive/derived-streams.ts";
import { sampleMap } from "../derive/test-spans.ts";
import { requireOrSkip } from "../platform/test-ability.ts";
import { decodeTracesJson } from "../wire/otlp-traces-json.ts";
import { decodeTraces } from "../wire/otlp-traces-protobuf.ts";
import { checkBatch } from "./check-batch.ts";

const SHOP = join(import.meta.dirname, "..", "..", "..", "shared", "conformance", "otlp", "sdk-shop");
const NOW_MS = 1_768_478_400_000;

interface Expected {
  readonly spans: number;
  readonly spanMetrics: readonly {
    readonly service: string;
    readonly span_name: string;
    readonly span_kind: string;
    readonly status_code: string;
    readonly calls: number;
  }[];
  readonly serviceGraph: readonly {
    readonly client: string;
    readonly server: string;
    readonly connection_type: string;
    readonly requests: number;
    readonly failed: number;
  }[];
}

test("every trace body an SDK sent: calls and graph as expected", (t) => {
  if (!requireOrSkip(t, "suites", existsSync(SHOP) ? "" : `${SHOP} does not exist`)) return;
  // A fixture of the checkout; its shape is stated in its folder's README.
  const expected = JSON.parse(readFileSync(join(SHOP, "expected.json"), "utf8")) as Expected;
  const streams = new DerivedStreams();
  let spans = 0;
  for (const [at, name] of readdirSync(SHOP)
    .filter((file) => file.includes("traces"))
    .entries()) {
    let bytes: Uint8Array = readFileSync(join(SHOP, name));
    if (name.endsWith(".gz")) bytes = gunzipSync(bytes);
    const decoded = name.includes(".json") ? decodeTracesJson(bytes) : decodeTraces(bytes);
    assert.equal(decoded.kind, "decoded", name);
    if (decoded.kind !== "decoded") continue;
    const { batch, rejected, mended } = checkBatch(decoded.batch);
    assert.deepEqual([rejected.size, mended.size], [0, 0], name);
    spans += batch.rows;
    streams.observe(batch, at + 1, NOW_MS);
  }
  assert.equal(spans, expected.spans);
  streams.expire(NOW_MS + 60_000);
  for (const cadence of streams.zeros(NOW_MS).cadences) cadence.zeroed = true;
  const got = sampleMap(streams.samples(NOW_MS + 60_000));
  const ofMetric = (metric: string) => new Map([...got].filter(([series]) => series.startsWith(`${metric}{`)).sort());
  const wantCalls = expected.spanMetrics.map(({ service, span_name, span_kind, status_code, calls }) => [
    `traces_spanmetrics_calls_total{service="${service}",span_kind="${span_kind}",span_name="${span_name}",status_code="${status_code}"}`,
    calls,
  ]);
  assert.deepEqual(ofMetric("traces_spanmetrics_calls_total"), new Map(wantCalls.sort() as [string, number][]));
  for (const [metric, field] of [
    ["traces_service_graph_request_total", "requests"],
    ["traces_service_graph_request_failed_total", "failed"],
  ] as const) {
    const want = expected.serviceGraph.map((edge): [string, number] => {
      const type = edge.connection_type === "" ? "" : `connection_type="${edge.connection_type}",`;
      return [`${metric}{client="${edge.client}",${type}server="${edge.server}"}`, edge[field]];
    });
    assert.deepEqual(ofMetric(metric), new Map(want.sort()));
  }
});
