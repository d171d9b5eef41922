/**
 * Tombstones of Prometheus' blocks: which samples were deleted without being taken out.
 *
 * @see https://github.com/prometheus/prometheus/blob/main/tsdb/docs/format/tombstones.md
 */

import { crc32c } from "./crc32c.ts";
import { TsdbFormatError } from "./tsdb-index.ts";

const MAGIC = 0x0130_ba30;
const VERSION = 1;
const HEADER_BYTES = 5;
const CRC_BYTES = 4;
const VARINT_BITS_MAX = 64n;

/** Times of which a series has no samples any more, both ends included. */
export interface DeletedRange {
  readonly fromMs: number;
  readonly toMs: number;
}

/** Deleted ranges by the number of their series in the index. @throws TsdbFormatError */
export function readTsdbTombstones(bytes: Uint8Array): ReadonlyMap<number, readonly DeletedRange[]> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.length - CRC_BYTES;
  if (end < HEADER_BYTES || view.getUint32(0) !== MAGIC) {
    throw new TsdbFormatError("it is no list of Prometheus' tombstones");
  }
  if (bytes[4] !== VERSION) throw new TsdbFormatError(`it is of version ${bytes[4]}; version ${VERSION} is read`);
  if (crc32c(bytes.subarray(HEADER_BYTES, end)) !== view.getUint32(end)) throw new TsdbFormatError("it is damaged");
  const found = new Map<number, DeletedRange[]>();
  const numbers = varints(bytes.subarray(HEADER_BYTES, end));
  for (let at = 0; at < numbers.length; at += 3) {
    const [series, from, to] = numbers.slice(at, at + 3);
    if (series === undefined || from === undefined || to === undefined) throw new TsdbFormatError("it is cut short");
    const ranges = found.get(Number(series)) ?? [];
    found.set(Number(series), ranges);
    ranges.push({ fromMs: signed(from), toMs: signed(to) });
  }
  return found;
}

/** Times reach to both ends of 64 bits, which doubles do not tell apart. */
function varints(bytes: Uint8Array): bigint[] {
  const numbers: bigint[] = [];
  let value = 0n;
  let shift = 0n;
  for (const byte of bytes) {
    if (shift >= VARINT_BITS_MAX) throw new TsdbFormatError("a number is too long");
    value |= BigInt(byte & 0x7f) << shift;
    shift += 7n;
    if (byte >= 0x80) continue;
    numbers.push(value);
    value = 0n;
    shift = 0n;
  }
  if (shift !== 0n) throw new TsdbFormatError("a number is cut short");
  return numbers;
}

function signed(zigzag: bigint): number {
  return Number(zigzag % 2n === 0n ? zigzag / 2n : -(zigzag + 1n) / 2n);
}
