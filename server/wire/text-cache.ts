/**
 * Short ASCII strings that were decoded lately, found by their bytes.
 *
 * Keys, names and codes repeat in every request. Giving the same string object again saves its allocation, and the maps
 * that intern it later find its hash already computed. The cache never answers wrongly, only misses.
 */

const SLOTS = 8192; // a power of two
/** Longer strings are rarely the same twice. */
export const CACHED_TEXT_BYTES_MAX = 48;

const cached: string[] = new Array(SLOTS).fill("");

/** The string of `bytes[start, end)`, at most `CACHED_TEXT_BYTES_MAX` long; undefined where a byte is not ASCII. */
export function cachedAscii(bytes: Uint8Array, start: number, end: number): string | undefined {
  let hash = end - start;
  for (let at = start; at < end; at++) {
    const byte = bytes[at] as number; // in range: the caller checked the length
    if (byte >= 0x80) return undefined;
    hash = Math.imul(hash ^ byte, 0x0100_0193);
  }
  const slot = (hash ^ (hash >>> 15)) & (SLOTS - 1);
  const known = cached[slot] as string; // in range: `slot` is masked
  if (equals(known, bytes, start, end)) return known;
  let text = "";
  for (let at = start; at < end; at++) text += String.fromCharCode(bytes[at] as number); // in range, as above
  cached[slot] = text;
  return text;
}

function equals(text: string, bytes: Uint8Array, start: number, end: number): boolean {
  const length = end - start;
  if (text.length !== length) return false;
  for (let index = 0; index < length; index++) if (text.charCodeAt(index) !== bytes[start + index]) return false;
  return true;
}
