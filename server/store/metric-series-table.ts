/** All series of memory and blocks, by labels. */

import { hash } from "node:crypto";
import type { Labels, LabelsHandle } from "../model/series.ts";
import { LabelIndex } from "./metric-label-index.ts";
import { OpenMemory } from "./metric-open-memory.ts";
import { emptySeries, type MetricSeries } from "./metric-series.ts";

/**
 * Series by their labels.
 *
 * Invariants: the index holds all of them, also one that has no sample yet; equal names and values are one pair in memory,
 * since series share most of them.
 */
export class SeriesTable {
  readonly #max: number;
  /** Series by the key of their labels; few share one. */
  readonly #byKey = new Map<number, MetricSeries | MetricSeries[]>();
  /** Series by `Labels` objects that come again and again. One that comes once costs more here than it saves. */
  readonly #byLabels = new WeakMap<Labels, MetricSeries>();
  readonly #index = new LabelIndex();
  /** Of the samples that are not encoded yet. */
  readonly memory = new OpenMemory();
  #size = 0;
  #nextRef = 1;

  /** @param max Series at most. */
  constructor(max: number) {
    this.#max = max;
  }

  get size(): number {
    return this.#size;
  }

  get index(): LabelIndex {
    return this.#index;
  }

  /** All series. */
  *all(): Generator<MetricSeries> {
    for (const entry of this.#byKey.values()) {
      if (Array.isArray(entry)) yield* entry;
      else yield entry;
    }
  }

  /** The series with these labels, made where there is none; undefined where there are too many. */
  of(labels: Labels): MetricSeries | undefined {
    return this.find(labels) ?? (this.#size < this.#max ? this.#make(labels) : undefined);
  }

  /** Whether `of` would find or make one. */
  takes(labels: Labels): boolean {
    return this.#size < this.#max || this.find(labels) !== undefined;
  }

  /** The same for labels with a place for a note, which is looked at first and left for the next time. */
  ofHandle(handle: LabelsHandle): MetricSeries | undefined {
    const known = handle.note as MetricSeries | undefined; // only this function leaves notes
    if (known !== undefined && known.owner === this && !known.removed) return known;
    const series = this.of(handle.labels);
    handle.note = series;
    // The texts that came with the write need not be kept beside those of the table.
    if (series !== undefined) handle.labels = series.labels;
    return series;
  }

  /** The same for a caller who comes with the same object again: this spares the look-up. */
  ofLasting(labels: Labels): MetricSeries | undefined {
    const known = this.#byLabels.get(labels);
    if (known !== undefined && !known.removed) return known;
    const series = this.of(labels);
    if (series !== undefined) this.#byLabels.set(labels, series);
    return series;
  }

  /** The series with these labels, if there is one. */
  find(labels: Labels): MetricSeries | undefined {
    const key = this.#index.keyOf(labels);
    const entry = key === undefined ? undefined : this.#byKey.get(key);
    if (entry === undefined) return undefined;
    if (Array.isArray(entry)) return entry.find((other) => this.#index.hasFound(other, labels.length));
    return this.#index.hasFound(entry, labels.length) ? entry : undefined;
  }

  /** A series that is known not to be there, however many there are. */
  adopt(labels: Labels): MetricSeries {
    this.#index.keyOf(labels);
    return this.#make(labels);
  }

  /** Of the labels that the index was asked for last. */
  #make(labels: Labels): MetricSeries {
    const { series, key } = this.#index.add(labels, (shared) =>
      emptySeries(this.#nextRef++, shared, { owner: this, memory: this.memory }),
    );
    const entry = this.#byKey.get(key);
    this.#byKey.set(key, entry === undefined ? series : [entry, series].flat());
    this.#size++;
    return series;
  }

  /** Notes that a block with these series, their references growing, came or went. @returns Those that lie in none now. */
  count(refs: Uint32Array, by: 1 | -1): MetricSeries[] {
    const left: MetricSeries[] = [];
    let at = 0;
    for (const series of this.#index.all) {
      while (at < refs.length && (refs[at] ?? 0) < series.ref) at++;
      if (refs[at] !== series.ref) continue;
      series.blocks += by;
      if (series.blocks === 0) left.push(series);
    }
    return left;
  }

  /** As `count` for a block that went; forgets series that have no sample left. To be called when none is being written. */
  leave(refs: Uint32Array): void {
    this.remove(this.count(refs, -1).filter(({ head }) => head === undefined));
  }

  /** Forgets series. */
  remove(gone: readonly MetricSeries[]): void {
    for (const series of gone) {
      series.removed = true;
      const key = this.#index.keyOf(series.labels);
      if (key === undefined) throw new Error("a series that is not in the index");
      const entry = this.#byKey.get(key);
      const others = Array.isArray(entry) ? entry.filter((other) => other !== series) : [];
      const [only] = others;
      if (only === undefined) this.#byKey.delete(key);
      else this.#byKey.set(key, others.length === 1 ? only : others);
      this.#size--;
    }
    this.#index.remove(gone);
  }
}

/** Sixteen bytes that tell the labels of a series from all others, also from ones that somebody chose. */
export function fingerprintOf(series: MetricSeries): string {
  series.fingerprint ??= hash("md5", JSON.stringify(series.labels), "binary");
  return series.fingerprint;
}
