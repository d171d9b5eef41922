/**
 * One direction of a TCP connection: puts segments in order, cuts what was seen already, steps over what is lost.
 *
 * Pure. Invariants: slices leave in stream order and never overlap; a jump of `seq` between two slices is a gap;
 * what is held is sorted by sequence number, starts after `next`, and stays within the limits.
 */

/** How much one direction may hold while bytes before it are missing. */
export interface ReassemblyLimits {
  readonly heldPacketsMax: number;
  readonly heldBytesMax: number;
}

/** Limits of live capture. */
export const LIVE_LIMITS: ReassemblyLimits = { heldPacketsMax: 16, heldBytesMax: 16 * 1024 };

/** Receives bytes in order. `bytes` is valid during the call; `total` counts what passed, `bytes` holds the first of it. */
export interface StreamOutput {
  streamBytes(half: StreamHalf, timeNs: number, seq: number, total: number, bytes: Uint8Array): void;
}

/** A segment that waits for bytes before it. */
interface HeldSegment {
  seq: number;
  total: number;
  bytes: Uint8Array;
  timeNs: number;
}

/** State of one direction. */
export interface StreamHalf {
  /** 0: sent by the flow's first end; 1: by its second. */
  readonly direction: 0 | 1;
  /** Sequence number that comes next; -1 until the first SYN or payload. */
  next: number;
  /** Highest number the other side has acknowledged; -1 where none was seen. */
  acked: number;
  /** Sequence number at which the sender finished; -1 until its FIN was seen. */
  finAt: number;
  /** All bytes up to the FIN were handed on or stepped over. */
  finished: boolean;
  held: HeldSegment[];
  heldBytes: number;
  /** Ranges stepped over, and their bytes. */
  gaps: number;
  gapBytes: number;
  /** The last range stepped over: `[gapFrom, next of that moment)`, to tell late segments from repeated ones. */
  gapFrom: number;
  gapTo: number;
}

/** What became of a segment: handed on, kept for later, seen before, or arrived after its place was stepped over. */
export type SegmentVerdict = "delivered" | "held" | "repeated" | "late";

/**
 * A segment this far behind is no retransmission (no window is that large) but a stream that ran on unseen
 * for more than half of the sequence numbers.
 */
const behindBytesMax = 1 << 28;

const NO_BYTES = new Uint8Array(0);

/** A direction of which nothing was seen. */
export function makeStreamHalf(direction: 0 | 1): StreamHalf {
  return {
    direction,
    next: -1,
    acked: -1,
    finAt: -1,
    finished: false,
    held: [],
    heldBytes: 0,
    gaps: 0,
    gapBytes: 0,
    gapFrom: -1,
    gapTo: -1,
  };
}

/** How far sequence number `a` is past `b`; negative where before. Wraps modulo 2^32. */
export function seqAhead(a: number, b: number): number {
  return (a - b) | 0;
}

/**
 * Takes one segment with payload.
 *
 * Bytes seen before are cut off and the time of their first sight stands. A segment after a hole is copied and held
 * until the hole fills, the other side acknowledges past it, or the limits are reached.
 *
 * @param bytes Captured payload, possibly shorter than `total`; not kept.
 */
export function acceptSegment(
  half: StreamHalf,
  limits: ReassemblyLimits,
  output: StreamOutput,
  timeNs: number,
  seq: number,
  total: number,
  bytes: Uint8Array,
): SegmentVerdict {
  if (half.next < 0) half.next = seq;
  let ahead = seqAhead(seq, half.next);
  if (ahead < -behindBytesMax) {
    releaseHeld(half, output);
    // Told as bytes that passed unseen: a jump of this size would look like a step back.
    output.streamBytes(half, timeNs, half.next, (seq - half.next) >>> 0, NO_BYTES);
    stepTo(half, seq);
    ahead = 0;
  }
  if (ahead <= 0) {
    if (ahead + total <= 0) return isLate(half, seq, total) ? "late" : "repeated";
    handOn(half, output, timeNs, seq, total, bytes);
    if (half.held.length > 0) releaseReady(half, output);
    noteFinish(half);
    return "delivered";
  }
  const verdict = hold(half, timeNs, seq, total, bytes);
  releaseReady(half, output);
  while (half.held.length > limits.heldPacketsMax || half.heldBytes > limits.heldBytesMax) {
    stepToFirstHeld(half);
    releaseReady(half, output);
  }
  noteFinish(half);
  return verdict;
}

/** The other side has acknowledged everything before `ack`: holes before it will not fill any more. */
export function acceptAck(half: StreamHalf, output: StreamOutput, ack: number): void {
  if (half.next < 0) return;
  if (half.acked < 0 || seqAhead(ack, half.acked) > 0) half.acked = ack;
  if (half.held.length > 0) releaseReady(half, output);
  noteFinish(half);
}

/** The sender's FIN: nothing comes after `seq`. */
export function acceptFin(half: StreamHalf, seq: number): void {
  if (half.next < 0) half.next = seq;
  if (half.finAt < 0) half.finAt = seq;
  noteFinish(half);
}

/** Hands on everything held, stepping over the holes; for a reset, an expiry or the end of a file. */
export function releaseHeld(half: StreamHalf, output: StreamOutput): void {
  while (half.held.length > 0) {
    stepToFirstHeld(half);
    releaseReady(half, output);
  }
  noteFinish(half);
}

/** Time of the oldest segment held; undefined where none is. */
export function oldestHeldNs(half: StreamHalf): number | undefined {
  let oldest: number | undefined;
  for (const segment of half.held) if (oldest === undefined || segment.timeNs < oldest) oldest = segment.timeNs;
  return oldest;
}

function handOn(half: StreamHalf, output: StreamOutput, timeNs: number, seq: number, total: number, bytes: Uint8Array) {
  const seen = -seqAhead(seq, half.next);
  const from = half.next;
  half.next = (seq + total) >>> 0;
  if (seen === 0) output.streamBytes(half, timeNs, from, total, bytes);
  else output.streamBytes(half, timeNs, from, total - seen, bytes.subarray(Math.min(seen, bytes.length)));
}

function hold(half: StreamHalf, timeNs: number, seq: number, total: number, bytes: Uint8Array): SegmentVerdict {
  let at = half.held.length;
  while (at > 0) {
    const before = half.held[at - 1];
    if (before === undefined || seqAhead(before.seq, seq) <= 0) break;
    at--;
  }
  const same = half.held[at - 1];
  if (same !== undefined && same.seq === seq) {
    if (same.total >= total) return "repeated";
    half.heldBytes += bytes.length - same.bytes.length;
    same.total = total;
    same.bytes = bytes.slice();
    return "held";
  }
  half.held.splice(at, 0, { seq, total, bytes: bytes.slice(), timeNs });
  half.heldBytes += bytes.length;
  return "held";
}

/** Hands on what the filled or acknowledged holes have set free. */
function releaseReady(half: StreamHalf, output: StreamOutput): void {
  for (let first = half.held[0]; first !== undefined; first = half.held[0]) {
    if (seqAhead(first.seq, half.next) > 0) {
      if (half.acked < 0 || seqAhead(half.acked, first.seq) < 0) return;
      stepTo(half, first.seq);
    }
    half.held.shift();
    half.heldBytes -= first.bytes.length;
    if (seqAhead((first.seq + first.total) >>> 0, half.next) <= 0) continue;
    handOn(half, output, first.timeNs, first.seq, first.total, first.bytes);
  }
}

function stepToFirstHeld(half: StreamHalf): void {
  const first = half.held[0];
  if (first !== undefined && seqAhead(first.seq, half.next) > 0) stepTo(half, first.seq);
}

function isLate(half: StreamHalf, seq: number, total: number): boolean {
  if (half.gapFrom < 0) return false;
  return seqAhead(seq, half.gapTo) < 0 && seqAhead((seq + total) >>> 0, half.gapFrom) > 0;
}

function stepTo(half: StreamHalf, seq: number): void {
  half.gapFrom = half.next;
  half.gapTo = seq;
  half.gaps++;
  half.gapBytes += (seq - half.next) >>> 0;
  half.next = seq;
}

function noteFinish(half: StreamHalf): void {
  if (half.finAt < 0 || half.finished || half.held.length > 0) return;
  // The FIN itself takes one number: an acknowledgement past it means that the tail before it has passed unseen.
  const reached = seqAhead(half.next, half.finAt) >= 0;
  if (reached || (half.acked >= 0 && seqAhead(half.acked, half.finAt) > 0)) half.finished = true;
}
