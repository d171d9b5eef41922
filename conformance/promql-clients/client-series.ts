/** Samples that the clients ask for: counters, gauges, classic and native histograms, a name with a dot. */

import type { NativeHistogram } from "../../server/model/histogram.ts";
import type { Labels } from "../../server/model/series.ts";
import { compareLabels } from "../../server/query/promql/series-labels.ts";
import type { SentSample, SentSeries } from "../remote-write.ts";

/** The first sample's time: any will do; on a whole minute. */
export const FIRST_MS = 1_700_000_040_000;
/** The last one's. */
export const LAST_MS = FIRST_MS + 30 * 60_000;
const STEP_MS = 15_000;

/** Every series. */
export function clientSeries(): SentSeries[] {
  const out: SentSeries[] = [];
  const add = (labels: Record<string, string>, value: (index: number) => number | NativeHistogram) => {
    const sorted: Labels = Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1));
    const samples: SentSample[] = [];
    for (let timestampMs = FIRST_MS; timestampMs <= LAST_MS; timestampMs += STEP_MS)
      samples.push({ timestampMs, startMs: 0, value: value(samples.length) });
    out.push({ labels: sorted, samples });
  };
  for (const [at, job] of ["api", "web"].entries()) {
    add({ __name__: "up", job, instance: "host:1" }, () => 1);
    for (const code of ["200", "500"])
      add({ __name__: "orders_total", job, code }, (index) => index * (at + 1) * (code === "200" ? 12 : 1));
    add({ __name__: "queue_size", job }, (index) => 20 + 15 * Math.sin(index / 9 + at));
    for (const le of ["0.1", "0.5", "1", "+Inf"])
      add({ __name__: "wait_seconds_bucket", job, le }, (index) => index * (le === "+Inf" ? 10 : Number(le) * 8));
    add({ __name__: "wait_seconds_count", job }, (index) => index * 10);
    add({ __name__: "wait_seconds_sum", job }, (index) => index * 4.5);
    add({ __name__: "size_bytes", job }, (index) => histogram(index + 1, at));
    add({ __name__: "http.server.requests", job, "service.name": `shop-${at}` }, (index) => index);
  }
  // In the order of labels, which is then also the order in which a store has met them.
  return out.sort((a, b) => compareLabels(a.labels, b.labels));
}

function histogram(times: number, at: number): NativeHistogram {
  const counts = Float64Array.of(times, 2 * times, 4 * times);
  return {
    schema: at,
    zeroThreshold: 0.001,
    zeroCount: times,
    count: 8 * times,
    sum: 30.5 * times,
    positiveSpans: [
      { offset: 1, length: 2 },
      { offset: 2, length: 1 },
    ],
    positiveCounts: counts,
    negativeSpans: [],
    negativeCounts: new Float64Array(),
    customValues: new Float64Array(),
    resetHint: "unknown",
    integer: true,
  };
}
