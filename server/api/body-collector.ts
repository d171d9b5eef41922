/**
 * Gathers the chunks of one body in memory that is taken from the budget before it is used.
 */

import { type BodyRoom, LARGE_FROM_BYTES } from "./byte-budget.ts";

/** A body that came in one chunk of up to so many bytes is not copied, so it may share memory with others. */
const SHARED_BYTES_MAX = 16 * 1024;
/** Chunks that are kept as they came; each takes some 200 bytes beside its own. */
const CHUNKS_MAX = 64;
/** The least that takes the place of chunks. */
const GROWN_BYTES_MIN = 4 * 1024;
/** A body in so many chunks has larger ones on average, or is refused: each costs as much time as a kilobyte. */
const CHUNKS_JUDGED = 10_000;
const CHUNK_BYTES_MIN = 64;

/** Why a body is not taken any further. */
export type CollectFault = "too_large" | "no_room" | "crumbs" | "too_slow";

/** Whether so many chunks are too many for what they hold together. */
export function isCrumbs(chunks: number, bytes: number): boolean {
  return chunks > CHUNKS_JUDGED && bytes < chunks * CHUNK_BYTES_MIN;
}

/** Call `announce` where the length is known, `add` each chunk, then `take`. */
export class BodyCollector {
  readonly #bytesMax: number;
  readonly #room: BodyRoom;
  #announced: number | undefined;
  #chunks: Buffer[] = [];
  #count = 0;
  /** Where the bytes go once it is clear how many they may be. */
  #buffer: Buffer | undefined;
  #length = 0;

  constructor(bytesMax: number, room: BodyRoom) {
    this.#bytesMax = bytesMax;
    this.#room = room;
  }

  get length(): number {
    return this.#length;
  }

  /**
   * Tells how long the body will be. Room for a large one is taken at once: half of it is of no use. That of a small one
   * is taken as it comes, since who only announces shall keep out nobody; where there is none, nothing is waited for.
   */
  announce(bytes: number): CollectFault | undefined {
    if (bytes > this.#bytesMax) return "too_large";
    const isRoom = bytes > LARGE_FROM_BYTES ? this.#room.holdRaw(bytes) : this.#room.hasRoomFor(bytes);
    if (!isRoom) return "no_room";
    this.#announced = bytes;
    return undefined;
  }

  add(chunk: Buffer): CollectFault | undefined {
    const length = this.#length + chunk.length;
    if (length > this.#bytesMax) return "too_large";
    this.#room.comes(chunk.length);
    if ((this.#announced ?? 0) <= LARGE_FROM_BYTES && !this.#room.holdRaw(this.#roomFor(length))) return "no_room";
    if (isCrumbs(++this.#count, length)) return "crumbs";
    if (this.#buffer === undefined || this.#buffer.length < length) this.#buffer = this.#makeBuffer(length);
    if (this.#buffer === undefined) this.#chunks.push(chunk);
    else chunk.copy(this.#buffer, this.#length);
    this.#length = length;
    return undefined;
  }

  /** Lets go of what came: the body is refused. Left to the collector, large ones of many would pile up. */
  drop(): void {
    const buffer = this.#buffer?.buffer;
    if (buffer instanceof ArrayBuffer) buffer.transfer(0);
    this.#chunks = [];
    this.#buffer = undefined;
  }

  /** Whether a chunk that was added is still read, since it was not copied. */
  keeps(chunk: Buffer): boolean {
    return this.#chunks.at(-1) === chunk;
  }

  /** Hands out the body and lets go of it. Above 16 KiB nothing else shares its memory. */
  take(): Buffer {
    this.#room.end();
    if ((this.#announced ?? 0) <= LARGE_FROM_BYTES) this.#room.holdRaw(this.#length);
    const chunks = this.#chunks;
    const whole = this.#buffer;
    this.#chunks = [];
    this.#buffer = undefined;
    const [first] = chunks;
    if (chunks.length === 1 && first !== undefined && first.length <= SHARED_BYTES_MAX) return first;
    if (whole === undefined) return ownCopy(chunks, this.#length);
    if (whole.length === this.#length) return whole;
    // Cut to size in one step, so that the memory is not held twice longer than the copy takes.
    const { buffer } = whole;
    return buffer instanceof ArrayBuffer ? Buffer.from(buffer.transfer(this.#length)) : whole;
  }

  /**
   * A large body that tells no length takes room in steps, each twice the one before: of many that come at once, most
   * are refused while they are small, and not when together they filled the room.
   */
  #roomFor(length: number): number {
    if (length <= LARGE_FROM_BYTES) return length;
    return Math.min(this.#bytesMax, 2 ** Math.ceil(Math.log2(length)));
  }

  /** Memory that is not written to is not used: the system hands it out page by page. */
  #makeBuffer(length: number): Buffer | undefined {
    if (this.#announced !== undefined && this.#announced > SHARED_BYTES_MAX && length <= this.#announced) {
      return Buffer.allocUnsafeSlow(this.#announced);
    }
    const isGathered = this.#buffer !== undefined || this.#chunks.length >= CHUNKS_MAX;
    if (length <= LARGE_FROM_BYTES && !isGathered) return undefined;
    const buffer = Buffer.allocUnsafeSlow(length <= LARGE_FROM_BYTES ? growthOf(length) : this.#bytesMax);
    let at = this.#buffer?.copy(buffer, 0, 0, this.#length) ?? 0;
    for (const chunk of this.#chunks) at += chunk.copy(buffer, at);
    this.drop();
    return buffer;
  }
}

/**
 * Bytes for a small body of which so many came. Of hundreds that drip none takes a MiB: the collector counts what
 * is not written to as well, and has to look for it.
 */
function growthOf(length: number): number {
  return Math.min(LARGE_FROM_BYTES, Math.max(GROWN_BYTES_MIN, 2 ** Math.ceil(Math.log2(2 * length))));
}

function ownCopy(chunks: readonly Buffer[], length: number): Buffer {
  const whole = Buffer.allocUnsafeSlow(length);
  let at = 0;
  for (const chunk of chunks) at += chunk.copy(whole, at);
  return whole;
}
