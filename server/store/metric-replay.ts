/**
 * What a reading of the log gathers: which series its references name, and floats by series.
 *
 * The log holds scrape after scrape. Samples of one series that are applied together find its memory in the processor's
 * cache; one by one each of them waits for it.
 */

import type { MetricSeries } from "./metric-series.ts";

/** Floats that are gathered before they are applied. */
const GATHERED_MAX = 1_000_000;

/** Series by reference. Those of a segment are whole numbers in order from the first one on, but for a few. */
export class DeclaredSeries {
  #refs: number[] = [];
  #series: MetricSeries[] = [];
  readonly #others = new Map<number, number>();

  /** @param series Takes the place of another with this reference. */
  set(ref: number, series: MetricSeries): void {
    const known = this.placeOf(ref);
    const place = known ?? this.#refs.length;
    this.#refs[place] = ref;
    this.#series[place] = series;
    if (known === undefined && ref - (this.#refs[0] ?? 0) !== place) this.#others.set(ref, place);
  }

  /** Where a series stands among those declared; undefined where the reference names none. */
  placeOf(ref: number): number | undefined {
    const place = ref - (this.#refs[0] ?? 0);
    return place >= 0 && this.#refs[place] === ref ? place : this.#others.get(ref);
  }

  /** The series at a place that `placeOf` gave. */
  at(place: number): MetricSeries {
    return this.#series[place] as MetricSeries; // in range: places are given to series only
  }

  get size(): number {
    return this.#refs.length;
  }

  clear(): void {
    this.#refs = [];
    this.#series = [];
    this.#others.clear();
  }
}

/** Floats on their way into series. Those of one series keep their order. */
export class FloatGather {
  readonly #declared: DeclaredSeries;
  readonly #apply: (series: MetricSeries, timestampMs: number, value: number) => void;
  #count = 0;
  #places = new Uint32Array(0);
  #timestampsMs = new Float64Array(0);
  #values = new Float64Array(0);
  /** By place: how many floats wait, then where the next of them goes in `#rows`. */
  #waiting = new Uint32Array(0);
  #touched: number[] = [];

  constructor(declared: DeclaredSeries, apply: (series: MetricSeries, timestampMs: number, value: number) => void) {
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
    const rows = new Uint32Array(this.#count);
    let at = 0;
    for (const place of this.#touched) {
      const count = this.#waiting[place] as number; // in range: touched, here and below
      this.#waiting[place] = at;
      at += count;
    }
    for (let row = 0; row < this.#count; row++) {
      const place = this.#places[row] as number;
      const to = this.#waiting[place] as number;
      rows[to] = row;
      this.#waiting[place] = to + 1;
    }
    let from = 0;
    for (const place of this.#touched) {
      const series = this.#declared.at(place);
      const end = this.#waiting[place] as number;
      for (; from < end; from++) {
        const row = rows[from] as number;
        this.#apply(series, this.#timestampsMs[row] as number, this.#values[row] as number);
      }
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
