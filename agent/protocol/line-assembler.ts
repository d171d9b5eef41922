/**
 * Puts lines together that arrive in several slices. A line within one slice is never copied.
 *
 * Invariant: `length` bytes of an unfinished line are held, at most `LINE_BYTES_MAX`; what exceeds that is dropped
 * and the line is marked `overlong`.
 */

/** Longest line that is kept whole. */
export const LINE_BYTES_MAX = 16_384;

const BYTES_AT_FIRST = 256;
const NO_BYTES = new Uint8Array(0);

/** One unfinished line. */
export class LineAssembler {
  bytes: Uint8Array = NO_BYTES;
  length = 0;
  overlong = false;
  /** Bytes of the line are passed over: nobody wants them. */
  skipping = false;

  /** Is a line under way? */
  get isOpen(): boolean {
    return this.length > 0 || this.skipping;
  }

  /** Takes `bytes[start, end)`, which belong to the line. */
  append(bytes: Uint8Array, start: number, end: number): void {
    if (this.skipping) return;
    let take = end - start;
    if (this.length + take > LINE_BYTES_MAX) {
      take = LINE_BYTES_MAX - this.length;
      this.overlong = true;
    }
    const needed = this.length + take;
    if (needed > this.bytes.length) {
      const larger = new Uint8Array(Math.max(BYTES_AT_FIRST, needed, Math.min(LINE_BYTES_MAX, this.bytes.length * 2)));
      larger.set(this.bytes.subarray(0, this.length));
      this.bytes = larger;
    }
    this.bytes.set(bytes.subarray(start, start + take), this.length);
    this.length = needed;
  }

  /** Forgets the line, and its memory. */
  clear(): void {
    this.bytes = NO_BYTES;
    this.length = 0;
    this.overlong = false;
    this.skipping = false;
  }
}
