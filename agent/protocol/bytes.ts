/**
 * Text out of bytes, for parsers that look at bytes in place.
 */

const SHORT = 16;

/**
 * Decodes `bytes[start, end)` as UTF-8; what is not UTF-8 becomes U+FFFD.
 *
 * Short stretches of ASCII, the usual case, are decoded without a call into the engine's decoder.
 */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  if (end - start <= SHORT) {
    let text = "";
    let at = start;
    for (; at < end; at++) {
      const byte = bytes[at] as number;
      if (byte > 0x7e) break;
      text += String.fromCharCode(byte);
    }
    if (at === end) return text;
  }
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
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
