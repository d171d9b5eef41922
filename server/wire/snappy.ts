/**
 * The block format of snappy: the length of what comes out, then literals and copies of what came before.
 *
 * @see https://github.com/google/snappy/blob/main/format_description.txt
 */

const TAG_LITERAL = 0;
const TAG_COPY_1 = 1;
const TAG_COPY_2 = 2;
const LENGTH_BYTES_MAX = 5;
/** A copy of three bytes gives at most 64: no `n` bytes of elements decode to more than `EXPANSION_MAX * n`. */
const EXPANSION_MAX = 22;
/** Longer stretches are moved by the runtime, shorter ones by loops: a call costs as much as a hundred bytes. */
const MOVED_BYTES_MIN = 24;
const RUN_BYTES_MIN = 192;
/** Short stretches are moved so many bytes at once: what is too much is written over by what comes next. */
const WIDE_BYTES = 16;
/** The longest copy that one element tells. */
const COPY_BYTES_MAX = 64;

/** Bytes of the longest tag of a short element. */
const SHORT_TAG_BYTES = 3;
/** What a tag tells of an element, by its first byte: length, whether it is a copy of three bytes, highest bits of the offset. */
const SHORT_LENGTH = 0x7f;
const SHORT_IS_COPY_2 = 0x80;
const SHORT_OFFSET_HIGH = 0x700;
/** From this bit on: those of the two bytes behind the first that are of the offset; none of a literal. */
const SHORT_MASK_SHIFT = 16;
const SHORT_ELEMENTS = Int32Array.from({ length: 256 }, (_, tag) => shortElement(tag));

/** 0 where the element is none of these. */
function shortElement(tag: number): number {
  const length = (tag >>> 2) + 1;
  if ((tag & 3) === TAG_LITERAL) return length <= WIDE_BYTES ? length : 0;
  if ((tag & 3) === TAG_COPY_1) return (0xff << SHORT_MASK_SHIFT) | ((tag >>> 5) << 8) | (((tag >>> 2) & 7) + 4);
  if ((tag & 3) !== TAG_COPY_2) return 0;
  return (0xffff << SHORT_MASK_SHIFT) | SHORT_IS_COPY_2 | length;
}

/** Blocks are compressed in pieces, so that offsets of copies fit two bytes. */
const PIECE_BYTES = 65_536;
/** Shorter pieces are not searched for repeats; the search also stops so far before the end of a piece. */
const MARGIN_BYTES = 15;
const TABLE_BITS = 14;
/** After 32 places without a repeat every second is tried, after 64 every third, and so on. */
const SKIP_SHIFT = 5;

/** What a block claims to decode to, in bytes; undefined where it does not start with a length. Nothing is decoded. */
export function snappyDecodedBytes(block: Uint8Array): number | undefined {
  const header = headerBytes(block);
  if (header === 0) return undefined;
  let length = 0;
  for (let at = header - 1; at >= 0; at--) length = length * 128 + ((block[at] ?? 0) & 0x7f);
  return length > 0xffff_ffff ? undefined : length;
}

/**
 * Decodes a block.
 *
 * A claim that the elements cannot fulfil, whatever they are, is refused before memory is asked for; check
 * `snappyDecodedBytes` against a limit of your own first.
 *
 * @param room Takes the result where it is large enough; the answer is then a view of it.
 * @returns The decoded bytes; undefined where the block is corrupt.
 */
export function decodeSnappy(block: Uint8Array, room?: Uint8Array): Uint8Array | undefined {
  const length = snappyDecodedBytes(block);
  const header = headerBytes(block);
  if (length === undefined || length > (block.length - header) * EXPANSION_MAX) return undefined;
  const out = room !== undefined && room.length >= length ? room.subarray(0, length) : Buffer.allocUnsafe(length);
  return decodeElements(block, header, out) ? out : undefined;
}

function headerBytes(block: Uint8Array): number {
  for (let at = 0; at < LENGTH_BYTES_MAX; at++) {
    const byte = block[at];
    if (byte === undefined) return 0;
    if (byte < 0x80) return at + 1;
  }
  return 0;
}

/** Fills `out` exactly, or answers false. Bytes are only read inside `block` and only written inside `out`. */
function decodeElements(block: Uint8Array, start: number, out: Uint8Array): boolean {
  const end = block.length;
  const view = new DataView(out.buffer, out.byteOffset, out.byteLength);
  const source = new DataView(block.buffer, block.byteOffset, block.byteLength);
  const fromWideMax = end - SHORT_TAG_BYTES - WIDE_BYTES;
  const toWideMax = out.length - COPY_BYTES_MAX;
  let from = start;
  let to = 0;
  while (from < end) {
    // Short elements amid the block, as most are: all bounds are told by these two, and each is moved in wide steps.
    while (from <= fromWideMax && to <= toWideMax) {
      const tag = block[from] as number; // in range: amid the block
      const element = SHORT_ELEMENTS[tag] as number; // in range: one for each byte
      const length = element & SHORT_LENGTH;
      const mask = element >>> SHORT_MASK_SHIFT;
      if (mask === 0) {
        if (length === 0) break;
        view.setBigInt64(to, source.getBigInt64(from + 1, true), true);
        view.setBigInt64(to + 8, source.getBigInt64(from + 9, true), true);
        from += 1 + length;
      } else {
        const offset = (element & SHORT_OFFSET_HIGH) | (source.getUint16(from + 1, true) & mask);
        let back = to - offset;
        if (offset < WIDE_BYTES || back < 0) break;
        // The same longest copy again and again tells a long run, which is made at once below.
        if (length === COPY_BYTES_MAX && block[from + SHORT_TAG_BYTES] === tag) break;
        view.setBigInt64(to, view.getBigInt64(back, true), true);
        view.setBigInt64(to + 8, view.getBigInt64(back + 8, true), true);
        for (let left = length - WIDE_BYTES, at = to + WIDE_BYTES; left > 0; left -= WIDE_BYTES, at += WIDE_BYTES) {
          back += WIDE_BYTES;
          view.setBigInt64(at, view.getBigInt64(back, true), true);
          view.setBigInt64(at + 8, view.getBigInt64(back + 8, true), true);
        }
        from += element & SHORT_IS_COPY_2 ? 3 : 2;
      }
      to += length;
    }
    if (from >= end) break;
    const elementAt = from;
    const tag = block[from++] as number; // in range: checked by the loop
    const kind = tag & 3;
    let length = tag >>> 2;
    if (kind === TAG_LITERAL) {
      if (length >= 60) {
        const extra = length - 59;
        if (from + extra > end) return false;
        length = littleEndian(block, from, extra);
        from += extra;
      }
      length++;
      if (length > end - from || length > out.length - to) return false;
      if (length <= WIDE_BYTES && from + WIDE_BYTES <= end && to + WIDE_BYTES <= out.length) {
        view.setBigInt64(to, source.getBigInt64(from, true), true);
        view.setBigInt64(to + 8, source.getBigInt64(from + 8, true), true);
      } else if (length >= MOVED_BYTES_MIN) out.set(block.subarray(from, from + length), to);
      else for (let at = 0; at < length; at++) out[to + at] = block[from + at] as number; // in range, as above
      from += length;
      to += length;
      continue;
    }
    let offset: number;
    if (kind === TAG_COPY_1) {
      if (from >= end) return false;
      length = (length & 7) + 4;
      offset = ((tag >>> 5) << 8) | (block[from++] as number); // in range, as above
    } else if (kind === TAG_COPY_2) {
      if (from + 2 > end) return false;
      length++;
      offset = (block[from] as number) | ((block[from + 1] as number) << 8); // in range, as above
      from += 2;
    } else {
      if (from + 4 > end) return false;
      length++;
      offset = littleEndian(block, from, 4);
      from += 4;
    }
    // The same longest copy again and again tells a long run: it is made at once.
    if (length === COPY_BYTES_MAX) {
      const elementBytes = from - elementAt;
      for (; repeats(block, elementAt, from, elementBytes); from += elementBytes) length += COPY_BYTES_MAX;
    }
    if (offset === 0 || offset > to || length > out.length - to) return false;
    if (length >= RUN_BYTES_MIN) copyRun(out, to, offset, length);
    else {
      // A copy may reach into what it writes, which is how runs are told: words are read before they are written over.
      let at = to;
      const last = to + length;
      if (offset >= WIDE_BYTES && last + WIDE_BYTES <= out.length) {
        for (; at < last; at += WIDE_BYTES) {
          const back = at - offset;
          view.setBigInt64(at, view.getBigInt64(back, true), true);
          view.setBigInt64(at + 8, view.getBigInt64(back + 8, true), true);
        }
      } else {
        if (offset >= 8)
          for (; at + 8 <= last; at += 8) view.setBigInt64(at, view.getBigInt64(at - offset, true), true);
        if (offset >= 4) for (; at + 4 <= last; at += 4) view.setInt32(at, view.getInt32(at - offset, true), true);
        for (; at < last; at++) out[at] = out[at - offset] as number; // in range, as above
      }
    }
    to += length;
  }
  return to === out.length;
}

/** Whether the bytes at `next` are those of the element at `first`. */
function repeats(block: Uint8Array, first: number, next: number, elementBytes: number): boolean {
  if (block[next] !== block[first] || next + elementBytes > block.length) return false;
  for (let at = 1; at < elementBytes; at++) if (block[next + at] !== block[first + at]) return false;
  return true;
}

/** Repeats the `offset` bytes before `to` until `length` are written, each time as many as there are by then. */
function copyRun(out: Uint8Array, to: number, offset: number, length: number): void {
  const start = to - offset;
  const end = to + length;
  for (let at = to; at < end; ) {
    const now = Math.min(at - start, end - at);
    out.copyWithin(at, start, start + now);
    at += now;
  }
}

function littleEndian(bytes: Uint8Array, at: number, count: number): number {
  let value = 0;
  for (let index = count - 1; index >= 0; index--) value = value * 256 + (bytes[at + index] as number); // caller checked
  return value;
}

/** Compresses into one block. */
export function encodeSnappy(bytes: Uint8Array): Uint8Array {
  const out = Buffer.allocUnsafe(LENGTH_BYTES_MAX + elementsBytesMax(bytes.length));
  return out.subarray(0, encodePieces(bytes, out, writeLength(out, bytes.length)));
}

/** The length that a block starts with. */
export function snappyHeader(decodedBytes: number): Uint8Array {
  const out = new Uint8Array(LENGTH_BYTES_MAX);
  return out.subarray(0, writeLength(out, decodedBytes));
}

/** Elements for `bytes`, to stand after `snappyHeader` of the whole and the elements before. */
export function encodeSnappyElements(bytes: Uint8Array): Uint8Array {
  const out = Buffer.allocUnsafe(elementsBytesMax(bytes.length));
  return out.subarray(0, encodePieces(bytes, out, 0));
}

/** Most bytes that `length` bytes can compress to. */
function elementsBytesMax(length: number): number {
  return 32 + length + Math.ceil(length / 6);
}

function encodePieces(bytes: Uint8Array, out: Uint8Array, start: number): number {
  let to = start;
  for (let from = 0; from < bytes.length; from += PIECE_BYTES) {
    to = encodePiece(bytes.subarray(from, from + PIECE_BYTES), out, to);
  }
  return to;
}

function writeLength(out: Uint8Array, length: number): number {
  let at = 0;
  let rest = length;
  while (rest >= 0x80) {
    out[at++] = (rest % 128) | 0x80;
    rest = Math.floor(rest / 128);
  }
  out[at++] = rest;
  return at;
}

/** Place of the last four bytes with a hash, inside the piece that is compressed; wiped for every piece. */
const table = new Uint16Array(1 << TABLE_BITS);

/** Compresses at most `PIECE_BYTES` and returns where the elements end. */
function encodePiece(piece: Uint8Array, out: Uint8Array, start: number): number {
  if (piece.length <= MARGIN_BYTES) return writeLiteral(piece, 0, piece.length, { out, to: start });
  const view = new DataView(piece.buffer, piece.byteOffset, piece.byteLength);
  const sink: Sink = { out, to: start };
  const last = piece.length - MARGIN_BYTES;
  table.fill(0);
  let literalFrom = 0;
  let at = 1;
  let misses = 1 << SKIP_SHIFT;
  while (at < last) {
    const word = view.getUint32(at, true);
    const slot = Math.imul(word, 0x1e35_a7bd) >>> (32 - TABLE_BITS);
    const candidate = table[slot] as number; // in range: `slot` has TABLE_BITS bits
    table[slot] = at;
    if (candidate >= at || view.getUint32(candidate, true) !== word) {
      at += misses++ >>> SKIP_SHIFT;
      continue;
    }
    if (at > literalFrom) writeLiteral(piece, literalFrom, at, sink);
    let end = at + 4;
    const back = at - candidate;
    while (end < piece.length && piece[end] === piece[end - back]) end++;
    writeCopy(back, end - at, sink);
    at = end;
    literalFrom = end;
    misses = 1 << SKIP_SHIFT;
  }
  if (literalFrom < piece.length) writeLiteral(piece, literalFrom, piece.length, sink);
  return sink.to;
}

interface Sink {
  readonly out: Uint8Array;
  to: number;
}

function writeLiteral(piece: Uint8Array, from: number, end: number, sink: Sink): number {
  const { out } = sink;
  const stored = end - from - 1;
  if (stored < 60) out[sink.to++] = stored << 2;
  else if (stored < 256) {
    out[sink.to++] = 60 << 2;
    out[sink.to++] = stored;
  } else {
    out[sink.to++] = 61 << 2;
    out[sink.to++] = stored & 0xff;
    out[sink.to++] = stored >>> 8;
  }
  if (stored + 1 >= MOVED_BYTES_MIN) out.set(piece.subarray(from, end), sink.to);
  else for (let at = from; at < end; at++) out[sink.to + at - from] = piece[at] as number; // in range: inside the piece
  sink.to += end - from;
  return sink.to;
}

function writeCopy(back: number, length: number, sink: Sink): void {
  const { out } = sink;
  let left = length;
  while (left > 0) {
    // What is left over must have four bytes at least, the least that the short form can tell.
    const now = left > COPY_BYTES_MAX ? Math.min(COPY_BYTES_MAX, left - 4) : left;
    if (now >= 4 && now < 12 && back < 2_048) {
      out[sink.to++] = ((back >>> 8) << 5) | ((now - 4) << 2) | TAG_COPY_1;
      out[sink.to++] = back & 0xff;
    } else {
      out[sink.to++] = ((now - 1) << 2) | TAG_COPY_2;
      out[sink.to++] = back & 0xff;
      out[sink.to++] = back >>> 8;
    }
    left -= now;
  }
}
