/**
 * Decoders written line by line from the formats, slow and simple, to hold the quick ones to.
 *
 * @see https://github.com/google/snappy/blob/main/format_description.txt
 * @see https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/chunks.md
 */

/** Thrown where bytes are none of the format. */
export class PlainFault extends Error {}

/** Decodes a block of snappy. @throws PlainFault */
export function plainSnappy(block: Uint8Array): Uint8Array {
  let at = 0;
  const next = (): number => {
    const byte = block[at++];
    if (byte === undefined) throw new PlainFault("it ends early");
    return byte;
  };
  const littleEndian = (count: number): number => {
    let value = 0;
    for (let place = 0; place < count; place++) value += next() * 256 ** place;
    return value;
  };
  const length = plainVarint(next, 5);
  if (length > 2 ** 32 - 1) throw new PlainFault("its length is more than 32 bits");
  const out: number[] = [];
  const literal = (count: number) => {
    for (let left = count; left > 0 && out.length <= length; left--) out.push(next());
  };
  const copy = (count: number, offset: number) => {
    if (offset === 0 || offset > out.length) throw new PlainFault("a copy from before the start");
    for (let left = count; left > 0 && out.length <= length; left--) out.push(out[out.length - offset] ?? 0);
  };
  while (at < block.length && out.length <= length) {
    const tag = next();
    const size = tag >>> 2;
    if ((tag & 3) === 0) literal(1 + (size < 60 ? size : littleEndian(size - 59)));
    else if ((tag & 3) === 1) copy((size & 7) + 4, (tag >>> 5) * 256 + next());
    else copy(size + 1, littleEndian((tag & 3) === 2 ? 2 : 4));
  }
  if (out.length !== length) throw new PlainFault("another length than it told");
  return Uint8Array.from(out);
}

function plainVarint(next: () => number, bytesMax: number): number {
  let value = 0;
  for (let place = 0; place < bytesMax; place++) {
    const byte = next();
    value += (byte & 0x7f) * 128 ** place;
    if (byte < 0x80) return value;
  }
  throw new PlainFault("a varint has too many bytes");
}

/** A stream of bits, read one at a time. */
class Bits {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  bit(): number {
    const byte = this.#bytes[this.#at >>> 3];
    if (byte === undefined) throw new PlainFault("it ends early");
    return (byte >>> (7 - (this.#at++ & 7))) & 1;
  }

  /** An unsigned number. */
  number(count: number): bigint {
    let value = 0n;
    for (let left = count; left > 0; left--) value = value * 2n + BigInt(this.bit());
    return value;
  }

  /** A signed number of a class of `count` bits: one more above zero than below. */
  signed(count: number): bigint {
    const value = this.number(count);
    return value > 1n << BigInt(count - 1) ? value - (1n << BigInt(count)) : value;
  }

  /** Ones until a zero, at most `most`. */
  ones(most: number): number {
    let count = 0;
    while (count < most && this.bit() === 1) count++;
    return count;
  }

  uvarint(): bigint {
    let value = 0n;
    for (let place = 0n; place < 10n; place++) {
      const byte = this.number(8);
      value += (byte & 0x7fn) << (7n * place);
      if (byte < 0x80n) return value;
    }
    throw new PlainFault("a varint has too many bytes");
  }

  varint(): bigint {
    const folded = this.uvarint();
    return folded % 2n === 0n ? folded / 2n : -(folded + 1n) / 2n;
  }

  varbitWidth(): number {
    return [0, 3, 6, 9, 12, 18, 25, 56, 64][this.ones(8)] ?? 64;
  }

  varbitInt(): bigint {
    const width = this.varbitWidth();
    if (width === 0) return 0n;
    return width === 64 ? BigInt.asIntN(64, this.number(64)) : this.signed(width);
  }

  varbitUint(): bigint {
    return this.number(this.varbitWidth());
  }
}

/** One row of doubles, each told by its difference to the one before. */
class Doubles {
  value = 0n;
  #leading = -1;
  #trailing = 0;

  next(bits: Bits, isFirst: boolean): bigint {
    if (isFirst) this.value = bits.number(64);
    else if (bits.bit() === 1) {
      if (bits.bit() === 1) {
        this.#leading = Number(bits.number(5));
        const width = Number(bits.number(6)) || 64;
        this.#trailing = 64 - this.#leading - width;
        if (this.#trailing < 0) throw new PlainFault("a window wider than a double");
      } else if (this.#leading < 0) throw new PlainFault("no window");
      this.value ^= bits.number(64 - this.#leading - this.#trailing) << BigInt(this.#trailing);
    }
    return this.value;
  }
}

/** A sample: its time, and the bits of its double. */
export type PlainSample = readonly [timestampMs: bigint, value: bigint];

/** Decodes a chunk of floats. @throws PlainFault */
export function plainXor(bytes: Uint8Array): PlainSample[] {
  const bits = new Bits(bytes);
  const count = Number(bits.number(16));
  const samples: PlainSample[] = [];
  const row = new Doubles();
  let time = 0n;
  let delta = 0n;
  for (let at = 0; at < count; at++) {
    if (at === 0) time = bits.varint();
    else {
      if (at === 1) delta = bits.uvarint();
      else {
        const class_ = bits.ones(4);
        const width = [0, 14, 17, 20][class_];
        delta += width === undefined ? BigInt.asIntN(64, bits.number(64)) : width === 0 ? 0n : bits.signed(width);
      }
      time += delta;
    }
    samples.push([time, row.next(bits, at === 0)]);
  }
  return samples;
}

/** A histogram as a chunk tells it; without counts where it is a stale marker. Doubles are their bits. */
export interface PlainHistogram {
  readonly timestampMs: bigint;
  readonly sum: bigint;
  readonly isStale: boolean;
  /** Count, zero count, then buckets, positive ones first: whole numbers, or bits of doubles. */
  readonly counts: readonly bigint[];
}

/** What all histograms of a chunk share. */
interface PlainLayout {
  readonly schema: bigint;
  readonly positive: readonly (readonly [offset: bigint, length: bigint])[];
  readonly negative: PlainLayout["positive"];
}

const STALE_BITS = 0x7ff0_0000_0000_0002n;
const CUSTOM_SCHEMA = -53n;
/** More buckets than a chunk of a test could have. */
const BUCKETS_MAX = 1_000_000n;

/** Decodes a chunk of histograms. @throws PlainFault */
export function plainHistograms(bytes: Uint8Array, kind: "whole" | "float"): PlainHistogram[] {
  const bits = new Bits(bytes);
  const count = Number(bits.number(16));
  bits.number(8);
  if (count === 0) return [];
  const layout = plainLayout(bits);
  const buckets = [...layout.positive, ...layout.negative].reduce((sum, [, length]) => sum + length, 0n);
  if (buckets > BUCKETS_MAX) throw new PlainFault("it has too many buckets");
  const positives = Number(layout.positive.reduce((sum, [, length]) => sum + length, 0n));
  const read = kind === "whole" ? wholeRows(bits, Number(buckets), positives) : floatRows(bits, Number(buckets));
  const all: PlainHistogram[] = [];
  let time = 0n;
  let delta = 0n;
  for (let at = 0; at < count; at++) {
    const told = bits.varbitInt();
    if (at === 0) time = told;
    else {
      delta += told;
      time += delta;
    }
    all.push({ timestampMs: time, ...read(at === 0) });
  }
  return all;
}

function plainLayout(bits: Bits): PlainLayout {
  if (bits.number(8) === 255n) bits.number(64);
  const schema = bits.varbitInt();
  const spans = (): [bigint, bigint][] => {
    const list: [bigint, bigint][] = [];
    for (let left = bits.varbitUint(); left > 0n; left--) {
      const length = bits.varbitUint();
      list.push([bits.varbitInt(), length]);
    }
    return list;
  };
  const [positive, negative] = [spans(), spans()];
  if (schema !== CUSTOM_SCHEMA) return { schema, positive, negative };
  for (let left = bits.varbitUint(); left > 0n; left--) if (bits.varbitUint() === 0n) bits.number(64);
  return { schema, positive, negative };
}

type Rows = (isFirst: boolean) => Omit<PlainHistogram, "timestampMs">;

/** Counts are told by the difference of their differences, those of neighbouring buckets by theirs. */
function wholeRows(bits: Bits, buckets: number, positives: number): Rows {
  const values: bigint[] = Array(2 + buckets).fill(0n);
  const deltas: bigint[] = Array(2 + buckets).fill(0n);
  const sums = new Doubles();
  const next = (row: number, isFirst: boolean): bigint => {
    if (isFirst) values[row] = row < 2 ? bits.varbitUint() : bits.varbitInt();
    else {
      deltas[row] = (deltas[row] ?? 0n) + bits.varbitInt();
      values[row] = (values[row] ?? 0n) + (deltas[row] ?? 0n);
    }
    return values[row] ?? 0n;
  };
  return (isFirst) => {
    const counts = [next(0, isFirst), next(1, isFirst)];
    const sum = sums.next(bits, isFirst);
    if (sum === STALE_BITS) return { sum, isStale: true, counts: [] };
    let neighbour = 0n;
    for (let bucket = 0; bucket < buckets; bucket++) {
      if (bucket === positives) neighbour = 0n;
      neighbour += next(2 + bucket, isFirst);
      counts.push(neighbour);
    }
    return { sum, isStale: false, counts };
  };
}

function floatRows(bits: Bits, buckets: number): Rows {
  const rows = Array.from({ length: 3 + buckets }, () => new Doubles());
  return (isFirst) => {
    const next = (row: number) => rows[row]?.next(bits, isFirst) ?? 0n;
    const counts = [next(0), next(1)];
    const sum = next(2);
    if (sum === STALE_BITS) return { sum, isStale: true, counts: [] };
    for (let bucket = 0; bucket < buckets; bucket++) counts.push(next(3 + bucket));
    return { sum, isStale: false, counts };
  };
}
