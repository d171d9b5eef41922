/**
 * RED: calls and latencies per service, span name, kind and status, under Tempo's names.
 *
 * Invariants: every row with `duplicateOf` 0 is counted in exactly one series, by its weight; there are never more
 * than `RED_SERIES_MAX` series plus `OVERFLOW_SERIES_MAX` that stand for the rest, one per service.
 */

import type { ByteReader } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";
import { spanIdToHex, traceIdToHex } from "../model/hex.ts";
import type { Exemplar, MetricMetadata, SampleToAppend, SeriesToAppend } from "../model/series.ts";
import { SPAN_KINDS, SPAN_STATUSES, type SpanBatch } from "../model/span-batch.ts";
import { textReader } from "../model/text-table.ts";
import { type BatchHalves, durationNs, isZero } from "./batch-rows.ts";
import { bornAt, type Cadence, markAllUnwritten, markChanged, pushDue, pushZeros, restoredAt } from "./cadence.ts";
import {
  emptyHistogram,
  HistogramSeries,
  type LatencyHistogram,
  latencyBounds,
  observeLatency,
  readHistogram,
  writeHistogram,
} from "./latency-histogram.ts";
import { boundedValue, labelsOf, OVERFLOW_VALUE } from "./series-labels.ts";
import { SpanSizes } from "./span-sizes.ts";

/** Series that name their span; 20 Prometheus series each. */
const RED_SERIES_MAX = 5_000;
/** Of these at most so many of one service, so that one service cannot take all. */
const RED_SERIES_PER_SERVICE_MAX = 1_000;
const OVERFLOW_SERIES_MAX = 2_000;
/** At the limit, series without a call for so long make room; coming back, they start from 0. */
const IDLE_MS = 3_600_000;
const MAKE_ROOM_EVERY_MS = 60_000;
/** Exemplars are written as often as Tempo writes its series, so many at a time. */
const EXAMPLES_EVERY_MS = 15_000;
const EXAMPLES_MAX = 4_096;
const NO_NUMBERS = new Float64Array(0);

const KINDS = SPAN_KINDS.length;
const STATUSES = SPAN_STATUSES.length;
const KIND_LABELS = SPAN_KINDS.map((kind) => `SPAN_KIND_${kind.toUpperCase()}`);
const STATUS_LABELS = SPAN_STATUSES.map((status) => `STATUS_CODE_${status.toUpperCase()}`);

/** 2 ms times powers of two up to 16.384 s, as Tempo. */
export const RED_BOUNDS = latencyBounds(Array.from({ length: 14 }, (_, k) => 2 * 2 ** k));

/** Type and help of the series that `RedMetrics` makes. */
export const RED_METADATA: readonly MetricMetadata[] = [
  {
    name: "traces_spanmetrics_calls_total",
    type: "counter",
    help: "Calls by service, span name, kind and status.",
    unit: "",
  },
  {
    name: "traces_spanmetrics_size_total",
    type: "counter",
    help: "Size of spans by service, span name, kind and status, as OTLP protobuf.",
    unit: "bytes",
  },
  {
    name: "traces_spanmetrics_latency",
    type: "histogram",
    help: "Duration of calls in seconds.",
    unit: "seconds",
  },
];

/** One series set. The count of `latency` is the number of calls. */
interface RedSeries {
  readonly service: string;
  readonly name: string;
  /** Index into `SPAN_KINDS`. */
  readonly kind: number;
  /** Index into `SPAN_STATUSES`. */
  readonly status: number;
  readonly latency: LatencyHistogram;
  /** Bytes of the spans as protobuf; unlike calls, not by weight. */
  bytes: number;
  readonly cadence: Cadence;
  /** By bucket: 1 where an example waits to be written. */
  readonly exampled: Uint8Array;
}

interface RedWriter {
  readonly calls: SampleToAppend["labels"];
  readonly size: SampleToAppend["labels"];
  readonly latency: HistogramSeries;
}

/** A span in a bucket, which shows what its count means. */
interface Example {
  readonly series: RedSeries;
  readonly bucket: number;
  readonly traceHigh: bigint;
  readonly traceLow: bigint;
  readonly spanId: bigint;
  readonly latencyNs: number;
  readonly atMs: number;
}

/** Counts spans, and tells the counts as samples. */
export class RedMetrics {
  #series: RedSeries[] = [];
  /** By service, then span name; the lists are by `kind * STATUSES + status`. */
  readonly #byService = new Map<string, Map<string, (RedSeries | undefined)[]>>();
  readonly #perService = new Map<string, number>();
  readonly #writers = new WeakMap<RedSeries, RedWriter>();
  readonly #seriesMax: number;
  readonly #perServiceMax: number;
  #examples: Example[] = [];
  #examplesMs = Number.NEGATIVE_INFINITY;
  #overflowSeries = 0;
  #madeRoomMs = Number.NEGATIVE_INFINITY;

  constructor(limits: { readonly seriesMax?: number; readonly perServiceMax?: number } = {}) {
    this.#seriesMax = limits.seriesMax ?? RED_SERIES_MAX;
    this.#perServiceMax = limits.perServiceMax ?? RED_SERIES_PER_SERVICE_MAX;
  }

  /** Services whose span names went beyond a limit, with the calls that were counted under the overflow name. */
  overflow(): { service: string; calls: number }[] {
    const calls = new Map<string, number>();
    for (const { name, service, latency } of this.#series) {
      if (name === OVERFLOW_VALUE) calls.set(service, (calls.get(service) ?? 0) + latency.count);
    }
    return [...calls].map(([service, count]) => ({ service, calls: count }));
  }

  /**
   * Counts the rows of a batch.
   *
   * @returns Whether a series was born.
   */
  observe(batch: SpanBatch, rows: BatchHalves, nowMs: number): boolean {
    const names = batch.text.lengths.length;
    const text = textReader(batch.text);
    const sizes = new SpanSizes(batch, rows);
    const known = new Map<number, RedSeries>();
    const services = batch.resources.map(({ service }) => boundedValue(service));
    const sizeBefore = this.#series.length;
    for (let row = 0; row < batch.rows; row++) {
      if (!isZero(rows.duplicateOf, row)) continue;
      const kind = within(batch.kind[row], KINDS);
      const status = within(batch.status[row], STATUSES);
      const resource = batch.resource[row] ?? 0;
      const name = batch.name[row] ?? 0;
      const localKey = ((resource * names + name) * KINDS + kind) * STATUSES + status;
      let series = known.get(localKey);
      if (series === undefined) {
        series = this.#seriesOf(services[resource] ?? "", boundedValue(text(name)), kind, status, nowMs);
        known.set(localKey, series);
        markChanged(series.cadence, nowMs);
      }
      const latencyNs = durationNs(rows, row);
      const weight = batch.weight[row] ?? 1;
      const bucket = observeLatency(series.latency, RED_BOUNDS, latencyNs, weight);
      if (series.exampled[bucket] === 0 && this.#examples.length < EXAMPLES_MAX) {
        series.exampled[bucket] = 1;
        const [traceHigh = 0n, traceLow = 0n] = batch.traceId.subarray(2 * row, 2 * row + 2);
        const spanId = batch.spanId[row] ?? 0n;
        this.#examples.push({ series, bucket, traceHigh, traceLow, spanId, latencyNs, atMs: nowMs });
      }
      series.bytes += sizes.sizeOf(row);
    }
    return this.#series.length > sizeBefore;
  }

  pushZeros(nowMs: number, out: SampleToAppend[], groupsMax: number): Cadence[] {
    return pushZeros(this.#series, this.#push, nowMs, out, groupsMax);
  }

  pushDue(nowMs: number, out: SampleToAppend[]): void {
    pushDue(this.#series, this.#push, nowMs, out);
  }

  /** Every 15 s one span for each bucket that counted one since, as exemplars of the bucket's series. */
  takeExemplars(nowMs: number): SeriesToAppend[] {
    if (Math.abs(nowMs - this.#examplesMs) < EXAMPLES_EVERY_MS) return [];
    this.#examplesMs = nowMs;
    const taken = this.#examples;
    this.#examples = [];
    const exemplars: SeriesToAppend[] = [];
    for (const example of taken) {
      example.series.exampled[example.bucket] = 0;
      // Exemplars of a series that is not stored yet would be refused.
      const writer = this.#writers.get(example.series);
      if (writer === undefined || !example.series.cadence.zeroed) continue;
      const labels = writer.latency.bucketLabels(example.bucket);
      exemplars.push({ labels, timestampsMs: NO_NUMBERS, values: NO_NUMBERS, exemplars: [exemplarOf(example)] });
    }
    return exemplars;
  }

  markUnwritten(): void {
    markAllUnwritten(this.#series);
  }

  write(out: ByteWriter): void {
    out.varint(this.#series.length);
    for (const series of this.#series) {
      out.text(series.service);
      out.text(series.name);
      out.byte(series.kind);
      out.byte(series.status);
      out.varint(series.cadence.bornMs);
      out.byte(series.cadence.zeroed ? 1 : 0);
      writeHistogram(out, series.latency);
      out.varint(series.bytes);
    }
  }

  /** Takes the place of everything counted so far. */
  read(reader: ByteReader, nowMs: number): void {
    for (let left = reader.varint(); left > 0; left--) {
      const service = reader.text();
      const name = reader.text();
      const kind = reader.byte();
      const status = reader.byte();
      const cadence = restoredAt(nowMs, reader.varint(), reader.byte() === 1);
      const latency = readHistogram(reader, RED_BOUNDS);
      const bytes = reader.varint();
      this.#add({ service, name, kind, status, cadence, latency, bytes, exampled: noneExampled() });
    }
  }

  #seriesOf(service: string, name: string, kind: number, status: number, nowMs: number): RedSeries {
    const known = this.#byService.get(service)?.get(name)?.[kind * STATUSES + status];
    if (known !== undefined) return known;
    if (name !== OVERFLOW_VALUE && !this.#hasRoom(service, nowMs)) {
      return this.#seriesOf(service, OVERFLOW_VALUE, kind, status, nowMs);
    }
    if (name === OVERFLOW_VALUE && this.#overflowSeries >= OVERFLOW_SERIES_MAX && service !== OVERFLOW_VALUE) {
      return this.#seriesOf(OVERFLOW_VALUE, OVERFLOW_VALUE, kind, status, nowMs);
    }
    const latency = emptyHistogram(RED_BOUNDS);
    const series = { service, name, kind, status, latency, bytes: 0, cadence: bornAt(nowMs), exampled: noneExampled() };
    this.#add(series);
    return series;
  }

  #add(series: RedSeries): void {
    const { service, name, kind, status } = series;
    this.#series.push(series);
    let byName = this.#byService.get(service);
    if (byName === undefined) {
      byName = new Map();
      this.#byService.set(service, byName);
    }
    let list = byName.get(name);
    if (list === undefined) {
      list = new Array<RedSeries | undefined>(KINDS * STATUSES).fill(undefined);
      byName.set(name, list);
    }
    list[kind * STATUSES + status] = series;
    if (name === OVERFLOW_VALUE) this.#overflowSeries++;
    else this.#perService.set(service, (this.#perService.get(service) ?? 0) + 1);
  }

  #hasRoom(service: string, nowMs: number): boolean {
    const full = () =>
      this.#series.length - this.#overflowSeries >= this.#seriesMax ||
      (this.#perService.get(service) ?? 0) >= this.#perServiceMax;
    if (full() && nowMs - this.#madeRoomMs >= MAKE_ROOM_EVERY_MS) {
      this.#madeRoomMs = nowMs;
      this.#dropIdle(nowMs);
    }
    return !full();
  }

  #dropIdle(nowMs: number): void {
    const kept = this.#series.filter(({ cadence }) => nowMs - cadence.changedMs < IDLE_MS);
    this.#series = [];
    this.#byService.clear();
    this.#perService.clear();
    this.#overflowSeries = 0;
    for (const series of kept) this.#add(series);
  }

  readonly #push = (series: RedSeries, out: SampleToAppend[], timestampMs: number, zero: boolean): void => {
    let writer = this.#writers.get(series);
    if (writer === undefined) {
      const labels = [
        ["service", series.service],
        ["span_name", series.name],
        ["span_kind", KIND_LABELS[series.kind] ?? ""],
        ["status_code", STATUS_LABELS[series.status] ?? ""],
      ] as const;
      writer = {
        calls: labelsOf("traces_spanmetrics_calls_total", labels),
        size: labelsOf("traces_spanmetrics_size_total", labels),
        latency: new HistogramSeries("traces_spanmetrics_latency", labels, RED_BOUNDS),
      };
      this.#writers.set(series, writer);
    }
    out.push({ labels: writer.calls, timestampMs, value: zero ? 0 : series.latency.count });
    out.push({ labels: writer.size, timestampMs, value: zero ? 0 : series.bytes });
    writer.latency.push(out, series.latency, timestampMs, zero);
  };
}

function noneExampled(): Uint8Array {
  return new Uint8Array(RED_BOUNDS.le.length);
}

/** Labels as Tempo's generator names them. */
function exemplarOf({ traceHigh, traceLow, spanId, latencyNs, atMs }: Example): Exemplar {
  return {
    labels: [
      ["spanID", spanIdToHex(spanId)],
      ["traceID", traceIdToHex(traceHigh, traceLow)],
    ],
    timestampMs: atMs,
    value: latencyNs / 1e9,
  };
}

/** Numbers that OTLP does not know count as unspecified and unset. */
function within(value: number | undefined, below: number): number {
  return value !== undefined && value < below ? value : 0;
}
