/**
 * The newest exemplars of all series, as many as Prometheus keeps.
 *
 * Invariant: what is in `#ring` is in the list of its series, by time; both forget the same, first come first gone.
 */

import type { Exemplar, Labels } from "../model/series.ts";

/** Letters of all names and values of one exemplar together, as OpenMetrics allows. */
const LABEL_LETTERS_MAX = 128;

/** Why an exemplar is left out. */
export type ExemplarRefusal = "exemplar_out_of_order" | "exemplar_labels";

interface Entry<S> {
  readonly series: S;
  readonly exemplar: Exemplar;
}

/** Exemplars by series. */
export class ExemplarRing<S extends object> {
  readonly #ring: Entry<S>[] = [];
  readonly #max: number;
  readonly #windowMs: number;
  readonly #bySeries = new Map<S, Exemplar[]>();
  #next = 0;

  /**
   * @param max Beyond so many the one that came first goes.
   * @param windowMs How much older than the newest of its series an exemplar may be.
   */
  constructor(max: number, windowMs: number) {
    this.#max = max;
    this.#windowMs = windowMs;
  }

  get size(): number {
    return this.#ring.length;
  }

  /** All of them, first come first. */
  *entries(): Generator<Entry<S>> {
    for (let i = 0; i < this.#ring.length; i++) {
      const entry = this.#ring[(this.#next + i) % this.#ring.length];
      if (entry !== undefined) yield entry;
    }
  }

  /** What `add` would say. */
  check(series: S, exemplar: Exemplar): "new" | "repeat" | ExemplarRefusal {
    if (!hasShortLabels(exemplar.labels)) return "exemplar_labels";
    const known = this.#bySeries.get(series);
    const newest = known?.[known.length - 1];
    if (known === undefined || newest === undefined) return "new";
    if (compareExemplars(exemplar, newest) === 0) return "repeat";
    if (exemplar.timestampMs >= newest.timestampMs) {
      return compareExemplars(exemplar, newest) > 0 ? "new" : "exemplar_out_of_order";
    }
    if (exemplar.timestampMs <= newest.timestampMs - this.#windowMs) return "exemplar_out_of_order";
    // Prometheus takes a late one of the same time for the same one.
    return known.some(({ timestampMs }) => timestampMs === exemplar.timestampMs) ? "repeat" : "new";
  }

  /** Keeps an exemplar, and says so, where `check` finds it new. */
  add(series: S, exemplar: Exemplar): "new" | "repeat" | ExemplarRefusal {
    const verdict = this.check(series, exemplar);
    if (verdict !== "new") return verdict;
    if (this.#ring.length < this.#max) this.#ring.push({ series, exemplar });
    else {
      this.#forget(this.#ring[this.#next]);
      this.#ring[this.#next] = { series, exemplar };
      this.#next = (this.#next + 1) % this.#max;
    }
    const known = this.#bySeries.get(series) ?? [];
    this.#bySeries.set(series, known);
    let at = known.length;
    while (at > 0 && compareExemplars(known[at - 1] ?? exemplar, exemplar) > 0) at--;
    known.splice(at, 0, exemplar);
    return verdict;
  }

  /** Exemplars of one series in `[minMs, maxMs]`, by time. */
  of(series: S, minMs: number, maxMs: number): Exemplar[] {
    const known = this.#bySeries.get(series) ?? [];
    return known.filter(({ timestampMs }) => timestampMs >= minMs && timestampMs <= maxMs);
  }

  #forget(entry: Entry<S> | undefined): void {
    if (entry === undefined) return;
    const known = this.#bySeries.get(entry.series);
    const at = known?.indexOf(entry.exemplar) ?? -1;
    if (known === undefined || at < 0) return;
    known.splice(at, 1);
    if (known.length === 0) this.#bySeries.delete(entry.series);
  }
}

/** Order in which exemplars of one series are kept: by time, then value, then labels. */
export function compareExemplars(a: Exemplar, b: Exemplar): number {
  if (a.timestampMs !== b.timestampMs) return a.timestampMs - b.timestampMs;
  if (!Object.is(a.value, b.value)) return a.value < b.value ? -1 : 1;
  const left = JSON.stringify(a.labels);
  const right = JSON.stringify(b.labels);
  return left === right ? 0 : left < right ? -1 : 1;
}

function hasShortLabels(labels: Labels): boolean {
  let letters = 0;
  for (const label of labels) {
    for (const text of label) {
      // A letter takes two code units at most.
      if (text.length > 2 * LABEL_LETTERS_MAX) return false;
      letters += [...text].length;
    }
  }
  return letters <= LABEL_LETTERS_MAX;
}
