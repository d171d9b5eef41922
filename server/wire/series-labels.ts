/**
 * Labels of a series as they arrive: put in order, checked as Prometheus checks them, and remembered by their bytes.
 */

import { labelsText } from "../model/labels-text.ts";
import type { LabelsHandle } from "../model/series.ts";
import { ByteInterner, type ByteSource, type InternerLimits, type WordPlaces } from "./byte-interner.ts";

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

/** Labels in order, or what is wrong with them. */
export interface CheckedLabels extends LabelsHandle {
  readonly fault: LabelFault | undefined;
  /** Whether they came before, as the same object. */
  lasting: boolean;
}

type Pair = [name: string, value: string];

/**
 * Sorts pairs by name, checks them, and leaves out those with an empty value.
 *
 * @param pairs In any order; taken over.
 * @param isUtf8 False where a name or value was not valid UTF-8 and had to be repaired.
 */
export function checkLabels(pairs: Pair[], isUtf8: boolean): CheckedLabels {
  if (!isSorted(pairs)) pairs.sort(([left], [right]) => (left < right ? -1 : left > right ? 1 : 0));
  const fault = faultOf(pairs, isUtf8);
  if (fault !== undefined) return { labels: [], fault, lasting: false, note: undefined };
  const isWhole = pairs.every(([, value]) => value !== "");
  const labels = isWhole ? pairs : pairs.filter(([, value]) => value !== "");
  return { labels, fault: undefined, lasting: false, note: undefined };
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

/** Series that a decoder remembers unless told otherwise. */
export const KNOWN_SERIES_DEFAULT = 262_144;

/**
 * What is known of series, by the bytes that name them: the same bytes give the same object again.
 *
 * Holds at most what its limits say; `clear` it when `isFull` tells that a request may not fit.
 */
export class KnownSeries<T> {
  readonly #interner: ByteInterner;
  readonly #entries: T[] = [];

  constructor(limits: InternerLimits) {
    this.#interner = new ByteInterner(limits);
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
