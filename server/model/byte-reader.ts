/** Reads what `ByteWriter` wrote; every read is checked against the end, so damaged bytes throw and never run on. */

const VARINT_SCALE_MAX = 2 ** 53;
const COPIED_BY_LOOP_MAX = 128;
/** One for all readers, since it costs more to make than a chunk to read. */
const TEXT = new TextDecoder("utf-8", { ignoreBOM: true });

/** Thrown where the bytes end early or hold a number that cannot have been written. */
export class BytesEndError extends Error {
  constructor(at: number) {
    super(`bytes end or make no sense at ${at}`);
    this.name = "BytesEndError";
  }
}

/** A position in a run of bytes; every method reads at it and moves it on, or throws `BytesEndError`. */
export class ByteReader {
  readonly #bytes: Uint8Array;
  #view: DataView | undefined;
  #buffer: Buffer | undefined;
  #at: number;

  constructor(bytes: Uint8Array, at = 0) {
    this.#bytes = bytes;
    this.#at = at;
  }

  get at(): number {
    return this.#at;
  }

  /** All bytes; made where it is needed, since most readers of a chunk read only bytes. */
  get view(): DataView {
    this.#view ??= new DataView(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    return this.#view;
  }

  get left(): number {
    return this.#bytes.length - this.#at;
  }

  varint(): number {
    const bytes = this.#bytes;
    const at = this.#at;
    const first = bytes[at];
    if (first !== undefined && first < 0x80) {
      this.#at = at + 1;
      return first;
    }
    // Numbers of up to four bytes are read as such.
    if (first !== undefined && at + 4 <= bytes.length) {
      const second = bytes[at + 1] as number; // in range, here and below
      const low = (first & 0x7f) | ((second & 0x7f) << 7);
      if (second < 0x80) {
        this.#at = at + 2;
        return low;
      }
      const third = bytes[at + 2] as number;
      const middle = low | ((third & 0x7f) << 14);
      if (third < 0x80) {
        this.#at = at + 3;
        return middle;
      }
      const fourth = bytes[at + 3] as number;
      if (fourth < 0x80) {
        this.#at = at + 4;
        return middle | (fourth << 21);
      }
    }
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = this.byte();
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) return value;
      scale *= 128;
      if (scale > VARINT_SCALE_MAX) throw new BytesEndError(this.#at);
    }
  }

  signed(): number {
    const folded = this.varint();
    if (folded <= 0x7fff_ffff) return (folded >>> 1) ^ -(folded & 1);
    return folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2;
  }

  /** As many `signed` numbers as `out` has, each added to the number at its place in `base`. */
  signedOver(base: Float64Array, out: Float64Array): void {
    const bytes = this.#bytes;
    let at = this.#at;
    for (let i = 0; i < out.length; i++) {
      const folded = bytes[at];
      if (folded === undefined || folded >= 0x80) {
        this.#at = at;
        out[i] = (base[i] as number) + this.signed(); // in range: both are as long
        at = this.#at;
        continue;
      }
      at++;
      out[i] = (base[i] as number) + (folded % 2 === 0 ? folded >>> 1 : -((folded + 1) >>> 1));
    }
    this.#at = at;
  }

  byte(): number {
    const value = this.#bytes[this.#at];
    if (value === undefined) throw new BytesEndError(this.#at);
    this.#at++;
    return value;
  }

  uint32(): number {
    return this.view.getUint32(this.#take(4), true);
  }

  float64(): number {
    return this.view.getFloat64(this.#take(8), true);
  }

  int64(): bigint {
    return this.view.getBigInt64(this.#take(8), true);
  }

  text(): string {
    const length = this.varint();
    const at = this.#take(length);
    return TEXT.decode(this.#bytes.subarray(at, at + length));
  }

  /** Passes over a text. */
  skipText(): void {
    this.#take(this.varint());
  }

  /** The next bytes, in memory of their own. */
  copy(bytes: number): ArrayBuffer {
    const at = this.#take(bytes);
    const copy = new ArrayBuffer(bytes);
    new Uint8Array(copy).set(this.#bytes.subarray(at, at + bytes));
    return copy;
  }

  /** Copies the next bytes to the start of `target`, which has room for them. */
  copyTo(target: Uint8Array, bytes: number): void {
    const at = this.#take(bytes);
    // A short copy is done before a view for the long way is made.
    if (bytes <= COPIED_BY_LOOP_MAX)
      for (let i = 0; i < bytes; i++) target[i] = this.#bytes[at + i] as number; // in range
    else target.set(this.#bytes.subarray(at, at + bytes));
  }

  /** Passes over bytes for a caller that reads them itself. @returns Where they begin in `bytes`. */
  take(bytes: number): number {
    return this.#take(bytes);
  }

  /** All bytes. */
  get bytes(): Uint8Array {
    return this.#bytes;
  }

  /** Passes over bytes. */
  skip(bytes: number): void {
    this.#take(bytes);
  }

  /** Bytes from `from` to where the reader stands, one character each: a key for equal bytes. */
  latin1Since(from: number): string {
    this.#buffer ??= Buffer.from(this.#bytes.buffer, this.#bytes.byteOffset, this.#bytes.byteLength);
    return this.#buffer.toString("latin1", from, this.#at);
  }

  #take(bytes: number): number {
    const at = this.#at;
    if (bytes > this.left) throw new BytesEndError(at);
    this.#at = at + bytes;
    return at;
  }
}
