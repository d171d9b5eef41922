/**
 * Many texts as UTF-8 in one run of bytes, so that they cross threads and reach the store without a string each.
 */

/** Text `i` is `bytes[starts[i], starts[i] + lengths[i])`, always well-formed UTF-8; text 0 is empty. Texts may overlap. */
export interface TextTable {
  readonly bytes: Uint8Array;
  readonly starts: Uint32Array;
  readonly lengths: Uint32Array;
}

const encoder = new TextEncoder();

/** Gives the string of a text; empty where there is no such text. Nothing is kept: callers that ask again keep it. */
export type TextReader = (index: number | undefined) => string;

/** Reads the texts of a table. */
export function textReader({ bytes, starts, lengths }: TextTable): TextReader {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return (index) => {
    const length = index === undefined ? undefined : lengths[index];
    if (index === undefined || length === undefined || length === 0) return "";
    const start = starts[index] ?? 0;
    return buffer.toString("utf8", start, start + length);
  };
}

/** A table of these texts; lone surrogates become U+FFFD. */
export function textTableOf(texts: readonly string[]): TextTable {
  return extendTextTable({ bytes: new Uint8Array(0), starts: new Uint32Array(0), lengths: new Uint32Array(0) }, texts);
}

/** A table of the texts of `table` and then these. */
export function extendTextTable(table: TextTable, texts: readonly string[]): TextTable {
  const known = table.lengths.length;
  let units = 0;
  for (const text of texts) units += text.length;
  const bytes = new Uint8Array(table.bytes.length + 3 * units);
  bytes.set(table.bytes);
  const starts = new Uint32Array(known + texts.length);
  const lengths = new Uint32Array(known + texts.length);
  starts.set(table.starts);
  lengths.set(table.lengths);
  let used = table.bytes.length;
  for (const [index, text] of texts.entries()) {
    starts[known + index] = used;
    const { written } = encoder.encodeInto(text, bytes.subarray(used));
    lengths[known + index] = written;
    used += written;
  }
  return { bytes: bytes.slice(0, used), starts, lengths };
}
