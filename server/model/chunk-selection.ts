/** A selection whose samples are still encoded, in columns: what the store finds and a query worker reads. */

import type { Labels, SeriesSamples } from "./series.ts";

/** Numbers that tell of a chunk: page, byte at which it begins, samples. */
export const CHUNK_WORDS = 3;
/** Numbers that tell of the samples of a row behind its chunks: page, number at which they begin, how many, their times, the first of those. */
export const TAIL_WORDS = 5;
/** Numbers that tell of a column of times: page, number at which it begins, how many. */
export const TIMES_WORDS = 3;

/** Chunks of all rows, of one block or of memory. */
export interface ChunkLayer {
  /** For each row: the first of its chunks, and how many they are. */
  readonly from: Uint32Array;
  readonly counts: Uint32Array;
  /** `CHUNK_WORDS` for each chunk, each behind the one before in its row. */
  readonly chunks: Uint32Array;
}

/** Where samples lie; a row is a series that was looked for, with samples or without. */
export interface ChunkColumns {
  /** What was asked for; the chunks at both ends may reach beyond it. */
  readonly minMs: number;
  readonly maxMs: number;
  /** In order of time. */
  readonly layers: readonly ChunkLayer[];
  /** `TAIL_WORDS` for each row; all 0 where there is nothing. */
  readonly tails: Uint32Array;
  /** `TIMES_WORDS` for each column of times. */
  readonly times: Uint32Array;
  /** Samples of each row in the window; near where times are not even. */
  readonly sizes: Uint32Array;
  readonly pages: readonly SharedArrayBuffer[];
}

/** Series of floats with at least one sample in the window, and the others. */
export interface ChunkSelection {
  readonly labels: readonly Labels[];
  /** The row of each of them. */
  readonly rows: Uint32Array;
  readonly columns: ChunkColumns;
  /** Samples of all rows. */
  readonly samples: number;
  /** Series whose samples cannot be read from columns. */
  readonly others: SeriesSamples[];
}
