/**
 * Finds damage in DuckDB's WAL that DuckDB takes for the end of it.
 *
 * The WAL is a head followed by entries of size, checksum and payload. A flipped bit in a payload fails its checksum and
 * DuckDB refuses the file; one in a size makes an entry reach beyond the end, which looks like the torn last write of a
 * killed process, and DuckDB drops everything after it without a word. Whole entries behind such a place tell the two apart.
 */

const ENTRY_HEAD_BYTES = 16;
const HEAD_FIELDS_MAX = 8;
const OBJECT_END = 0xffff;
/** Entries that must follow each other up to the last byte before a place is taken for the start of one. */
const ENTRIES_TO_BELIEVE = 2;
/** How far behind the break entries are looked for. */
const SEARCH_BYTES_MAX = 4 * 1024 * 1024;

/**
 * @param wal All bytes of a WAL.
 * @returns Offset of an entry whose size is damaged; undefined where the WAL is whole, torn at its end only, or in a
 *   form this program does not know.
 */
export function damagedWalSize(wal: Uint8Array): number | undefined {
  const view = new DataView(wal.buffer, wal.byteOffset, wal.byteLength);
  const start = endOfHead(wal, view);
  if (start === undefined) return undefined;
  const broken = followEntries(view, start).stoppedAt;
  if (broken === wal.length) return undefined;
  const until = Math.min(wal.length - ENTRY_HEAD_BYTES, broken + SEARCH_BYTES_MAX);
  for (let at = broken + 1; at < until; at++) {
    const { entries, stoppedAt } = followEntries(view, at);
    if (stoppedAt === wal.length && entries >= ENTRIES_TO_BELIEVE) return broken;
  }
  return undefined;
}

/**
 * Where a write begins that never ended: that of a process which was killed, or of a file which was cut.
 *
 * @returns Its offset; undefined where the WAL ends with a whole entry, or is in a form this program does not know.
 */
export function tornWalEnd(wal: Uint8Array): number | undefined {
  const view = new DataView(wal.buffer, wal.byteOffset, wal.byteLength);
  const start = endOfHead(wal, view);
  if (start === undefined) return undefined;
  const { stoppedAt } = followEntries(view, start);
  return stoppedAt === wal.length ? undefined : stoppedAt;
}

function followEntries(view: DataView, start: number): { entries: number; stoppedAt: number } {
  let at = start;
  let entries = 0;
  while (at + ENTRY_HEAD_BYTES <= view.byteLength) {
    const low = view.getUint32(at, true);
    const high = view.getUint32(at + 4, true);
    if (high !== 0 || low === 0 || at + ENTRY_HEAD_BYTES + low > view.byteLength) break;
    at += ENTRY_HEAD_BYTES + low;
    entries++;
  }
  return { entries, stoppedAt: at };
}

/** The head is one serialised object: 16-bit field numbers, of which 102 is a list, and values of 7 bits a byte. */
function endOfHead(wal: Uint8Array, view: DataView): number | undefined {
  let at = 0;
  for (let field = 0; field < HEAD_FIELDS_MAX && at + 2 <= wal.length; field++) {
    const number = view.getUint16(at, true);
    at += 2;
    if (number === OBJECT_END) return at;
    const values = number === 102 ? 1 + (wal[at] ?? 0) : 1;
    for (let value = 0; value < values; value++) {
      while (((wal[at] ?? 0) & 0x80) !== 0) at++;
      at++;
    }
  }
  return undefined;
}
