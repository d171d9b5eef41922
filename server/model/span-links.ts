/** Trace and span ids of a span's links, read from the protobuf that a batch keeps of them. */

const LINKS_FIELD_TAG = (13 << 3) | 2;
const TRACE_ID_TAG = (1 << 3) | 2;
const SPAN_ID_TAG = (2 << 3) | 2;
const TRACE_ID_BYTES = 16;
const SPAN_ID_BYTES = 8;
/** Links of one span that are looked at. */
const LINKS_MAX = 128;

/** One link's ids as halves of 32 bits in the order of `BatchHalves`. */
export interface SpanLink {
  readonly trace: readonly [number, number, number, number];
  readonly span: readonly [number, number];
}

/**
 * Reads links from `bytes[from..to)`.
 *
 * What is not a link of OTLP, and links without both ids, are passed over; reading stops where bytes make no sense.
 */
export function readLinks(bytes: Uint8Array, from: number, to: number): SpanLink[] {
  const links: SpanLink[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  for (const { tag, start, end } of fieldsOf(bytes, from, to)) {
    if (tag !== LINKS_FIELD_TAG) continue;
    let trace: SpanLink["trace"] | undefined;
    let span: SpanLink["span"] | undefined;
    for (const field of fieldsOf(bytes, start, end)) {
      const length = field.end - field.start;
      if (field.tag === TRACE_ID_TAG && length === TRACE_ID_BYTES) {
        const word = (at: number) => view.getInt32(field.start + at);
        trace = [word(4), word(0), word(12), word(8)];
      } else if (field.tag === SPAN_ID_TAG && length === SPAN_ID_BYTES) {
        span = [view.getInt32(field.start + 4), view.getInt32(field.start)];
      }
    }
    if (trace !== undefined && span !== undefined) links.push({ trace, span });
    if (links.length === LINKS_MAX) break;
  }
  return links;
}

/** One link as a batch keeps it: field 13 of Span, tag included. */
export function linkBytes(traceId: bigint, spanId: bigint): Uint8Array {
  const bytes = Buffer.alloc(4 + TRACE_ID_BYTES + 2 + SPAN_ID_BYTES);
  bytes.set([LINKS_FIELD_TAG, bytes.length - 2, TRACE_ID_TAG, TRACE_ID_BYTES]);
  bytes.writeBigUInt64BE(traceId >> 64n, 4);
  bytes.writeBigUInt64BE(BigInt.asUintN(64, traceId), 12);
  bytes.set([SPAN_ID_TAG, SPAN_ID_BYTES], 20);
  bytes.writeBigUInt64BE(spanId, 22);
  return bytes;
}

interface Field {
  readonly tag: number;
  readonly start: number;
  readonly end: number;
}

function* fieldsOf(bytes: Uint8Array, from: number, to: number): Generator<Field> {
  let at = from;
  while (at < to) {
    const [tag, afterTag] = readVarint(bytes, at, to);
    let start = afterTag;
    let end: number;
    if ((tag & 7) === 0) end = readVarint(bytes, start, to)[1];
    else if ((tag & 7) === 1) end = start + 8;
    else if ((tag & 7) === 5) end = start + 4;
    else if ((tag & 7) === 2) {
      const [length, afterLength] = readVarint(bytes, start, to);
      start = afterLength;
      end = start + length;
    } else return;
    if (end > to || end <= at) return;
    yield { tag, start, end };
    at = end;
  }
}

/** Value and the place after it; a value that does not end in time reaches beyond `to`. */
function readVarint(bytes: Uint8Array, from: number, to: number): [value: number, at: number] {
  let value = 0;
  let scale = 1;
  for (let at = from; at < to && scale < 2 ** 53; at++) {
    const byte = bytes[at] ?? 0;
    value += (byte & 0x7f) * scale;
    if (byte < 0x80) return [value, at + 1];
    scale *= 128;
  }
  return [0, to + 1];
}
