import assert from "node:assert/strict";
import { test } from "node:test";
import { customHistogram, type NativeHistogram } from "../model/histogram.ts";
import type { Labels } from "../model/series.ts";
import { FamilyEncoder } from "./exposition-protobuf-encode.ts";

const LABELS: Labels = [
  ["job", "a"],
  ["instance", ""],
  ["region", "north"],
];
/** What Prometheus 3.16 answers at `/federate` for the two histograms below. */
const ANSWERED = `
97010a0267681805228e010a080a036a6f621201610a0c0a08696e7374616e636512000a0f0a06726567696f6e12056e6f727468
3080ade4e6a1343a5c1100000000000004c02100000000000024402804318dedb5a0f7c6b03e41000000000000f03f4a0408001001
59000000000000084062040805100262040808100171000000000000f03f710000000000000040710000000000000840
740a026e681804226c0a080a036a6f621201610a0c0a08696e7374616e636512000a0f0a06726567696f6e12056e6f727468
3080ade4e6a1343a3a110000000000001e401a1211000000000000e03f2100000000000000001a1211000000000000f03f21
0000000000000040210000000000001840`;

test("families are written as Prometheus writes them", () => {
  const gauge: NativeHistogram = {
    ...{ schema: 2, zeroThreshold: 1e-6, zeroCount: 1, count: 10, sum: -2.5, resetHint: "gauge", integer: false },
    positiveSpans: [
      { offset: -3, length: 2 },
      { offset: 4, length: 1 },
    ],
    ...{ positiveCounts: Float64Array.of(1, 2, 3), customValues: new Float64Array() },
    ...{ negativeSpans: [{ offset: 0, length: 1 }], negativeCounts: Float64Array.of(3) },
  };
  const custom = customHistogram({
    count: 6,
    sum: 7.5,
    positiveSpans: [{ offset: 1, length: 2 }],
    positiveCounts: Float64Array.of(2, 4),
    customValues: Float64Array.of(0.5, 1),
    integer: true,
  });
  const encoder = new FamilyEncoder();
  const frame = { labels: LABELS, timeMs: 1795780318848 };
  const families = (["gh", "nh"] as const).map((name) => {
    const metric = encoder.metric(frame, name === "gh" ? gauge : custom);
    const head = encoder.head(name, name === "gh" ? "gaugehistogram" : "histogram", metric.length);
    return Buffer.concat([head, metric]).toString("hex");
  });
  assert.equal(families.join(""), ANSWERED.replaceAll("\n", ""));
});
