/** All series of memory and blocks, by labels. */

import { hash, randomBytes } from "node:crypto";
import type { Labels, LabelsHandle } from "../model/series.ts";
import { LabelIndex } from "./metric-label-index.ts";
import { OpenMemory } from "./metric-open-memory.ts";
import { emptySeries, type MetricSeries } from "./metric-series.ts";

const HASH_PRIME = 0x0100_0193;
/** Another one in each process, so that nobody can choose labels that share a hash. */
const HASH_START = randomBytes(4).readInt32LE();

/**
 * Series by their labels.
 *
 * Invariants: the index holds all of them, also one that has no sample yet; equal names and values are one pair in memory,
 * since series share most of them.
 */
export class SeriesTable {
  readonly #max: number;
  /** Series by a hash of their labels; few share one. */
  readonly #byHash = new Map<number, MetricSeries | MetricSeries[]>();
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
    for (const entry of this.#byHash.values()) {
      if (Array.isArray(entry)) yield* entry;
      else yield entry;
    }
  }

  /** The series with these labels, made where there is none; undefined where there are too many. */
  of(labels: Labels): MetricSeries | undefined {
    const hash = hashOf(labels);
    return this.#atHash(hash, labels) ?? (this.#size < this.#max ? this.#make(labels, hash) : undefined);
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
    return this.#atHash(hashOf(labels), labels);
  }

  /** A series that is known not to be there, however many there are. */
  adopt(labels: Labels): MetricSeries {
    return this.#make(labels, hashOf(labels));
  }

  #atHash(hash: number, labels: Labels): MetricSeries | undefined {
    const entry = this.#byHash.get(hash);
    if (Array.isArray(entry)) return entry.find((other) => sameLabels(other.labels, labels));
    return entry !== undefined && sameLabels(entry.labels, labels) ? entry : undefined;
  }

  #make(labels: Labels, hash: number): MetricSeries {
    const entry = this.#byHash.get(hash);
    const series = emptySeries(this.#nextRef++, this.#index.shared(labels), { owner: this, memory: this.memory });
    this.#byHash.set(hash, entry === undefined ? series : [entry, series].flat());
    this.#index.add(series);
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
      const hash = hashOf(series.labels);
      const entry = this.#byHash.get(hash);
      const others = Array.isArray(entry) ? entry.filter((other) => other !== series) : [];
      const [only] = others;
      if (only === undefined) this.#byHash.delete(hash);
      else this.#byHash.set(hash, others.length === 1 ? only : others);
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

/** A whole number below 2^53 that depends on every unit of every name and value. */
function hashOf(labels: Labels): number {
  let a = HASH_START;
  let b = HASH_START ^ labels.length;
  for (const label of labels) {
    for (const text of label) {
      for (let i = 0; i < text.length; i++) {
        const unit = text.charCodeAt(i);
        a = Math.imul(a ^ unit, HASH_PRIME);
        b = Math.imul(b ^ (unit + (a >>> 17)), HASH_PRIME);
      }
      a = Math.imul(a ^ 0xff, HASH_PRIME);
    }
  }
  return (a >>> 0) * 2 ** 21 + (b >>> 11);
}

function sameLabels(a: Labels, b: Labels): boolean {
  if (a.length !== b.length) return false;
  for (let i = 0; i < a.length; i++) {
    if (a[i]?.[0] !== b[i]?.[0] || a[i]?.[1] !== b[i]?.[1]) return false;
  }
  return true;
}
