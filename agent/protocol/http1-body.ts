/**
 * Where the body behind a head of HTTP/1 ends. Its bytes are counted and never looked at, the lines between chunks are read.
 *
 * Invariant: `#remaining` bytes of the body, or of the chunk under way, have not come yet.
 *
 * @see RFC 9112 sections 6 and 7
 */

import { indexOfLineFeed } from "./bytes.ts";
import { chunkSize, isEmptyLine } from "./http1-chunk.ts";
import { HEADER_NAME_BYTES } from "./http1-head.ts";
import { LineAssembler } from "./line-assembler.ts";

/** What follows a head. A number from 0 on is the body's length. */
export const BODY_CHUNKED = -1;
export const BODY_UNTIL_CLOSE = -2;
/** Framing of the body is not known. */
export const BODY_UNKNOWN = -3;
/** Nothing of HTTP/1 follows: the parser lets go. */
export const BODY_FOREIGN = -4;

const STATE_COUNT = 0;
const STATE_CHUNK_BYTES = 1;
const STATE_UNTIL_CLOSE = 2;
const STATE_CHUNK_SIZE = 3;
const STATE_CHUNK_END = 4;
const STATE_TRAILER = 5;
const STATE_ENDED = 6;
const STATE_VIOLATED = 7;

/** The body of the message under way in one direction. */
export class Http1Body {
  #state = STATE_ENDED;
  #remaining = 0;
  readonly #line = new LineAssembler();

  /** @param follows A length above 0, `BODY_CHUNKED` or `BODY_UNTIL_CLOSE`. */
  begin(follows: number): void {
    this.#line.clear();
    this.#remaining = Math.max(0, follows);
    if (follows > 0) this.#state = STATE_COUNT;
    else this.#state = follows === BODY_CHUNKED ? STATE_CHUNK_SIZE : STATE_UNTIL_CLOSE;
  }

  /** Does a line between chunks come next, and no byte of the body? */
  get isBetweenChunks(): boolean {
    return this.#state >= STATE_CHUNK_SIZE && this.#state <= STATE_TRAILER;
  }

  get endsWithConnection(): boolean {
    return this.#state === STATE_UNTIL_CLOSE;
  }

  get isEnded(): boolean {
    return this.#state === STATE_ENDED;
  }

  /** Chunks are not what they should be. */
  get isViolated(): boolean {
    return this.#state === STATE_VIOLATED;
  }

  /** Reads bytes of the body, or one line between chunks, from `at` on. @returns Where to look next. */
  feed(bytes: Uint8Array, at: number): number {
    if (this.isBetweenChunks) return this.#feedLine(bytes, at);
    if (this.#state === STATE_UNTIL_CLOSE) return bytes.length;
    const take = Math.min(this.#remaining, bytes.length - at);
    this.#passed(take);
    return at + take;
  }

  /**
   * Bytes of the body passed unseen. Where they were more than the chunk under way had left, it is not known what else
   * passed: the body is violated.
   *
   * @param count At least 0; -1 where it is not known.
   * @returns How many belonged to the body for sure.
   */
  pass(count: number): number {
    if (this.#state === STATE_UNTIL_CLOSE) return Math.max(0, count);
    if (count >= 0 && count <= this.#remaining) {
      this.#passed(count);
      return count;
    }
    this.#state = this.#state === STATE_CHUNK_BYTES ? STATE_VIOLATED : STATE_ENDED;
    return count < 0 ? 0 : this.#remaining;
  }

  #passed(count: number): void {
    this.#remaining -= count;
    if (this.#remaining === 0) this.#state = this.#state === STATE_CHUNK_BYTES ? STATE_CHUNK_END : STATE_ENDED;
  }

  /** Lines between chunks: sizes, line ends, trailers. */
  #feedLine(bytes: Uint8Array, at: number): number {
    const line = this.#line;
    const lf = indexOfLineFeed(bytes, at);
    const end = lf < 0 ? bytes.length : lf;
    const wasOpen = line.isOpen;
    if (wasOpen || lf < 0) line.append(bytes, at, end);
    if (lf < 0) {
      if (!this.#mayGoOn()) this.#state = STATE_VIOLATED;
      return end;
    }
    if (wasOpen) this.#lineRead(line.bytes, 0, line.length);
    else this.#lineRead(bytes, at, end);
    line.clear();
    return lf + 1;
  }

  /** May the line under way become one that stands between chunks? */
  #mayGoOn(): boolean {
    const { bytes, length } = this.#line;
    if (this.#state === STATE_TRAILER || length < HEADER_NAME_BYTES) return true;
    return this.#state === STATE_CHUNK_SIZE && chunkSize(bytes, 0, length) >= 0;
  }

  #lineRead(bytes: Uint8Array, start: number, end: number): void {
    const isEmpty = isEmptyLine(bytes, start, end);
    if (this.#state === STATE_TRAILER) {
      if (isEmpty) this.#state = STATE_ENDED;
    } else if (this.#state === STATE_CHUNK_END) {
      this.#state = isEmpty ? STATE_CHUNK_SIZE : STATE_VIOLATED;
    } else {
      const size = chunkSize(bytes, start, end);
      if (size > 0) {
        this.#remaining = size;
        this.#state = STATE_CHUNK_BYTES;
      } else this.#state = size === 0 ? STATE_TRAILER : STATE_VIOLATED;
    }
  }
}
