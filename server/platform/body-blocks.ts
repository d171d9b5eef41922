/**
 * A body that comes in pieces, kept in blocks that are freed as they are read: it is never in memory twice, and takes from
 * its room what its blocks take, however small its pieces are.
 */

const BLOCK_BYTES_MIN = 4 * 1024;
const BLOCK_BYTES_MAX = 64 * 1024;
/** A body in so many pieces has larger ones on average, or is refused: each costs as much time as a kilobyte. */
const PIECES_JUDGED = 10_000;
const PIECE_BYTES_MIN = 64;

/** Room for bodies that are held at the same time. */
export interface ByteRoom {
  /** False where there is none left. */
  take(bytes: number): boolean;
  give(bytes: number): void;
}

/** Why a piece is not taken. */
export type BlocksFault = "no_room" | "crumbs";

/** Whether so many pieces are too many for what they hold together. */
export function isCrumbs(pieces: number, bytes: number): boolean {
  return pieces > PIECES_JUDGED && bytes < pieces * PIECE_BYTES_MIN;
}

/** Whoever holds one gives its room back by `release`. */
export class BodyBlocks {
  readonly #room: ByteRoom | undefined;
  readonly #blocks: Buffer[] = [];
  /** Bytes of the last block that are in use. */
  #filled = 0;
  #length = 0;
  #pieces = 0;
  #held = 0;

  /** @param room Shared with others; without one any number of bytes is taken. */
  constructor(room?: ByteRoom) {
    this.#room = room;
  }

  /** Bytes of the whole body, those that were read and freed too. */
  get length(): number {
    return this.#length;
  }

  /** Copies a piece. After a fault nothing more is to be added. */
  add(piece: Uint8Array): BlocksFault | undefined {
    this.#length += piece.length;
    if (isCrumbs(++this.#pieces, this.#length)) return "crumbs";
    for (let from = 0; from < piece.length; ) {
      let last = this.#blocks.at(-1);
      if (last === undefined || this.#filled === last.length) {
        last = this.#grow(piece.length - from, last?.length ?? 0);
        if (last === undefined) return "no_room";
      }
      const end = Math.min(piece.length, from + last.length - this.#filled);
      last.set(piece.subarray(from, end), this.#filled);
      this.#filled += end - from;
      from = end;
    }
    return undefined;
  }

  /** The bytes in order; each block is valid until the next is asked for. To be called once. */
  *read(): Generator<Buffer> {
    for (let block = this.#blocks.shift(); block !== undefined; block = this.#blocks.shift()) {
      const { length } = block;
      yield this.#blocks.length === 0 ? block.subarray(0, this.#filled) : block;
      free(block);
      this.#give(length);
    }
  }

  /** All bytes in one piece, in the place of the blocks; they keep their room until `release`. To be called once. */
  join(): Uint8Array {
    const whole = Buffer.allocUnsafeSlow(this.#length);
    let at = 0;
    for (let block = this.#blocks.shift(); block !== undefined; block = this.#blocks.shift()) {
      const part = this.#blocks.length === 0 ? block.subarray(0, this.#filled) : block;
      whole.set(part, at);
      at += part.length;
      free(block);
    }
    return whole;
  }

  /** Lets go of what was not read, and of all room; may be called again. */
  release(): void {
    for (const block of this.#blocks) free(block);
    this.#blocks.length = 0;
    this.#give(this.#held);
  }

  #grow(wanted: number, before: number): Buffer | undefined {
    const bytes = Math.min(BLOCK_BYTES_MAX, Math.max(BLOCK_BYTES_MIN, wanted, 2 * before));
    if (this.#room?.take(bytes) === false) return undefined;
    this.#held += bytes;
    const block = Buffer.allocUnsafeSlow(bytes);
    this.#blocks.push(block);
    this.#filled = 0;
    return block;
  }

  #give(bytes: number): void {
    const given = Math.min(bytes, this.#held);
    this.#held -= given;
    this.#room?.give(given);
  }
}

/** Blocks have memory of their own; left to the collector, those of many bodies would pile up. */
function free({ buffer }: Buffer): void {
  if (buffer instanceof ArrayBuffer) buffer.transfer(0);
}
