/**
 * What a reading of the log gathers: which series its references name, and floats by series.
 *
 * The log holds scrape after scrape. Samples of one series that are applied together find its memory in the processor's
 * cache; one by one each of them waits for it.
 */

import type { MetricSeries } from "./metric-series.ts";
import type { FloatColumns } from "./metric-track.ts";

/** Floats that are gathered before they are applied. */
const GATHERED_MAX = 1_000_000;

/** References that are looked up in an array, from 0 on or around the first one; those of a store grow one by one. */
const REFS_NEAR = 2 ** 22;

/** Series by reference. */
export class DeclaredSeries {
  #series: MetricSeries[] = [];
  /** Place plus one of reference `#firstRef` and those after it; 0 where there is none. */
  #places = new Uint32Array(0);
  #firstRef = 0;
  /** Of references that are further away. */
  readonly #others = new Map<number, number>();

  /** @param series Takes the place of another with this reference. */
  set(ref: number, series: MetricSeries): void {
    const known = this.placeOf(ref);
    const place = known ?? this.#series.length;
    if (place === 0 && ref >= REFS_NEAR) this.#firstRef = ref - REFS_NEAR / 2;
    this.#series[place] = series;
    if (known !== undefined) return;
    const at = ref - this.#firstRef;
    if (at < 0 || at >= REFS_NEAR) {
      this.#others.set(ref, place);
      return;
    }
    if (at >= this.#places.length) this.#places = longer(this.#places, Math.max(2 * this.#places.length, at + 1));
    this.#places[at] = place + 1;
  }

  /** Where a series stands among those declared; undefined where the reference names none. */
  placeOf(ref: number): number | undefined {
    const at = ref - this.#firstRef;
    const place = at >= 0 && at < this.#places.length ? (this.#places[at] as number) : 0; // in range: checked
    return place === 0 ? this.#others.get(ref) : place - 1;
  }

  /** The series at a place that `placeOf` gave. */
  at(place: number): MetricSeries {
    return this.#series[place] as MetricSeries; // in range: places are given to series only
  }

  get size(): number {
    return this.#series.length;
  }

  clear(): void {
    this.#series = [];
    this.#places = new Uint32Array(0);
    this.#firstRef = 0;
    this.#others.clear();
  }
}

/** Takes the floats `[from, end)` of columns, all of one series; the columns are used again. */
type ApplyFloats = (series: MetricSeries, floats: FloatColumns, from: number, end: number) => void;

/** Floats on their way into series. Those of one series keep their order. */
export class FloatGather {
  readonly #declared: DeclaredSeries;
  readonly #apply: ApplyFloats;
  #count = 0;
  #places = new Uint32Array(0);
  #timestampsMs = new Float64Array(0);
  #values = new Float64Array(0);
  /** The same series after series; grows with what waits. */
  #bySeries: FloatColumns = { timestampsMs: new Float64Array(0), values: new Float64Array(0) };
  /** By place: how many floats wait, then where the next of them goes in `#bySeries`. */
  #waiting = new Uint32Array(0);
  #touched: number[] = [];

  constructor(declared: DeclaredSeries, apply: ApplyFloats) {
    this.#declared = declared;
    this.#apply = apply;
  }

  /** Takes a float; one of no declared series is left out. */
  add(ref: number, timestampMs: number, value: number): void {
    const place = this.#declared.placeOf(ref);
    if (place === undefined) return;
    if (this.#count === this.#places.length) this.#makeRoom();
    const row = this.#count++;
    this.#places[row] = place;
    this.#timestampsMs[row] = timestampMs;
    this.#values[row] = value;
    if (place >= this.#waiting.length) this.#waiting = longer(this.#waiting, 2 * this.#declared.size);
    const before = this.#waiting[place] as number; // in range: made long enough
    if (before === 0) this.#touched.push(place);
    this.#waiting[place] = before + 1;
  }

  /** Applies what waits where some of it is of this series. */
  flushBefore(place: number): void {
    if ((this.#waiting[place] ?? 0) > 0) this.flush();
  }

  /** Applies all that waits. To be called before what is declared changes. */
  flush(): void {
    if (this.#bySeries.values.length < this.#count) {
      this.#bySeries = {
        timestampsMs: new Float64Array(this.#places.length),
        values: new Float64Array(this.#places.length),
      };
    }
    const { timestampsMs, values } = this.#bySeries;
    let at = 0;
    for (const place of this.#touched) {
      const count = this.#waiting[place] as number; // in range: touched, here and below
      this.#waiting[place] = at;
      at += count;
    }
    for (let row = 0; row < this.#count; row++) {
      const place = this.#places[row] as number;
      const to = this.#waiting[place] as number;
      timestampsMs[to] = this.#timestampsMs[row] as number;
      values[to] = this.#values[row] as number;
      this.#waiting[place] = to + 1;
    }
    let from = 0;
    for (const place of this.#touched) {
      const end = this.#waiting[place] as number;
      this.#apply(this.#declared.at(place), this.#bySeries, from, end);
      from = end;
      this.#waiting[place] = 0;
    }
    this.#touched = [];
    this.#count = 0;
  }

  #makeRoom(): void {
    const { length } = this.#places;
    if (length >= GATHERED_MAX) {
      this.flush();
      return;
    }
    const more = Math.min(GATHERED_MAX, Math.max(4096, 4 * length));
    this.#places = longer(this.#places, more);
    this.#timestampsMs = longer(this.#timestampsMs, more);
    this.#values = longer(this.#values, more);
  }
}

function longer<T extends Uint32Array | Float64Array>(column: T, length: number): T {
  const copy = column instanceof Uint32Array ? new Uint32Array(length) : new Float64Array(length);
  copy.set(column);
  return copy as T; // of the same kind as `column`, as chosen above
}
