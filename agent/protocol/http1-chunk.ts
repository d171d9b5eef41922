/**
 * The lines between the chunks of a body.
 *
 * @see RFC 9112 section 7.1
 */

const CHUNK_SIZE_MAX = 2 ** 48;

const CR = 0x0d;
const SPACE = 0x20;
const TAB = 0x09;

/** Is there nothing on the line, whose line feed is left out? */
export function isEmptyLine(bytes: Uint8Array, start: number, end: number): boolean {
  return end === start || (end === start + 1 && bytes[start] === CR);
}

/** The size of a chunk, extensions passed over; -1 where the line is none. */
export function chunkSize(bytes: Uint8Array, start: number, end: number): number {
  let size = 0;
  let at = start;
  for (; at < end; at++) {
    const digit = hexValue(bytes[at] as number);
    if (digit < 0) break;
    size = size * 16 + digit;
    if (size > CHUNK_SIZE_MAX) return -1;
  }
  if (at === start) return -1;
  const next = at < end ? bytes[at] : CR;
  return next === CR || next === SPACE || next === TAB || next === 0x3b ? size : -1;
}

function hexValue(byte: number): number {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : -1;
}
