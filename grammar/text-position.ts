/** Lines and columns of positions in a query text. */

/** Line and column count from 1; the column counts UTF-8 bytes, as Prometheus does. */
export interface LineColumn {
  readonly line: number;
  readonly column: number;
}

/** Bytes that the UTF-8 form of `text.slice(start, end)` takes; a lone surrogate counts three. */
export function utf8Length(text: string, start: number, end: number): number {
  let bytes = 0;
  for (let i = start; i < end; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x80) bytes += 1;
    else if (code < 0x800) bytes += 2;
    else if (code >= 0xd800 && code <= 0xdbff && i + 1 < end) {
      bytes += 4;
      i++;
    } else bytes += 3;
  }
  return bytes;
}

/** Line and column of the UTF-16 offset `offset` in `text`. */
export function lineColumnAt(text: string, offset: number): LineColumn {
  const end = Math.min(offset, text.length);
  let line = 1;
  let lineStart = 0;
  for (let at = text.indexOf("\n"); at !== -1 && at < end; at = text.indexOf("\n", at + 1)) {
    line++;
    lineStart = at + 1;
  }
  return { line, column: utf8Length(text, lineStart, end) + 1 };
}

/** UTF-16 offset of the UTF-8 byte `byte` of a line; its length where the line is shorter. */
export function offsetOfByte(line: string, byte: number): number {
  let at = 0;
  for (let bytes = 0; at < line.length && bytes < byte; ) {
    const width = (line.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
    bytes += utf8Length(line, at, at + width);
    at += width;
  }
  return at;
}
