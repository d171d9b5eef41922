/**
 * What remote write requests are decoded to, whatever their version, and what both versions share.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import { labelsText } from "../model/labels-text.ts";
import type {
  Exemplar,
  FloatRows,
  Labels,
  LabelsHandle,
  MetricMetadata,
  MetricType,
  SeriesToAppend,
} from "../model/series.ts";
import {
  enterMessage,
  leaveMessage,
  type ProtobufCursor,
  readInt64Number,
  readTag,
  skipField,
  WIRE_BYTES,
} from "./protobuf-reader.ts";
import { readHistogram } from "./remote-histogram.ts";
import type { GoodLabels, SeriesFault } from "./series-labels.ts";
import { takeUnits, type WireBudget } from "./wire-budget.ts";
import { WireError } from "./wire-error.ts";

/** Sentences about single series that one answer carries; the rest is counted. */
const FAULTS_MAX = 100;
/** UTF-16 units of the help of a metric that are kept. */
const HELP_UNITS_MAX = 4_096;
/** UTF-16 units of names and units of metrics; others are passed over. */
const METADATA_NAME_UNITS_MAX = 1_024;

/** By the numbers of both versions' `MetricType`. */
const METRIC_TYPES: readonly MetricType[] = [
  "unknown",
  "counter",
  "gauge",
  "histogram",
  "gaugehistogram",
  "summary",
  "info",
  "stateset",
];

/** How many of each kind. */
interface SampleCounts {
  readonly samples: number;
  readonly histograms: number;
  readonly exemplars: number;
}

/** A decoded request. */
export interface RemoteWrite {
  readonly version: 1 | 2;
  /** Floats of series with good labels and nothing else, from the start of the request to the first that has more. */
  readonly rows: FloatRows | undefined;
  /** Further series with good labels, in the order of the request. A stale marker of a histogram is a float here. */
  readonly series: readonly SeriesToAppend[];
  /** Metadata that was not told before, as far as this process remembers. */
  readonly metadata: readonly MetricMetadata[];
  /** Everything in the request, the left out too. */
  readonly received: SampleCounts;
  /** Histograms of `received` that are floats in `series`, since they are stale markers. */
  readonly staleHistograms: number;
  /** Samples and histograms of series that were left out, by reason. */
  readonly rejected: ReadonlyMap<string, number>;
  /** Exemplars that were left out, by reason. */
  readonly rejectedExemplars: ReadonlyMap<string, number>;
  /** What to tell the sender of series that were left out. Empty where Prometheus, too, leaves them out in silence. */
  readonly faults: readonly string[];
}

/** A request, or why it cannot be decoded at all. */
export type RemoteWriteOutcome =
  | { readonly kind: "decoded"; readonly write: RemoteWrite }
  | { readonly kind: "malformed"; readonly reason: string; readonly offset: number };

/** Turns what `decode` throws into a `malformed` outcome. */
export function outcomeOf(decode: () => RemoteWrite): RemoteWriteOutcome {
  try {
    return { kind: "decoded", write: decode() };
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return { kind: "malformed", reason: error.message, offset: error.offset };
  }
}

/** All series of a write in the form of the second part. Floats of a series that stand together become one. */
export function seriesOfWrite({ rows, series }: Pick<RemoteWrite, "rows" | "series">): readonly SeriesToAppend[] {
  if (rows === undefined || rows.count === 0) return series;
  const all: SeriesToAppend[] = [];
  for (let from = 0; from < rows.count; ) {
    const handle = rows.handles[from];
    let to = from + 1;
    while (to < rows.count && rows.handles[to] === handle) to++;
    if (handle === undefined) throw new Error("a row without a series");
    const timestampsMs = rows.timestampsMs.slice(from, to);
    const values = rows.values.slice(from, to);
    all.push({
      labels: handle.labels,
      lasting: true,
      timestampsMs,
      values,
      histograms: undefined,
      startsMs: undefined,
    });
    from = to;
  }
  all.push(...series);
  return all;
}

/** Prometheus sends so many samples at once unless told otherwise. */
const ROWS_AT_FIRST = 2_000;
/** Rooms for rows that wait to be used again, and rows of the largest that is kept: 16 times 400 KB at most. */
const SPARE_ROOMS_MAX = 16;
const SPARE_ROWS_MAX = 16_384;

/** Rows while they are gathered. Their room is used again once `releaseRows` gave it back. */
class RowGatherer implements FloatRows {
  /** Longer than `count` where the room was used before. */
  readonly handles: LabelsHandle[] = [];
  timestampsMs = new Float64Array(0);
  values = new Float64Array(0);
  count = 0;

  add(handle: LabelsHandle, timestampMs: number, value: number): void {
    const row = this.count++;
    if (row === this.values.length) this.#lengthen();
    this.handles[row] = handle;
    this.timestampsMs[row] = timestampMs;
    this.values[row] = value;
  }

  /** Takes back all rows from `count` on. */
  cut(count: number): void {
    this.count = count;
  }

  #lengthen(): void {
    const length = Math.max(2 * this.values.length, ROWS_AT_FIRST);
    const timestampsMs = new Float64Array(length);
    const values = new Float64Array(length);
    timestampsMs.set(this.timestampsMs);
    values.set(this.values);
    this.timestampsMs = timestampsMs;
    this.values = values;
  }
}

/** Made anew for each request, rooms for rows would be most of what the collector has to do. */
const spareRooms: RowGatherer[] = [];

/** Gives back the room of a write's rows; to be called once, when nobody reads them any more. Never calling it is no fault. */
export function releaseRows({ rows }: Pick<RemoteWrite, "rows">): void {
  if (!(rows instanceof RowGatherer) || rows.values.length > SPARE_ROWS_MAX) return;
  if (spareRooms.length >= SPARE_ROOMS_MAX) return;
  rows.cut(0);
  spareRooms.push(rows);
}

/** Gathers a request while it is decoded. */
export class WriteGatherer {
  readonly version: 1 | 2;
  readonly series: SeriesToAppend[] = [];
  readonly rows = spareRooms.pop() ?? new RowGatherer();
  readonly metadata: MetricMetadata[] = [];
  readonly #rejected = new Map<string, number>();
  readonly #rejectedExemplars = new Map<string, number>();
  readonly #faults: string[] = [];
  #faultsMore = 0;
  #roomFault: string | undefined;
  #samples = 0;
  #histograms = 0;
  #exemplars = 0;
  staleHistograms = 0;

  constructor(version: 1 | 2) {
    this.version = version;
  }

  /** Whether floats may still go to the rows: all of these come before other series. */
  get takesRows(): boolean {
    return this.series.length === 0;
  }

  /** Adds a series: to the rows where it is nothing but floats and nothing else came before it. */
  add(entry: GoodLabels, columns: SeriesColumns, exemplars: Exemplar[] | undefined): void {
    const { rows } = this;
    const { timestampsMs, values, histograms, startsMs } = columns;
    const isPlain = histograms === undefined && startsMs === undefined && exemplars === undefined;
    // A stale marker that came as a histogram is told apart when it is counted.
    if (!isPlain || !this.takesRows || columns.floatAt < values.length) {
      this.series.push(seriesOf(entry, columns, exemplars));
      return;
    }
    for (let i = 0; i < values.length; i++) {
      rows.add(entry, timestampsMs[i] as number, values[i] as number); // in range: the loop's bounds
    }
  }

  /** Counts what a series brings, before it is known whether it is good. */
  receive(samples: number, histograms: number, exemplars: number): void {
    this.#samples += samples;
    this.#histograms += histograms;
    this.#exemplars += exemplars;
  }

  /** Leaves out a series that has a fault. In version 1 only limits of our own are told. */
  rejectSeries(
    { reason, text }: SeriesFault,
    labels: Labels,
    { samples, exemplars }: { readonly samples: number; readonly exemplars: number },
  ): void {
    const isForRoom = reason === "series_max";
    // As the store would tell it, the first alone.
    if (isForRoom && samples > 0) this.#roomFault ??= `${text} for series ${labelsText(labels)}`;
    else if (!isForRoom && (this.version === 2 || reason === "labels_limit")) this.fault(text);
    add(this.#rejected, reason, samples);
    add(this.#rejectedExemplars, isForRoom ? "exemplar_series" : reason, exemplars);
  }

  rejectExemplar(reason: string, text: string): void {
    add(this.#rejectedExemplars, reason, 1);
    this.fault(text);
  }

  fault(text: string): void {
    if (this.#faults.length < FAULTS_MAX) this.#faults.push(text);
    else this.#faultsMore++;
  }

  /** Keeps metadata that can be kept. */
  describe(name: string, type: number, texts: { readonly help: string; readonly unit: string }): void {
    if (name === "" || name.length > METADATA_NAME_UNITS_MAX || texts.unit.length > METADATA_NAME_UNITS_MAX) return;
    const help = texts.help.slice(0, HELP_UNITS_MAX);
    this.metadata.push({ name, type: METRIC_TYPES[type] ?? "unknown", help, unit: texts.unit });
  }

  finish(): RemoteWrite {
    const faults = this.#faults;
    if (this.#roomFault !== undefined) {
      const more = (this.#rejected.get("series_max") ?? 0) - 1;
      this.fault(more > 0 ? `${this.#roomFault} (and ${more} more)` : this.#roomFault);
    }
    if (this.#faultsMore > 0) faults.push(`and ${this.#faultsMore} more`);
    return {
      version: this.version,
      rows: this.rows,
      series: this.series,
      metadata: this.metadata,
      received: { samples: this.#samples, histograms: this.#histograms, exemplars: this.#exemplars },
      staleHistograms: this.staleHistograms,
      rejected: this.#rejected,
      rejectedExemplars: this.#rejectedExemplars,
      faults,
    };
  }
}

function add(counts: Map<string, number>, reason: string, count: number): void {
  if (count > 0) counts.set(reason, (counts.get(reason) ?? 0) + count);
}

/** Columns of one series while they are filled: floats first, then histograms, each in the order of the message. */
export interface SeriesColumns {
  /** Where there is but one row, an array that series before it may hold too. */
  timestampsMs: Float64Array;
  readonly values: Float64Array;
  startsMs: Float64Array | undefined;
  histograms: (NativeHistogram | undefined)[] | undefined;
  floatAt: number;
  histogramAt: number;
}

/** Time stamp 0 alone; never written to. */
const ZERO_ALONE = new Float64Array(1);
/** The last array of a single time stamp. A request mostly brings one sample a series, all of the same moment. */
let lastAlone = ZERO_ALONE;

/** Columns with room for so many rows, all 0. */
export function seriesColumns(samples: number, histograms: number): SeriesColumns {
  const rows = samples + histograms;
  return {
    timestampsMs: rows === 1 ? ZERO_ALONE : new Float64Array(rows),
    values: new Float64Array(rows),
    startsMs: undefined,
    histograms: undefined,
    floatAt: 0,
    histogramAt: samples,
  };
}

/** The columns as a series. Exemplars are put in order of time. */
function seriesOf(
  { labels, lasting }: GoodLabels,
  columns: SeriesColumns,
  exemplars: Exemplar[] | undefined,
): SeriesToAppend {
  const { timestampsMs, values, startsMs, histograms } = columns;
  if (exemplars !== undefined && exemplars.length > 1) {
    exemplars.sort((left, right) => left.timestampMs - right.timestampMs || left.value - right.value);
  }
  return { labels, lasting, timestampsMs, values, histograms, startsMs, exemplars };
}

/** Labels of an exemplar in order of name, without empty values. */
export function sortedExemplarLabels(pairs: [string, string][]): Labels {
  const kept = pairs.filter(([, value]) => value !== "");
  return kept.sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0));
}

const SAMPLE_VALUE = 9;
const SAMPLE_TIMESTAMP = 16;
const SAMPLE_START = 24;
const SAMPLE_LAST_FIELD = 3;

/** Reads a length-delimited sample of either version. */
export function readSample(cursor: ProtobufCursor, columns: SeriesColumns): void {
  const outer = enterMessage(cursor);
  const at = columns.floatAt++;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === SAMPLE_VALUE) {
      const from = cursor.at;
      if (from + 8 > cursor.end) throw new WireError("a fixed-size value is cut short", from);
      // Straight from the bytes to the array: the bits of a stale marker must come through.
      columns.values[at] = cursor.view.getFloat64(from, true);
      cursor.at = from + 8;
    } else if (tag === SAMPLE_TIMESTAMP) {
      setTimestamp(columns, at, readInt64Number(cursor));
    } else if (tag === SAMPLE_START) {
      setStart(columns, at, readInt64Number(cursor));
    } else {
      if (tag >>> 3 <= SAMPLE_LAST_FIELD) throw new WireError(`wire type ${tag & 7} in a sample`, cursor.at);
      skipField(cursor, tag);
    }
  }
  leaveMessage(cursor, outer);
}

/**
 * The length that one byte tells, or two where it needs two; below 0 where it is told otherwise, or not at all. A message
 * of that length starts behind `lengthBytes` of it.
 */
export function shortLength(bytes: Uint8Array, at: number): number {
  const low = bytes[at];
  if (low === undefined || low < 0x80) return low ?? -1;
  const high = bytes[at + 1];
  return high === undefined || high === 0 || high >= 0x80 ? -1 : (low & 0x7f) | (high << 7);
}

/** Bytes that tell a length from `shortLength`. */
export function lengthBytes(length: number): number {
  return length < 0x80 ? 1 : 2;
}

/** Tags of a message that holds nothing but one value and its time, and the bytes of a tag and a value. */
const SAMPLE_IN_SERIES = 18;
const TAGGED_DOUBLE_BYTES = 9;

/**
 * Reads samples of a series into the rows, as long as they are in the form that senders write: a value that is left out
 * where it is 0, and a time.
 *
 * @returns Samples read; the cursor stands at what comes after them.
 */
export function readPlainSamples(cursor: ProtobufCursor, entry: LabelsHandle, into: WriteGatherer): number {
  const { bytes, view, end } = cursor;
  const { rows } = into;
  const before = rows.count;
  let start = cursor.at;
  while (start < end && bytes[start] === SAMPLE_IN_SERIES) {
    const length = bytes[start + 1] as number; // in range or read as no length: `sampleEnd` is compared below
    const sampleEnd = start + 2 + length;
    if (!(sampleEnd <= end) || length > 0x7f) break;
    let at = start + 2;
    let value = 0;
    if (bytes[at] === SAMPLE_VALUE && at + TAGGED_DOUBLE_BYTES < sampleEnd) {
      value = view.getFloat64(at + 1, true);
      at += TAGGED_DOUBLE_BYTES;
    }
    if (at >= sampleEnd || bytes[at++] !== SAMPLE_TIMESTAMP) break;
    if (!readLastTime(bytes, view, at, sampleEnd)) break;
    rows.add(entry, LAST_TIME_MS[0] as number, value); // in range: it has one
    start = sampleEnd;
  }
  cursor.at = start;
  return rows.count - before;
}

/** How far a reading of plain series came: rows before it, rows of whole series, where the last ends and where the request does. */
interface PlainSeriesRead {
  readonly before: number;
  readonly count: number;
  readonly done: number;
  readonly end: number;
}

/** Ends a reading of plain series: what was read of one that is none goes back to who reads all forms. */
export function leavePlainSeries(
  cursor: ProtobufCursor,
  into: WriteGatherer,
  budget: WireBudget,
  { before, count, done, end }: PlainSeriesRead,
): void {
  into.rows.cut(count);
  cursor.at = done;
  cursor.end = end;
  takeUnits(budget, count - before, done);
  into.receive(count - before, 0, 0);
}

/** Times read the short way have at most 49 bits. */
const MS_SCALE_MAX = 2 ** 49;
/** Bytes of a time of this century. */
const TIME_BYTES = 6;

/** The bytes of the last time where it has `TIME_BYTES`, else a `high` that none has: neighbours in a request are mostly of one moment. */
const lastTime = { low: 0, high: -1 };
/** What they tell; negative where they tell no time. A number that functions hand on would be an object for each sample. */
const LAST_TIME_MS = Float64Array.of(-1);

/** Reads `[from, end)` into `LAST_TIME_MS`. @returns Whether all of it is a time, and none that is read another way. */
function readLastTime(bytes: Uint8Array, view: DataView, from: number, end: number): boolean {
  if (end - from === TIME_BYTES) {
    const low = view.getInt32(from, true);
    const high = view.getUint16(from + 4, true);
    if (low === lastTime.low && high === lastTime.high) return (LAST_TIME_MS[0] as number) >= 0; // in range: it has one
    lastTime.low = low;
    lastTime.high = high;
  } else lastTime.high = -1;
  LAST_TIME_MS[0] = readShortTime(bytes, from, end);
  return (LAST_TIME_MS[0] as number) >= 0;
}

function readShortTime(bytes: Uint8Array, from: number, end: number): number {
  let ms = 0;
  let scale = 1;
  for (let at = from; at < end && scale < MS_SCALE_MAX; scale *= 128) {
    const byte = bytes[at++] as number; // in range: before `end`
    ms += (byte & 0x7f) * scale;
    if (byte < 0x80) return at === end ? ms : -1;
  }
  return -1;
}

/** Reads a length-delimited histogram of either version. @returns Whether it is a stale marker. */
export function readHistogramSample(cursor: ProtobufCursor, columns: SeriesColumns, budget: WireBudget): boolean {
  const { timestampMs, startMs, histogram, sumAt } = readHistogram(cursor, budget);
  const at = columns.histogramAt++;
  setTimestamp(columns, at, timestampMs);
  if (startMs !== 0) setStart(columns, at, startMs);
  if (histogram === undefined) {
    columns.values[at] = cursor.view.getFloat64(sumAt, true);
    return true;
  }
  columns.values[at] = Number.NaN;
  columns.histograms ??= new Array(columns.values.length).fill(undefined);
  columns.histograms[at] = histogram;
  return false;
}

function setTimestamp(columns: SeriesColumns, at: number, timestampMs: number): void {
  if (columns.values.length > 1) {
    columns.timestampsMs[at] = timestampMs;
    return;
  }
  if (lastAlone[0] !== timestampMs) lastAlone = Float64Array.of(timestampMs);
  columns.timestampsMs = lastAlone;
}

function setStart(columns: SeriesColumns, at: number, startMs: number): void {
  columns.startsMs ??= new Float64Array(columns.values.length);
  columns.startsMs[at] = startMs;
}

/** Throws where a field of a message that is known is not length-delimited, as all those of series and requests are. */
export function expectBytes(tag: number, lastField: number, cursor: ProtobufCursor): void {
  if (tag >>> 3 <= lastField && (tag & 7) !== WIRE_BYTES) {
    throw new WireError(`wire type ${tag & 7} for field ${tag >>> 3}`, cursor.at);
  }
}
