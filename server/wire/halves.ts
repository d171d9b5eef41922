/** 64-bit columns while a request is read: two words of 32 bits a value, the low one first, since a BigInt each is dear. */

/** The last nanosecond that is kept: one before DuckDB's infinity, in the year 2262. */
export const UNIX_NANO_MAX = 2n ** 63n - 2n;
const UNIX_NANO_MAX_HIGH = 0x7fff_ffff;
const UNIX_NANO_MAX_LOW = 0xffff_fffe;

/** Writes the 8 bytes of a span id at `at` as row `row`. */
export function setSpanId(words: Uint32Array, row: number, bytes: Uint8Array, at: number): void {
  words[2 * row] = bigEndian(bytes, at + 4);
  words[2 * row + 1] = bigEndian(bytes, at);
}

/** Writes the 16 bytes of a trace id at `at` as row `row`: the high half of 64 bits, then the low one. */
export function setTraceId(words: Uint32Array, row: number, bytes: Uint8Array, at: number): void {
  setSpanId(words, 2 * row, bytes, at);
  setSpanId(words, 2 * row + 1, bytes, at + 8);
}

/** Cuts a time that is too late; says whether it was. */
export function mendTime(words: Uint32Array, row: number): boolean {
  const low = 2 * row;
  const high = low + 1;
  const upper = words[high] ?? 0;
  if (upper < UNIX_NANO_MAX_HIGH) return false;
  if (upper === UNIX_NANO_MAX_HIGH && (words[low] ?? 0) <= UNIX_NANO_MAX_LOW) return false;
  words[high] = UNIX_NANO_MAX_HIGH;
  words[low] = UNIX_NANO_MAX_LOW;
  return true;
}

/** Makes an end that is before its start the start; says whether it was. */
export function mendOrder(starts: Uint32Array, ends: Uint32Array, row: number): boolean {
  const low = 2 * row;
  const high = low + 1;
  const before =
    (ends[high] ?? 0) < (starts[high] ?? 0) || (ends[high] === starts[high] && (ends[low] ?? 0) < (starts[low] ?? 0));
  if (!before) return false;
  ends[high] = starts[high] ?? 0;
  ends[low] = starts[low] ?? 0;
  return true;
}

/** `larger` with the content of `columns`, which are freed; both have the same columns. */
export function grownColumns<T extends object>(columns: T, larger: T): T {
  for (const [name, column] of Object.entries(columns)) {
    // Both objects are of one type, so the entries of a name are too.
    (larger as unknown as Record<string, { set(source: unknown): void }>)[name]?.set(column);
  }
  freeColumns(columns);
  return larger;
}

/** Gives back the memory of columns, each of which is alone in its buffer. The collector would learn of it late. */
export function freeColumns(columns: object): void {
  for (const column of Object.values(columns)) {
    if (ArrayBuffer.isView(column) && column.buffer instanceof ArrayBuffer) column.buffer.transfer(0);
  }
}

function bigEndian(bytes: Uint8Array, at: number): number {
  return (
    (((bytes[at] ?? 0) << 24) | ((bytes[at + 1] ?? 0) << 16) | ((bytes[at + 2] ?? 0) << 8) | (bytes[at + 3] ?? 0)) >>> 0
  );
}
