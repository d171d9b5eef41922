/**
 * Labels of a series as they arrive: put in order, checked as Prometheus checks them, and remembered by their bytes.
 */

import { labelsText } from "../model/labels-text.ts";
import type { Labels, LabelsHandle } from "../model/series.ts";
import { ByteInterner, type ByteSource, type WordPlaces } from "./byte-interner.ts";

const METRIC_NAME = "__name__";
/** Labels of one series. */
export const LABELS_MAX = 1_024;
/** UTF-16 units of a label's name. */
const LABEL_NAME_UNITS_MAX = 1_024;
/** UTF-16 units of a label's value. */
const LABEL_VALUE_UNITS_MAX = 65_536;
/** A text of more bytes of UTF-8 exceeds both limits, and so does its beginning of this size. */
export const LABEL_BYTES_MAX = 4 * LABEL_VALUE_UNITS_MAX;

/** Why a series is left out, in the words of `thalweg_ingest_rejected_total`. */
type LabelFaultReason = "labels_invalid" | "labels_duplicate" | "labels_limit" | "metadata_invalid";

/** What is wrong with labels; `text` is Prometheus' sentence, where Prometheus has one. */
export interface LabelFault {
  readonly reason: LabelFaultReason;
  readonly text: string;
}

/** Why a series is left out: its labels, or that there is no room for it, where `text` does not name it. */
export type SeriesFault = LabelFault | { readonly reason: "series_max"; readonly text: string };

/** Labels in order, with nothing wrong. */
export interface GoodLabels extends LabelsHandle {
  /** Whether they came before, as the same object. */
  lasting: boolean;
}

/** Labels in order, or what is wrong with them. */
export interface CheckedLabels extends GoodLabels {
  readonly fault: LabelFault | undefined;
}

/** A label. */
export type Pair = [name: string, value: string];

/**
 * Pairs of one series while they are read, used again for the next.
 *
 * V8 learns of each place that makes arrays whether they last, and makes those of a place where most do among the old
 * objects. Pairs of stored series last; so those of series that are refused must come from no such place, or they fill the
 * memory with garbage that is looked for late.
 */
export class PairRoom {
  /** Pairs of the series, in any order. */
  readonly pairs: Pair[] = [];
  readonly #rooms: Pair[] = [];
  #used = 0;

  /** Begins a series. */
  begin(): void {
    this.pairs.length = 0;
  }

  /** Adds a pair, to be filled by the caller. */
  add(): Pair {
    const at = this.pairs.length;
    if (at === this.#rooms.length && at < LABELS_MAX) this.#rooms.push(["", ""]);
    const pair = this.#rooms[at] ?? ["", ""];
    this.pairs.push(pair);
    if (at >= this.#used) this.#used = at + 1;
    return pair;
  }

  /** Ends a request: its texts are not referred to any more. */
  end(): void {
    this.pairs.length = 0;
    for (const pair of this.#rooms.slice(0, this.#used)) pair.fill("");
    this.#used = 0;
  }
}

/**
 * As `checkLabels` for pairs whose arrays are used again, which are copied where the series is stored.
 *
 * @param refusalOf Why a series with these labels, which it must not keep, is not stored.
 */
export function checkPairs(
  pairs: Pair[],
  isUtf8: boolean,
  refusalOf: (labels: Labels) => string | undefined,
): GoodLabels | SeriesFault {
  if (!isSorted(pairs)) sortPairs(pairs);
  const fault = faultOf(pairs, isUtf8);
  if (fault !== undefined) return fault;
  if (!pairs.every(isWhole)) pairs.splice(0, pairs.length, ...pairs.filter(isWhole));
  const text = refusalOf(pairs);
  if (text !== undefined) return { reason: "series_max", text };
  return { labels: pairs.map(([name, value]): Pair => [name, value]), lasting: false, note: undefined };
}

/**
 * Sorts pairs by name, checks them, and leaves out those with an empty value.
 *
 * @param pairs In any order; taken over.
 * @param isUtf8 False where a name or value was not valid UTF-8 and had to be repaired.
 */
export function checkLabels(pairs: Pair[], isUtf8: boolean): CheckedLabels {
  if (!isSorted(pairs)) sortPairs(pairs);
  const fault = faultOf(pairs, isUtf8);
  if (fault !== undefined) return { labels: [], fault, lasting: false, note: undefined };
  const labels = pairs.every(isWhole) ? pairs : pairs.filter(isWhole);
  return { labels, fault: undefined, lasting: false, note: undefined };
}

function isWhole([, value]: Pair): boolean {
  return value !== "";
}

function sortPairs(pairs: Pair[]): void {
  pairs.sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0));
}

function isSorted(pairs: readonly Pair[]): boolean {
  let before = "";
  for (const [name] of pairs) {
    if (name < before) return false;
    before = name;
  }
  return true;
}

function faultOf(pairs: readonly Pair[], isUtf8: boolean): LabelFault | undefined {
  if (pairs.length > LABELS_MAX) {
    return { reason: "labels_limit", text: `a series has more than ${LABELS_MAX} labels` };
  }
  let hasMetricName = false;
  let repeated: string | undefined;
  let before: string | undefined;
  for (const [name, value] of pairs) {
    const over = overLimit(name, value);
    if (over !== "") return { reason: "labels_limit", text: over };
    if (name === METRIC_NAME) hasMetricName = value !== "";
    if (name === before) repeated ??= name;
    before = name;
  }
  if (!isUtf8 || !hasMetricName || pairs[0]?.[0] === "") {
    return { reason: "labels_invalid", text: `invalid metric name or labels, got ${labelsText(pairs)}` };
  }
  if (repeated === undefined) return undefined;
  const text = `invalid labels for series, labels ${labelsText(pairs)}, duplicated label ${repeated}`;
  return { reason: "labels_duplicate", text };
}

/** Why a label is not stored, whoever sends it; empty where it is. */
export function overLimit(name: string, value: string): string {
  if (name.length > LABEL_NAME_UNITS_MAX) {
    return `a label's name has more than ${LABEL_NAME_UNITS_MAX} characters, the limit`;
  }
  if (value.length <= LABEL_VALUE_UNITS_MAX) return "";
  return `the value of label ${name} has more than ${LABEL_VALUE_UNITS_MAX} characters, the limit`;
}

/** Which series a decoder of remote write takes, and how many it remembers between requests. */
export interface SeriesGate {
  /** With more series than this all are read anew each time; 262,144 unless given. */
  readonly rememberedMax?: number;
  /** Why a series with these labels is not stored; unless given, all are. */
  readonly refusalOf?: (labels: Labels) => string | undefined;
}

/** Series that a decoder remembers unless told otherwise. */
const KNOWN_SERIES_DEFAULT = 262_144;

/**
 * What is known of series, by the bytes that name them: the same bytes give the same object again.
 *
 * For stored series alone: the store shares the texts of its own, those of others would be in memory once for each. Holds
 * at most `bytesMax`; `clear` it when `isFull` tells that a request may not fit.
 */
export class KnownSeries<T> {
  /** Of the names of all series. */
  readonly bytesMax: number;
  readonly #interner: ByteInterner;
  readonly #entries: T[] = [];

  /** @param bytes Of the names of a series, on average at most. */
  constructor(bytes: number, seriesMax = KNOWN_SERIES_DEFAULT) {
    this.bytesMax = seriesMax * bytes;
    this.#interner = new ByteInterner({ stringsMax: seriesMax, bytesMax: this.bytesMax });
  }

  isFull(bytes: number): boolean {
    return this.#interner.isFull(bytes);
  }

  /** What `keep` was given for the same bytes. */
  find(source: ByteSource, start: number, end: number): T | undefined {
    return this.#entries[this.#interner.find(source, start, end)];
  }

  /** What is known of the bytes from `start` on where they are those expected next, with where they end in `expectedEnd`. */
  expected(source: ByteSource, start: number, end: number): T | undefined {
    const id = this.#interner.findExpected(source, start, end);
    if (id < 0) return undefined;
    this.expectedEnd = start + this.#interner.bytesOf(id);
    return this.#entries[id];
  }

  /** @see expected */
  expectedEnd = 0;

  /** What is known of a string of words where it is the one expected next. */
  expectedWords(places: WordPlaces, start: number, end: number): T | undefined {
    const id = this.#interner.findExpectedWords(places, start, end);
    return id < 0 ? undefined : this.#entries[id];
  }

  /** Keeps what was made of bytes that `find` did not know, where there is room. */
  keep(source: ByteSource, range: { readonly start: number; readonly end: number }, made: T): void {
    const id = this.#interner.add(source, range.start, range.end);
    if (id >= 0) this.#entries[id] = made;
  }

  clear(): void {
    this.#interner.clear();
    this.#entries.length = 0;
  }
}
