import assert from "node:assert/strict";
import { test } from "node:test";
import type { NativeHistogram } from "../model/histogram.ts";
import { type SeriesToAppend, STALE_NAN_BITS } from "../model/series.ts";
import { FakeClock, NOON_MS, openIn, temporaryDirectory } from "../store/store-fixture.ts";
import { Telemetry } from "../telemetry/telemetry.ts";
import type { RemoteWrite } from "../wire/remote-write.ts";
import { acceptSeries } from "./accept-series.ts";

const AHEAD_MS = NOON_MS + 600_001;
const HISTOGRAM: NativeHistogram = {
  schema: 0,
  zeroThreshold: 0,
  zeroCount: 0,
  count: 3,
  sum: 4,
  positiveSpans: [{ offset: 0, length: 2 }],
  positiveCounts: Float64Array.of(1, 2),
  negativeSpans: [],
  negativeCounts: new Float64Array(),
  customValues: new Float64Array(),
  resetHint: "unknown",
  integer: true,
};

function stale(): number {
  return new Float64Array(BigUint64Array.of(STALE_NAN_BITS).buffer)[0] ?? 0;
}

function series(name: string, timestampsMs: number[], more: Partial<SeriesToAppend> = {}): SeriesToAppend {
  const times = Float64Array.from(timestampsMs);
  return { labels: [["__name__", name]], timestampsMs: times, values: times.map((_, at) => at), ...more };
}

function written(list: readonly SeriesToAppend[], more: Partial<RemoteWrite> = {}): RemoteWrite {
  let samples = 0;
  let histograms = 0;
  let exemplars = 0;
  for (const { timestampsMs, histograms: of, exemplars: examples } of list) {
    const whole = of?.filter((each) => each !== undefined).length ?? 0;
    histograms += whole;
    samples += timestampsMs.length - whole;
    exemplars += examples?.length ?? 0;
  }
  return {
    version: 2,
    rows: undefined,
    series: list,
    metadata: [],
    received: { samples, histograms, exemplars },
    staleHistograms: 0,
    rejected: new Map(),
    rejectedExemplars: new Map(),
    faults: [],
    ...more,
  };
}

test("acceptSeries: what is kept, refused and left out is told and adds up", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const telemetry = new Telemetry();
  const deps = { writer: store.writer, telemetry, clock: new FakeClock() };
  const exemplars = [
    { labels: [], timestampMs: 5, value: 1 },
    { labels: [], timestampMs: AHEAD_MS, value: 1 },
  ];
  const first = written(
    [
      series("a", [1, 2, AHEAD_MS], { exemplars }),
      series("h", [1, 2, 3], {
        histograms: [HISTOGRAM, { ...HISTOGRAM, count: 9 }, undefined],
        values: Float64Array.of(0, 0, stale()),
      }),
      series("far", [AHEAD_MS, AHEAD_MS + 1]),
    ],
    { rejected: new Map([["labels_invalid", 2]]), faults: ["bad labels"], staleHistograms: 1 },
  );
  const received = { samples: first.received.samples + 2, histograms: 2, exemplars: 2 };
  const outcome = await acceptSeries(deps, { ...first, received });
  assert.deepEqual(outcome, {
    kind: "written",
    samples: 2,
    histograms: 2,
    exemplars: 1,
    faults: [
      "bad labels",
      'out of bounds: timestamp is too far in the future for series {__name__="a"}',
      '3 observations found in buckets, but the Count field is 9: histogram\'s observation count should equal the number of observations found in the buckets (in absence of NaN) for series {__name__="h"}',
      "and 2 more for the same reasons",
    ],
    refusedSeries: new Set([0, 1, 2]),
    refusedFor: new Set(["timestamp", "histogram_invalid"]),
  });
  const second = await acceptSeries(deps, written([series("a", [0, 1, 2], { values: Float64Array.of(0, 1, 5) })]));
  assert.deepEqual(second.kind === "written" && second.faults, [
    'out of order sample for series {__name__="a"}',
    'duplicate sample for timestamp 2; overrides not allowed: existing 1, new value 5 for series {__name__="a"}',
    "and 1 more for the same reasons",
  ]);
  const count = (metric: "stored" | "rejected", reason?: string) =>
    metric === "stored"
      ? telemetry.value("thalweg_ingest_stored_total", { signal: "metrics" })
      : telemetry.value("thalweg_ingest_rejected_total", { signal: "metrics", reason: reason ?? "" });
  const all = telemetry.value("thalweg_ingest_received_total", { signal: "metrics", transport: "remote_write" });
  const reasons = ["labels_invalid", "timestamp", "histogram_invalid", "out_of_order", "duplicate"];
  const rejected = reasons.map((reason) => count("rejected", reason));
  assert.deepEqual(rejected.slice(0, 3), [2, 3, 1]);
  assert.equal(all, count("stored") + rejected.reduce((sum, each) => sum + each, 0));
  const exemplar = { signal: "exemplars" } as const;
  assert.equal(telemetry.value("thalweg_ingest_stored_total", exemplar), 1);
  assert.equal(telemetry.value("thalweg_ingest_rejected_total", { ...exemplar, reason: "timestamp" }), 1);
  const [kept] = await store.reader.select([{ name: "__name__", kind: "=", value: "h" }], 0, NOON_MS);
  assert.deepEqual(kept?.timestampsMs, Float64Array.of(1, 3));
});

test("acceptSeries: metadata is announced, also where nothing else comes", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const deps = { writer: store.writer, telemetry: new Telemetry(), clock: new FakeClock() };
  const metadata = [{ name: "up", type: "gauge", help: "Whether.", unit: "" }] as const;
  const outcome = await acceptSeries(deps, written([], { metadata }));
  assert.deepEqual(outcome, {
    kind: "written",
    samples: 0,
    histograms: 0,
    exemplars: 0,
    faults: [],
    refusedSeries: new Set(),
    refusedFor: new Set(),
  });
  assert.deepEqual(store.reader.metadata(), metadata);
});
