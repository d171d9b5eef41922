/** CRC-32C, the check sum by Castagnoli's polynomial. @see https://www.rfc-editor.org/rfc/rfc3720#appendix-B.4 */

const POLYNOMIAL = 0x82f6_3b78;
/** Four tables of 256: table `i` carries a byte over `i` bytes after it, so four bytes go at once. */
const TABLES = makeTables();

function makeTables(): Uint32Array {
  const tables = new Uint32Array(1_024);
  for (let byte = 0; byte < 256; byte++) {
    let crc = byte;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 0 ? crc >>> 1 : (crc >>> 1) ^ POLYNOMIAL;
    tables[byte] = crc;
  }
  for (let at = 256; at < 1_024; at++) {
    const before = tables[at - 256] as number; // in range: `at` starts at 256
    tables[at] = (before >>> 8) ^ (tables[before & 0xff] as number); // in range: masked
  }
  return tables;
}

/** The check sum of `bytes`, unsigned. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  let at = 0;
  // All look-ups are in range: indexes are masked, and offsets name a table of 256.
  for (const last = bytes.length - 4; at <= last; at += 4) {
    crc ^=
      (bytes[at] as number) |
      ((bytes[at + 1] as number) << 8) |
      ((bytes[at + 2] as number) << 16) |
      ((bytes[at + 3] as number) << 24);
    crc =
      (TABLES[768 + (crc & 0xff)] as number) ^
      (TABLES[512 + ((crc >>> 8) & 0xff)] as number) ^
      (TABLES[256 + ((crc >>> 16) & 0xff)] as number) ^
      (TABLES[crc >>> 24] as number);
  }
  for (; at < bytes.length; at++) crc = (crc >>> 8) ^ (TABLES[(crc ^ (bytes[at] as number)) & 0xff] as number);
  return (crc ^ 0xffff_ffff) >>> 0;
}
