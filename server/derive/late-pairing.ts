/**
 * What the store knows of a call whose second side came late: which stored span is the other side, and how that span was
 * counted when it was given up.
 */

import { KIND_CLIENT, KIND_CONSUMER, KIND_PRODUCER, KIND_SERVER } from "../model/span-batch.ts";
import { type BatchInHand, fillHalf, peerOf } from "./batch-in-hand.ts";
import { isKernelSource, isZero } from "./batch-rows.ts";
import { FLAG_KERNEL, type HalfEdge, type IdField, SIDE_CLIENT, SIDE_SERVER } from "./half-edges.ts";
import type { LateCall } from "./late-halves.ts";
import { boundedValue } from "./series-labels.ts";

/** Spans read back from the store. */
export interface StoredRows extends BatchInHand {
  /** By row: commit, and when it came, Unix milliseconds. */
  readonly sequences: Float64Array;
  readonly arrivedMs: Float64Array;
}

/** The stored side of a late call. */
export interface StoredSide {
  readonly half: HalfEdge;
  /** Another call has it already: by the rules the late side could only expire. */
  readonly isTaken: boolean;
}

/** What is derived so far. */
export interface Derived {
  /** Spans of later commits are not derived yet, and meet the late half by themselves. */
  readonly lastSequence: number;
  /** Gives a half to fill. */
  readonly acquire: () => HalfEdge;
  /** Whether a span on the late half's side still waits. */
  readonly waits: (ids: Pick<HalfEdge, IdField>) => boolean;
}

/**
 * The other sides of `call` among stored spans, in the order in which they came: at most one client, or all servers.
 *
 * The caller releases the halves.
 */
export function storedSides(
  call: LateCall,
  stored: StoredRows,
  { lastSequence, acquire, waits }: Derived,
): StoredSide[] {
  const wantsClient = call.missing === "client";
  const others: number[] = [];
  const sameSide: number[] = [];
  for (let row = 0; row < stored.batch.rows; row++) {
    const side = sideOf(stored, row);
    if (side === 0 || !isOfCall(call, stored, row, side)) continue;
    if ((stored.sequences[row] ?? 0) > lastSequence || !isCounted(stored, row)) continue;
    if ((side === SIDE_CLIENT) === wantsClient) others.push(row);
    else if (!isOwn(call, stored, row) && !waits(idsOf(stored, row))) sameSide.push(row);
  }
  others.sort((a, b) => (stored.sequences[a] ?? 0) - (stored.sequences[b] ?? 0));
  // Two clients of one id: whose the other side is cannot be told.
  if (wantsClient ? others.length !== 1 : sameSide.length > 0) return [];
  return others.map((row, at) => {
    const half = acquire();
    fillStored(half, stored, row, wantsClient ? SIDE_CLIENT : SIDE_SERVER);
    half.flags |= wantsClient ? 0 : seenByAgent(stored, row);
    const isMessage = half.kind === KIND_PRODUCER || half.kind === KIND_CONSUMER;
    const hasDatabase = wantsClient && half.kind === KIND_CLIENT && stored.peers.read(row).database !== "";
    const isTaken = !isMessage && (wantsClient ? sameSide.length > 0 || hasDatabase : at > 0);
    return { half, isTaken };
  });
}

function sideOf({ batch }: StoredRows, row: number): number {
  const kind = batch.kind[row];
  if (kind === KIND_CLIENT || kind === KIND_PRODUCER) return SIDE_CLIENT;
  return kind === KIND_SERVER || kind === KIND_CONSUMER ? SIDE_SERVER : 0;
}

function isOfCall({ trace, key }: LateCall, { rows }: StoredRows, row: number, side: number): boolean {
  const id = side === SIDE_CLIENT ? rows.spanId : rows.parentSpanId;
  return (
    id[2 * row] === key[0] &&
    id[2 * row + 1] === key[1] &&
    trace.every((word, at) => rows.traceId[4 * row + at] === word)
  );
}

function isOwn({ own }: LateCall, { rows }: StoredRows, row: number): boolean {
  return rows.spanId[2 * row] === own[0] && rows.spanId[2 * row + 1] === own[1];
}

function idsOf({ rows: { traceId, spanId } }: StoredRows, row: number): Pick<HalfEdge, IdField> {
  const word = (at: number) => traceId[4 * row + at] ?? 0;
  const ids = { own0: spanId[2 * row] ?? 0, own1: spanId[2 * row + 1] ?? 0 };
  return { ...ids, trace0: word(0), trace1: word(1), trace2: word(2), trace3: word(3) };
}

/** Spans that stand for themselves and took part in pairing. */
function isCounted({ batch, rows, named }: StoredRows, row: number): boolean {
  return named[batch.resource[row] ?? 0] === true && isZero(rows.duplicateOf, row);
}

function fillStored(half: HalfEdge, stored: StoredRows, row: number, side: number): void {
  fillHalf(half, { ...stored, nowMs: stored.arrivedMs[row] ?? stored.nowMs }, row, side);
  const id = side === SIDE_CLIENT ? stored.rows.spanId : stored.rows.parentSpanId;
  half.key0 = id[2 * row] ?? 0;
  half.key1 = id[2 * row + 1] ?? 0;
  if (side === SIDE_CLIENT) half.peer = boundedValue(peerOf(stored, row, stored.peers.read(row)));
}

/** A server span that a duplicate of the agent stands beside was given up as one the agent saw. */
function seenByAgent(stored: StoredRows, row: number): number {
  const { rows, batch } = stored;
  for (let other = 0; other < batch.rows; other++) {
    if (rows.duplicateOf[2 * other] !== rows.spanId[2 * row]) continue;
    if (rows.duplicateOf[2 * other + 1] !== rows.spanId[2 * row + 1]) continue;
    if (isKernelSource(batch.source[other] ?? 0)) return FLAG_KERNEL;
  }
  return 0;
}
