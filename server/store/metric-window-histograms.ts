/** The histograms of one series in a window, of which only those that somebody looks at are decoded. */

import type { CounterResetHint, NativeHistogram } from "../model/histogram.ts";
import { type HistogramStretch, hintOf, histogramIn, histogramsOf } from "../model/histogram-columns.ts";
import type { HistogramLayout } from "../model/histogram-layout.ts";
import { findStretches, type SealedChunk } from "./metric-chunk.ts";
import { lowerBound, upperBound } from "./metric-runs.ts";
import type { WindowHistograms } from "./reader.ts";

/** So many histograms of a stretch are decoded one by one, each of which goes through its bytes; then all at once. */
const LOOKS_MAX = 2;
/** Samples of a series at most. */
const SAMPLES_MAX = 8_192;

/** Neighbours that are kept in one way. */
interface Piece {
  /** Sample that its first histogram is. */
  readonly first: number;
  readonly count: number;
  readonly stretch: HistogramStretch | undefined;
  /** In place of a stretch; the histogram at `first` is `open[0]`. */
  readonly open: readonly NativeHistogram[];
  /** All of the stretch, once a few of them were looked at. */
  decoded: readonly NativeHistogram[] | undefined;
  looks: number;
}

const NOTHING_OPEN: readonly NativeHistogram[] = [];

/** Filled for one series after the other; the same memory serves all. */
export class WindowScratch implements WindowHistograms {
  readonly timestampsMs = new Float64Array(SAMPLES_MAX);
  low = 0;
  high = 0;
  readonly #pieces: Piece[] = [];
  #near: Piece | undefined;
  #count = 0;
  #cost = 0;

  /** What was looked at, as a selection counts it. */
  get cost(): number {
    return this.#cost;
  }

  /** Forgets the series before. */
  clear(): void {
    this.#pieces.length = 0;
    this.#near = undefined;
    this.#count = 0;
    this.#cost = 0;
    this.low = 0;
    this.high = 0;
  }

  /** Adds a chunk after what is there. @returns False where it has anything but histograms, or there is no room. */
  addChunk(chunk: SealedChunk): boolean {
    if (this.#count + chunk.count > SAMPLES_MAX) return false;
    const stretches = findStretches(chunk, this.timestampsMs, this.#count);
    if (stretches === undefined) return false;
    for (const stretch of stretches) {
      this.#add({
        first: this.#count,
        count: stretch.count,
        stretch,
        open: NOTHING_OPEN,
        decoded: undefined,
        looks: 0,
      });
    }
    return true;
  }

  /** As `addChunk` for histograms that are not encoded. */
  addOpen(times: Float64Array, histograms: readonly (NativeHistogram | undefined)[], count: number): boolean {
    if (this.#count + count > SAMPLES_MAX) return false;
    const open: NativeHistogram[] = [];
    for (let i = 0; i < count; i++) {
      const histogram = histograms[i];
      if (histogram === undefined) return false;
      open.push(histogram);
      this.timestampsMs[this.#count + i] = times[i] as number; // in range: a time each
    }
    if (count > 0) this.#add({ first: this.#count, count, stretch: undefined, open, decoded: undefined, looks: 0 });
    return true;
  }

  #add(piece: Piece): void {
    this.#pieces.push(piece);
    this.#count += piece.count;
  }

  /** Leaves what lies in `[minMs, maxMs]`. */
  cut(minMs: number, maxMs: number): void {
    this.low = lowerBound(this.timestampsMs, this.#count, minMs);
    this.high = upperBound(this.timestampsMs, this.#count, maxMs);
    this.#cost = this.high - this.low;
  }

  hintAt(index: number): CounterResetHint {
    const { first, stretch, open } = this.#pieceOf(index);
    // In range: the piece has this sample.
    if (stretch !== undefined) return hintOf(stretch.marks[index - first] as number);
    return (open[index - first] as NativeHistogram).resetHint;
  }

  layoutAt(index: number): HistogramLayout {
    const { first, stretch, open } = this.#pieceOf(index);
    return stretch?.layout ?? (open[index - first] as NativeHistogram); // in range, as above
  }

  at(index: number): NativeHistogram {
    const piece = this.#pieceOf(index);
    const { first, stretch, open } = piece;
    if (stretch === undefined) {
      const histogram = open[index - first] as NativeHistogram; // in range, as above
      this.#cost += histogram.positiveCounts.length + histogram.negativeCounts.length;
      return histogram;
    }
    if (piece.looks++ === 0) this.#cost += stretch.bytes.length - stretch.at;
    if (piece.looks <= LOOKS_MAX) return histogramIn(stretch, index - first);
    piece.decoded ??= histogramsOf(stretch);
    return piece.decoded[index - first] as NativeHistogram; // in range, as above
  }

  #pieceOf(index: number): Piece {
    const near = this.#near;
    if (near !== undefined && index >= near.first && index < near.first + near.count) return near;
    const found = this.#pieces.find(({ first, count }) => index >= first && index < first + count);
    if (found === undefined) throw new Error(`no histogram ${index} in the window`);
    this.#near = found;
    return found;
  }
}
