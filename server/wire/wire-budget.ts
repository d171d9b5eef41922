/**
 * How much one request may make of its bytes.
 *
 * Two bytes of protobuf can ask for an object of hundreds; so what is built is counted before it is built.
 */

import { WireError } from "./wire-error.ts";

/** What one request may build, in units of a label: some 64 bytes and 50 ns. */
const UNITS_MAX = 2_000_000;
/** Buckets and bounds of all histograms of one request, eight bytes each. */
const BUCKETS_MAX = 2_000_000;

/** Units of what is more than a label. */
export const SERIES_UNITS = 4;
/** @see SERIES_UNITS */
export const EXEMPLAR_UNITS = 2;
/** @see SERIES_UNITS */
export const HISTOGRAM_UNITS = 16;

/** @see SERIES_UNITS */
export const SPAN_UNITS = 4;
/** A span of no bytes is of no bucket; no honest histogram has more than a few. */
export const EMPTY_SPAN_UNITS = 64;
/** A label shorter than this names nothing; it counts as many, since no honest request has more than a few. */
const LABEL_BYTES_MIN = 6;
const EMPTY_LABEL_UNITS = 8;
/** Labels of a series that shares them, for which it takes no more than others. */
const SHARED_LABELS_FREE = 16;
/** A tag and a length of 0. */
const EMPTY_FIELD_BYTES = 2;

/** Units of a label that takes so many bytes. */
export function labelUnits(bytes: number): number {
  return bytes < LABEL_BYTES_MIN ? EMPTY_LABEL_UNITS : 1;
}

/** Units of a sample that takes so many bytes, tag and length among them. One that says nothing counts as many. */
export function sampleUnits(bytes: number): number {
  return bytes <= EMPTY_FIELD_BYTES ? EMPTY_LABEL_UNITS : 1;
}

/** Units of a series that shares its labels' texts with others, as those of one histogram do. Usual series have few. */
export function seriesUnits(labels: number): number {
  return SERIES_UNITS + Math.max(0, labels - SHARED_LABELS_FREE);
}

/** Units of a string of a table: none stands there twice, the empty one neither. */
export function symbolUnits(bytes: number): number {
  return bytes === 0 ? EMPTY_LABEL_UNITS : 1;
}

/** What is left of both. */
export interface WireBudget {
  units: number;
  buckets: number;
}

/** A budget for one request. */
export function wireBudget(): WireBudget {
  return { units: UNITS_MAX, buckets: BUCKETS_MAX };
}

/** Takes units, or throws `WireError` that names `at` as the place. */
export function takeUnits(budget: WireBudget, units: number, at: number): void {
  needUnits(budget, units, at);
  budget.units -= units;
}

/** Throws as `takeUnits` would, and takes nothing. */
export function needUnits(budget: WireBudget, units: number, at: number): void {
  if (units > budget.units) throw new WireError("one request holds too many series, samples or labels", at);
}

/** Takes `count` buckets, or throws `WireError` that names `at` as the place. */
export function takeBuckets(budget: WireBudget, count: number, at: number): void {
  budget.buckets -= count;
  if (budget.buckets < 0) throw new WireError(`one request holds more than ${BUCKETS_MAX} buckets`, at);
}
