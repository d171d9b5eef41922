/**
 * Work over long lists, cut so that the loop turns in between.
 */

import { setImmediate } from "node:timers/promises";

/** How long one slice may hold the loop. */
const SLICE_MS = 3;
/** Characters of a piece of text before it is turned into bytes. */
const PIECE_LENGTH = 65_536;
/** The clock is read once for so many. */
const CLOCK_EVERY = 64;

/** Visits all in order; other work runs at least every few milliseconds. @throws The signal's reason once aborted. */
export async function visitSliced<T>(
  all: Iterable<T>,
  visit: (one: T) => void,
  signal?: AbortSignal | undefined,
): Promise<void> {
  let sinceMs = performance.now();
  let count = 0;
  for (const one of all) {
    visit(one);
    count++;
    if (count % CLOCK_EVERY !== 0 || performance.now() - sinceMs < SLICE_MS) continue;
    await setImmediate();
    signal?.throwIfAborted();
    sinceMs = performance.now();
  }
}

/** Bytes in a row, put together in slices. */
export async function concatSliced(parts: readonly Uint8Array[]): Promise<Buffer> {
  const whole = Buffer.allocUnsafe(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  await visitSliced(parts, (part) => {
    whole.set(part, at);
    at += part.length;
  });
  return whole;
}

/** A list as text, `head` and `tail` around it, made in slices; commas stand between unless `separator` says otherwise. */
export async function renderSliced<T>(
  list: readonly T[],
  render: (one: T) => string,
  around: {
    readonly head: string;
    readonly tail: string;
    readonly separator?: string;
    readonly signal?: AbortSignal | undefined;
  },
): Promise<Buffer> {
  const pieces: Buffer[] = [];
  let text = around.head;
  let separator = "";
  const visit = (one: T) => {
    text += separator + render(one);
    separator = around.separator ?? ",";
    if (text.length < PIECE_LENGTH) return;
    pieces.push(Buffer.from(text));
    text = "";
  };
  await visitSliced(list, visit, around.signal);
  pieces.push(Buffer.from(text + around.tail));
  return Buffer.concat(pieces);
}
