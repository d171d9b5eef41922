/**
 * The way in for metrics over OTLP: their series go the way of all series that other programs write.
 *
 * Counters count samples, of which a point of a histogram has many; a point that is left out before it is translated
 * counts as one. What the sender is told counts points.
 */

import type { MetricDecodeOutcome } from "../wire/metric-series.ts";
import { NO_POINT } from "../wire/metric-series.ts";
import { type AcceptSeriesDeps, acceptSeries } from "./accept-series.ts";

/** A request's metrics. */
export interface ReceivedMetrics {
  readonly decoded: Extract<MetricDecodeOutcome, { kind: "decoded" }>;
  readonly transport: "grpc" | "http";
}

/** What became of them. */
export type MetricsOutcome =
  | {
      readonly kind: "stored";
      /** Points of which a sample or histogram was left out by the store. */
      readonly refusedPoints: number;
      /** Why, in the words of `thalweg_ingest_rejected_total`. */
      readonly refusedFor: readonly string[];
      /** Sentences for the sender; empty where nothing was left out. */
      readonly faults: readonly string[];
    }
  | { readonly kind: "refused"; readonly reason: string; readonly retryAfterSeconds: number };

/** Stores the points of a request; resolves once they are durable. */
export async function acceptMetrics(
  deps: AcceptSeriesDeps,
  { decoded, transport }: ReceivedMetrics,
): Promise<MetricsOutcome> {
  const { series, metadata, rejected, rejectedExemplars, faults, repaired } = decoded;
  let rejectedPoints = 0;
  for (const count of rejected.values()) rejectedPoints += count;
  const outcome = await acceptSeries(
    deps,
    {
      version: 2,
      rows: undefined,
      series,
      metadata,
      received: {
        samples: decoded.samples + rejectedPoints,
        histograms: decoded.histograms,
        exemplars: decoded.exemplars,
      },
      staleHistograms: 0,
      rejected,
      rejectedExemplars,
      faults,
    },
    transport,
  );
  if (outcome.kind === "refused") return outcome;
  const mended: [what: string, count: number][] = [
    ["unicode", repaired.text],
    ["nesting", repaired.values],
    ["label_collision", repaired.labels],
    ["metric_collision", repaired.names],
  ];
  for (const [what, count] of mended) {
    if (count > 0) deps.telemetry.count("thalweg_ingest_mended_total", { signal: "metrics", what }, count);
  }
  const points = new Set<number>();
  for (const index of outcome.refusedSeries) points.add(decoded.pointOf[index] ?? NO_POINT);
  points.delete(NO_POINT);
  const { refusedFor, faults: told } = outcome;
  return { kind: "stored", refusedPoints: points.size, refusedFor: [...refusedFor], faults: told };
}
