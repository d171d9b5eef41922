/** All series of the head, by labels. */

import type { Labels, Matcher } from "../model/series.ts";
import { LabelIndex } from "./metric-head-index.ts";
import { emptySeries, type HeadSeries } from "./metric-head-series.ts";

/** Series by their labels. Invariant: the index holds a series once it has a sample that is applied. */
export class SeriesTable {
  readonly #max: number;
  readonly #byKey = new Map<string, HeadSeries>();
  /** Callers append with the same `Labels` objects again and again; this spares them the key. */
  #byLabels = new WeakMap<Labels, HeadSeries>();
  readonly #index = new LabelIndex();
  #nextRef = 1;

  /** @param max Series at most. */
  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#byKey.size;
  }

  /** All series, in order of appearance. */
  all(): IterableIterator<HeadSeries> {
    return this.#byKey.values();
  }

  /** The series with these labels, made where there is none; undefined where there are too many. */
  of(labels: Labels): HeadSeries | undefined {
    const known = this.#byLabels.get(labels);
    if (known !== undefined) return known;
    const key = keyOf(labels);
    let series = this.#byKey.get(key);
    if (series === undefined) {
      if (this.#byKey.size >= this.#max) return undefined;
      series = emptySeries(this.#nextRef++, labels, key);
      this.#byKey.set(key, series);
    }
    this.#byLabels.set(labels, series);
    return series;
  }

  /** Lets readers find a series; does nothing where they can. @returns Whether they could not. */
  index(series: HeadSeries): boolean {
    if (series.indexed) return false;
    series.indexed = true;
    this.#index.add(series);
    return true;
  }

  /**
   * Indexed series that satisfy all matchers. An absent label matches as the empty string.
   *
   * @throws RE2JSException where a regular expression is not valid RE2 syntax.
   */
  match(matchers: readonly Matcher[]): readonly HeadSeries[] {
    return this.#index.match(matchers);
  }

  /** Forgets series. */
  remove(series: readonly HeadSeries[]): void {
    if (series.length === 0) return;
    for (const { key } of series) this.#byKey.delete(key);
    this.#byLabels = new WeakMap();
    this.#index.rebuild([...this.#byKey.values()].filter(({ indexed }) => indexed));
  }
}

function keyOf(labels: Labels): string {
  let key = "";
  for (const [name, value] of labels) key += `${name}\u0000${value}\u0001`;
  return key;
}
