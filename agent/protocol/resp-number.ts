/**
 * A count or length in the headers of RESP, which may come in pieces.
 */

/** Longest number; longer ones are no RESP. */
const DIGITS_MAX = 20;

const CR = 0x0d;
const LF = 0x0a;
const MINUS = 0x2d;
const QUESTION = 0x3f;

/** One number at a time. */
export class RespNumber {
  value = 0;
  digits = 0;
  isNegative = false;
  /** `?` stands in place of the number. */
  isStreamed = false;
  /** Its line end was read. */
  isOver = false;

  begin(): void {
    this.value = 0;
    this.digits = 0;
    this.isNegative = false;
    this.isStreamed = false;
    this.isOver = false;
  }

  /** Reads on, up to the line end. @returns Where to go on; -1 where the bytes are no number. */
  feed(bytes: Uint8Array, from: number): number {
    let at = from;
    while (at < bytes.length) {
      const byte = bytes[at] as number;
      at++;
      if (byte >= 0x30 && byte <= 0x39) {
        this.value = this.value * 10 + (byte - 0x30);
        this.digits++;
        if (this.digits > DIGITS_MAX) return -1;
      } else if (byte === MINUS && this.digits === 0 && !this.isNegative) this.isNegative = true;
      else if (byte === QUESTION && this.digits === 0) this.isStreamed = true;
      else if (byte === LF) {
        this.isOver = true;
        return at;
      } else if (byte !== CR) return -1;
    }
    return at;
  }
}
