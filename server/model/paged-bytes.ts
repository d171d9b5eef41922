/** Numbers of `ByteWriter` read at a place of a large page, without an object for each run of bytes. */

import { BytesEndError } from "./byte-reader.ts";

const VARINT_SCALE_MAX = 2 ** 53;

/** Memory that holds many runs of bytes. */
export interface BytePage {
  readonly bytes: Uint8Array;
  readonly view: DataView;
}

/** A page over all of a buffer. */
export function bytePage(buffer: ArrayBufferLike): BytePage {
  return { bytes: new Uint8Array(buffer), view: new DataView(buffer) };
}

let end = 0;

/** Where the number ended that was read last. */
export function endOfPaged(): number {
  return end;
}

/** The varint at `at`. @throws BytesEndError where the page ends before it does. */
export function readPagedVarint({ bytes }: BytePage, at: number): number {
  let byte = bytes[at] ?? 0x80;
  if (byte < 0x80) {
    end = at + 1;
    return byte;
  }
  let value = byte & 0x7f;
  let scale = 128;
  let next = at + 1;
  do {
    byte = bytes[next++] ?? Number.NaN;
    value += (byte & 0x7f) * scale;
    scale *= 128;
    if (scale > 128 * VARINT_SCALE_MAX) throw new BytesEndError(next);
  } while (byte >= 0x80);
  if (next > bytes.length) throw new BytesEndError(next);
  end = next;
  return value;
}

/** The signed number at `at`. @throws As `readPagedVarint`. */
export function readPagedSigned(page: BytePage, at: number): number {
  const folded = readPagedVarint(page, at);
  return folded % 2 === 0 ? folded / 2 : -(folded + 1) / 2;
}
