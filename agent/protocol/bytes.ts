/**
 * Text out of bytes, for parsers that look at bytes in place.
 */

/** Up to this many bytes, a loop is faster than a call into the engine's own decoder or search. */
const LOOP_BYTES = 24;
const SEARCH_LOOP_BYTES = 96;

const LF = 0x0a;

/** The view that text was decoded from last: capture hands out views of few buffers, so it mostly fits again. */
let view: Buffer = Buffer.alloc(0);

/** Decodes `bytes[start, end)` as UTF-8; what is not UTF-8 becomes U+FFFD. */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= LOOP_BYTES) {
    let text = "";
    let at = start;
    for (; at < end; at++) {
      const byte = bytes[at] as number;
      if (byte > 0x7e) break;
      text += String.fromCharCode(byte);
    }
    if (at === end) return text;
  }
  if (view.buffer !== bytes.buffer) view = Buffer.from(bytes.buffer);
  return view.toString("utf8", bytes.byteOffset + start, bytes.byteOffset + end);
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
