import assert from "node:assert/strict";
import { test } from "node:test";
import type { MetricMetadata } from "../model/series.ts";
import { histogramMessage, randomHistogram, remoteDecode, remoteEncode } from "./remote-oracle.ts";
import {
  encodeRemoteMetadata,
  encodeRemoteWrite,
  encodeRemoteWrite1,
  type WrittenSeries,
} from "./remote-write-encode.ts";

const METADATA: MetricMetadata = { name: "m", type: "counter", help: "helps", unit: "bytes" };

function samplesOf(): WrittenSeries[] {
  let seed = 7;
  const random = () => {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    return seed / 2 ** 32;
  };
  const histogram = { ...randomHistogram(random, true, "reset"), customValues: new Float64Array(0) };
  return [
    {
      labels: [
        ["__name__", "m"],
        ["é", "ü"],
      ],
      timestampsMs: Float64Array.of(-5, 1_700_000_000_000),
      values: Float64Array.of(1.5, Number.POSITIVE_INFINITY),
      startsMs: Float64Array.of(0, 1_600_000_000_000),
      exemplars: [{ labels: [["trace_id", "abc"]], timestampMs: 17, value: 3 }],
      metadata: METADATA,
    },
    {
      labels: [["__name__", "h"]],
      timestampsMs: Float64Array.of(20),
      values: Float64Array.of(Number.NaN),
      histograms: [histogram],
      startsMs: Float64Array.of(12),
    },
  ];
}

test("another library reads what is written, in both versions", () => {
  const [floats, histograms] = samplesOf();
  assert.ok(floats !== undefined && histograms?.histograms?.[0] !== undefined);
  const label = ([name, value]: readonly [string, string]) => ({ name, value });
  const pair = (at: number, start?: number) => ({
    value: floats.values[at],
    timestamp: floats.timestampsMs[at],
    ...(start === undefined ? {} : { start_timestamp: start }),
  });
  const one = {
    timeseries: [
      {
        labels: floats.labels.map(label),
        samples: [pair(0), pair(1)],
        exemplars: [{ labels: [label(["trace_id", "abc"])], value: 3, timestamp: 17 }],
      },
      { labels: histograms.labels.map(label), histograms: [histogramMessage(histograms.histograms[0], 20)] },
    ],
  };
  const same = (message: string, got: Uint8Array, wanted: object, of: "one" | "two") =>
    assert.deepEqual(remoteDecode(message, got, of), remoteDecode(message, remoteEncode(of, message, wanted), of));
  same("WriteRequest", encodeRemoteWrite1(samplesOf()), one, "one");
  const two = {
    symbols: ["", "__name__", "m", "é", "ü", "trace_id", "abc", "helps", "bytes", "h"],
    timeseries: [
      {
        labels_refs: [1, 2, 3, 4],
        samples: [pair(0), pair(1, 1_600_000_000_000)],
        exemplars: [{ labels_refs: [5, 6], value: 3, timestamp: 17 }],
        metadata: { type: 1, help_ref: 7, unit_ref: 8 },
      },
      { labels_refs: [1, 9], histograms: [histogramMessage(histograms.histograms[0], 20, 12)] },
    ],
  };
  same("Request", encodeRemoteWrite(samplesOf()), two, "two");
  const metadata = [{ type: 1, metric_family_name: "m", help: "helps", unit: "bytes" }];
  same("WriteRequest", encodeRemoteMetadata([METADATA]), { metadata }, "one");
});
