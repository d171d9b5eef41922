/** Samples on their way into requests: sorted into shards by series, cut to the size of a request. */

import { setImmediate } from "node:timers/promises";
import type { Exemplar, Labels, MetricMetadata } from "../model/series.ts";
import type { TailSample } from "../store/reader.ts";
import type { WrittenSeries } from "../wire/remote-write-encode.ts";
import type { OutgoingLabels, OutgoingSeries } from "./outgoing-series.ts";
import type { RemoteWriteTarget } from "./remote-write-config.ts";

/** Why a sample is not sent, in Prometheus' words where it has them. */
export type DropReason = "dropped_series" | "too_old" | "native_histogram" | "nhcb_in_rw1_not_supported";

/** What one request carries. */
export interface WriteRequest {
  readonly series: readonly WrittenSeries[];
  readonly samples: number;
  readonly exemplars: number;
  /** The newest of its samples. */
  readonly newestMs: number;
}

interface BatchOptions {
  readonly target: RemoteWriteTarget;
  readonly outgoing: OutgoingLabels;
  readonly shards: number;
  readonly nowMs: number;
  readonly metadataOf: (metric: string) => MetricMetadata | undefined;
  readonly onDrop: (reason: DropReason) => void;
}

/** Others get their turn after so much work; the clock is looked at once for so many samples. */
const SLICE_MS = 5;
const CLOCK_EVERY = 64;
/** Schema of histograms with bounds of their own. */
const CUSTOM_BUCKETS_SCHEMA = -53;

/** Requests by shard; those of one shard go one after another. Others get their turn while they are made. */
export async function requestsOf(
  samples: readonly TailSample[],
  exemplars: readonly { readonly labels: Labels; readonly exemplar: Exemplar }[],
  options: BatchOptions,
): Promise<WriteRequest[][]> {
  const { target, outgoing, shards } = options;
  const building = Array.from({ length: shards }, () => new ShardRequests(options));
  const waiting = new Map<OutgoingSeries, Exemplar[]>();
  for (const { labels, exemplar } of target.sendExemplars ? exemplars : []) {
    const series = outgoing.of(labels);
    if (series === undefined) continue;
    const own = waiting.get(series);
    if (own === undefined) waiting.set(series, [exemplar]);
    else own.push(exemplar);
  }
  let sliceEndsMs = performance.now() + SLICE_MS;
  for (const [at, { labels, sample }] of samples.entries()) {
    if (at % CLOCK_EVERY === 0 && performance.now() >= sliceEndsMs) {
      await setImmediate();
      sliceEndsMs = performance.now() + SLICE_MS;
    }
    const series = outgoing.of(labels);
    const reason = series === undefined ? "dropped_series" : refusalOf(sample, options);
    if (reason !== undefined) options.onDrop(reason);
    else if (series !== undefined) {
      // Receivers of version 2 refuse exemplars of a series without samples beside them.
      const own = waiting.get(series)?.splice(0, target.queue.samplesPerSend) ?? [];
      building[series.hash % shards]?.add(series, sample, own);
    }
  }
  for (const [series, own] of waiting) {
    for (const exemplar of own) building[series.hash % shards]?.addExemplar(series, exemplar);
  }
  return building.map((shard) => shard.finish());
}

function refusalOf(
  { timestampMs, histogram }: TailSample["sample"],
  { target, nowMs }: BatchOptions,
): DropReason | undefined {
  const { sampleAgeMaxMs } = target.queue;
  if (sampleAgeMaxMs > 0 && timestampMs < nowMs - sampleAgeMaxMs) return "too_old";
  if (histogram === undefined) return undefined;
  if (!target.sendNativeHistograms) return "native_histogram";
  return target.version === 1 && histogram.schema === CUSTOM_BUCKETS_SCHEMA ? "nhcb_in_rw1_not_supported" : undefined;
}

/** Samples of a series in one request, all floats or all histograms. */
interface Run {
  readonly series: OutgoingSeries;
  readonly isHistogram: boolean;
  readonly samples: TailSample["sample"][];
  readonly exemplars: Exemplar[];
}

class ShardRequests {
  readonly #options: BatchOptions;
  readonly #requests: WriteRequest[] = [];
  #runs: Run[] = [];
  /** The run that a series' next sample belongs to. */
  #runOf = new Map<OutgoingSeries, Run>();
  #samples = 0;
  #exemplars = 0;
  #newestMs = Number.NEGATIVE_INFINITY;

  constructor(options: BatchOptions) {
    this.#options = options;
  }

  /** Adds a sample, and exemplars of its series to the same request. */
  add(series: OutgoingSeries, sample: TailSample["sample"], exemplars: readonly Exemplar[]): void {
    const run = this.#run(series, sample.histogram !== undefined);
    run.samples.push(sample);
    this.#samples++;
    run.exemplars.push(...exemplars);
    this.#exemplars += exemplars.length;
    for (const { timestampMs } of exemplars) this.#newestMs = Math.max(this.#newestMs, timestampMs);
    this.#newestMs = Math.max(this.#newestMs, sample.timestampMs);
    this.#cut();
  }

  addExemplar(series: OutgoingSeries, exemplar: Exemplar): void {
    (this.#runOf.get(series) ?? this.#run(series, false)).exemplars.push(exemplar);
    this.#exemplars++;
    this.#newestMs = Math.max(this.#newestMs, exemplar.timestampMs);
    this.#cut();
  }

  finish(): WriteRequest[] {
    if (this.#samples + this.#exemplars > 0) {
      this.#requests.push({
        series: this.#runs.map((run) => writtenOf(run, this.#options)),
        samples: this.#samples,
        exemplars: this.#exemplars,
        newestMs: this.#newestMs,
      });
    }
    this.#runs = [];
    this.#runOf = new Map();
    this.#samples = 0;
    this.#exemplars = 0;
    this.#newestMs = Number.NEGATIVE_INFINITY;
    return this.#requests;
  }

  #cut(): void {
    if (this.#samples + this.#exemplars >= this.#options.target.queue.samplesPerSend) this.finish();
  }

  #run(series: OutgoingSeries, isHistogram: boolean): Run {
    const known = this.#runOf.get(series);
    if (known?.isHistogram === isHistogram) return known;
    const run: Run = { series, isHistogram, samples: [], exemplars: [] };
    this.#runs.push(run);
    this.#runOf.set(series, run);
    return run;
  }
}

function writtenOf(
  { series, isHistogram, samples, exemplars }: Run,
  { target, metadataOf }: BatchOptions,
): WrittenSeries {
  return {
    labels: series.labels,
    timestampsMs: Float64Array.from(samples, ({ timestampMs }) => timestampMs),
    values: Float64Array.from(samples, ({ value }) => value),
    histograms: isHistogram ? samples.map(({ histogram }) => histogram) : undefined,
    startsMs: target.version === 2 ? Float64Array.from(samples, ({ startMs }) => startMs) : undefined,
    exemplars,
    metadata: target.version === 2 ? metadataOf(series.metric) : undefined,
  };
}
