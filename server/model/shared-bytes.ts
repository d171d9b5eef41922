/**
 * Bytes that one thread makes and another reads, in memory that goes back to the first: V8 collects all garbage of a thread
 * for a few large buffers, and fresh memory costs more to touch than to fill.
 *
 * The first word of a buffer says whether its bytes are still read.
 */

const HEAD_BYTES = 8;
const FREE = 0;
const TAKEN = 1;
/** Buffers of this thread that are kept, all together at most. */
const KEPT_BYTES_MAX = 32 * 2 ** 20;
const BUFFER_BYTES_MIN = 2 ** 18;

/** Of this thread, free or taken. */
let kept: Int32Array[] = [];

/**
 * Room for `length` bytes, which hold anything; the caller's own where that much is not kept.
 *
 * Whoever has read them gives them back with `releaseSharedBytes`, on any thread; forgotten ones are garbage in the end.
 */
export function takeSharedBytes(length: number): Uint8Array {
  const needed = length + HEAD_BYTES;
  if (needed > KEPT_BYTES_MAX) return new Uint8Array(length);
  let best: Int32Array | undefined;
  for (const one of kept) {
    if (one.byteLength < needed || (best !== undefined && best.byteLength <= one.byteLength)) continue;
    if (Atomics.load(one, 0) === FREE) best = one;
  }
  if (best === undefined) {
    let bytes = BUFFER_BYTES_MIN;
    while (bytes < needed) bytes *= 2;
    best = new Int32Array(new SharedArrayBuffer(bytes));
    keep(best);
  }
  Atomics.store(best, 0, TAKEN);
  return new Uint8Array(best.buffer, HEAD_BYTES, length);
}

/** Forgets the oldest where there is no room for one more. */
function keep(buffer: Int32Array): void {
  let left = KEPT_BYTES_MAX - buffer.byteLength;
  kept = [
    buffer,
    ...kept.filter(({ byteLength }) => {
      left -= byteLength;
      return left >= 0;
    }),
  ];
}

/** Whether they came from `takeSharedBytes`, here or on another thread, and must be given back. */
export function isSharedBytes(bytes: Uint8Array): boolean {
  return bytes.buffer instanceof SharedArrayBuffer;
}

/** Gives bytes back: nobody reads them any longer. Others are left alone. */
export function releaseSharedBytes(bytes: Uint8Array): void {
  if (isSharedBytes(bytes)) Atomics.store(new Int32Array(bytes.buffer, 0, 1), 0, FREE);
}
