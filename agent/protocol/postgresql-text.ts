/**
 * Texts inside of PostgreSQL's messages: each ends with a zero.
 */

/** Where the text that begins at `start` ends: at a zero, or with the bytes. */
export function endOfText(bytes: Uint8Array, start: number): number {
  const end = start > bytes.length ? -1 : bytes.indexOf(0, start);
  return end < 0 ? bytes.length : end;
}

/** `bytes[start, end)` as text. */
export function textOf(bytes: Uint8Array, start: number, end: number): string {
  if (end <= start) return "";
  return Buffer.from(bytes.buffer, bytes.byteOffset + start, end - start).toString("utf8");
}

/** `database` of a startup message, else `user`, as the server takes it. */
export function databaseOf(bytes: Uint8Array): string {
  let at = 4;
  let user = "";
  while (at < bytes.length && bytes[at] !== 0) {
    const nameEnd = endOfText(bytes, at);
    const valueEnd = endOfText(bytes, nameEnd + 1);
    const name = textOf(bytes, at, nameEnd);
    const value = textOf(bytes, nameEnd + 1, valueEnd);
    if (name === "database" && value !== "") return value;
    if (name === "user") user = value;
    at = valueEnd + 1;
  }
  return user;
}

/** SQLSTATE of the fields of an `ErrorResponse`. Its texts may hold values, so nothing else is read. */
export function sqlstateOf(bytes: Uint8Array): string {
  let at = 0;
  while (at < bytes.length && bytes[at] !== 0) {
    const field = bytes[at];
    const end = bytes.indexOf(0, at + 1);
    if (end < 0) return "";
    if (field === 0x43) return Buffer.from(bytes.buffer, bytes.byteOffset + at + 1, end - at - 1).toString("latin1");
    at = end + 1;
  }
  return "";
}
