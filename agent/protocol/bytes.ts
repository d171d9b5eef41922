/**
 * Text out of bytes, for parsers that look at bytes in place.
 */

/** Up to this many bytes, a loop is faster than a call into the engine's own decoder or search. */
const LOOP_BYTES = 32;
const SEARCH_LOOP_BYTES = 96;

const LF = 0x0a;

/** The view that text was decoded from last: capture hands out views of few buffers, so it mostly fits again. */
let view: Buffer = Buffer.alloc(0);

/**
 * Short texts decoded lately, by their hash: methods, versions, lengths, names of hosts and most paths come again and
 * again. One string for all of them is no garbage, and has its own hash already.
 */
const KNOWN_TEXTS = 2048;
const known: string[] = new Array(KNOWN_TEXTS).fill("");

/** Decodes `bytes[start, end)` as UTF-8; what is not UTF-8 becomes U+FFFD. */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  const isShort = end - start <= LOOP_BYTES;
  let place = 0;
  if (isShort) {
    let hash = end - start;
    for (let at = start; at < end; at++) hash = Math.imul(hash ^ (bytes[at] as number), 0x01000193);
    place = (hash ^ (hash >>> 15)) & (KNOWN_TEXTS - 1);
    const text = known[place] as string;
    if (isText(bytes, start, end, text)) return text;
  }
  if (view.buffer !== bytes.buffer) view = Buffer.from(bytes.buffer);
  const text = view.toString("utf8", bytes.byteOffset + start, bytes.byteOffset + end);
  if (isShort) known[place] = text;
  return text;
}

/** Are `bytes[start, end)` the ASCII letters of `text`? */
function isText(bytes: Uint8Array, start: number, end: number, text: string): boolean {
  if (text.length !== end - start) return false;
  for (let i = 0; i < text.length; i++) {
    const byte = bytes[start + i] as number;
    if (byte !== text.charCodeAt(i) || byte > 0x7f) return false;
  }
  return true;
}

/** Where the next line feed stands at or after `start`; -1 where there is none. */
export function indexOfLineFeed(bytes: Uint8Array, start: number): number {
  const near = Math.min(bytes.length, start + SEARCH_LOOP_BYTES);
  for (let at = start; at < near; at++) if (bytes[at] === LF) return at;
  return near === bytes.length ? -1 : bytes.indexOf(LF, near);
}

/** Are `bytes[start, start + text.length)` the ASCII letters of `text` (which is lower-case), in any case? */
export function equalsIgnoreCase(bytes: Uint8Array, start: number, end: number, text: string): boolean {
  if (end - start < text.length) return false;
  for (let i = 0; i < text.length; i++) {
    const byte = bytes[start + i] as number;
    const lower = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
    if (lower !== text.charCodeAt(i)) return false;
  }
  return true;
}
