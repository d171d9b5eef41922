/**
 * The results of a remote read as one snappy block, gathered in pieces whose bytes count against the budget of bodies.
 */

import type { SeriesSamples } from "../model/series.ts";
import { ProtobufWriter } from "../wire/protobuf-writer.ts";
import { writeResultSeries } from "../wire/remote-read-encode.ts";
import { encodeSnappyElements, snappyHeader } from "../wire/snappy.ts";
import type { ByteBudget } from "./byte-budget.ts";

/** Protobuf that is gathered before it is set aside. */
const PIECE_BYTES = 1 << 20;
/** Tag and length of a result in the response. */
const RESULT_TAG = 0x0a;

/** Invariant: what was taken from the budget is the sum of the bytes of all pieces. */
export class GatheredResults {
  readonly #budget: ByteBudget;
  readonly #out = new ProtobufWriter();
  #pieces: Uint8Array[] = [];
  #bytes = 0;
  /** Pieces and bytes of the results that are closed. */
  #closed = { pieces: 0, bytes: 0 };

  constructor(budget: ByteBudget) {
    this.#budget = budget;
  }

  /** Adds a series to the result that is open. @returns False where the budget is used up. */
  add(series: SeriesSamples): boolean {
    writeResultSeries(this.#out, series);
    return this.#out.length < PIECE_BYTES || this.#setAside(this.#out.take());
  }

  /** Closes a result, also one without series; the next series opens another. @returns As `add`. */
  closeResult(): boolean {
    if (!this.#setAside(this.#out.take())) return false;
    const head = resultHead(this.#bytes - this.#closed.bytes);
    if (!this.#budget.take(head.length)) return false;
    this.#pieces.splice(this.#closed.pieces, 0, head);
    this.#bytes += head.length;
    this.#closed = { pieces: this.#pieces.length, bytes: this.#bytes };
    return true;
  }

  /** The block, piece by piece; each is forgotten when it is given. */
  async *block(): AsyncGenerator<Uint8Array> {
    const pieces = this.#pieces;
    yield snappyHeader(this.#bytes);
    for (let piece = pieces.shift(); piece !== undefined; piece = pieces.shift()) {
      this.#budget.give(piece.length);
      this.#bytes -= piece.length;
      yield encodeSnappyElements(piece);
    }
  }

  /** Forgets everything. */
  release(): void {
    this.#pieces.length = 0;
    this.#budget.give(this.#bytes);
    this.#bytes = 0;
  }

  #setAside(piece: Uint8Array): boolean {
    if (piece.length === 0) return true;
    if (!this.#budget.take(piece.length)) return false;
    this.#pieces.push(piece);
    this.#bytes += piece.length;
    return true;
  }
}

function resultHead(bytes: number): Uint8Array {
  const head = [RESULT_TAG];
  let rest = bytes;
  for (; rest > 0x7f; rest = Math.floor(rest / 128)) head.push((rest & 0x7f) | 0x80);
  head.push(rest);
  return Uint8Array.from(head);
}
