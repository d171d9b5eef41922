/** A batch with what reading its rows as halves of calls needs. */

import { type SpanBatch, STATUS_ERROR } from "../model/span-batch.ts";
import { type TextReader, textReader } from "../model/text-table.ts";
import { type BatchHalves, durationNs, isKernelSource, isZero, startUnixNs } from "./batch-rows.ts";
import { FLAG_FAILED, FLAG_GHOST, FLAG_KERNEL, type HalfEdge } from "./half-edges.ts";
import { isNamed, PeerNameReader, type PeerNames } from "./peer-names.ts";
import { boundedValue } from "./series-labels.ts";

/** A span that started this far from its arrival is counted in the minute of its arrival. */
const START_SKEW_MAX_MS = 600_000;
const MINUTE_MS = 60_000;
/** Link reasons of spans the agent saw whose parent id was carried by the call, for its client and server alike. */
const CARRIED_REASONS: ReadonlySet<string> = new Set(["traceparent"]);

/** The batch and its readers. */
export interface BatchInHand {
  readonly batch: SpanBatch;
  readonly rows: BatchHalves;
  readonly text: TextReader;
  readonly peers: PeerNameReader;
  readonly services: readonly string[];
  /** By resource: it says which service it is. */
  readonly named: readonly boolean[];
  /** When its spans arrived, Unix milliseconds. */
  readonly nowMs: number;
}

/** Opens a batch whose spans arrived at `nowMs`. */
export function takeInHand(batch: SpanBatch, rows: BatchHalves, nowMs: number): BatchInHand {
  const services = batch.resources.map(({ service }) => boundedValue(service));
  const named = batch.resources.map(isNamed);
  const text = textReader(batch.text);
  return { batch, rows, text, peers: new PeerNameReader(batch, text), services, named, nowMs };
}

/** Fills `half` with what a row says of its span and its call; key and peer are left to the side it is on. */
export function fillHalf(half: HalfEdge, hand: BatchInHand, row: number, side: number): void {
  const { batch, rows, nowMs } = hand;
  half.side = side;
  half.trace0 = rows.traceId[4 * row] ?? 0;
  half.trace1 = rows.traceId[4 * row + 1] ?? 0;
  half.trace2 = rows.traceId[4 * row + 2] ?? 0;
  half.trace3 = rows.traceId[4 * row + 3] ?? 0;
  half.own0 = rows.spanId[2 * row] ?? 0;
  half.own1 = rows.spanId[2 * row + 1] ?? 0;
  half.duplicateOf0 = rows.duplicateOf[2 * row] ?? 0;
  half.duplicateOf1 = rows.duplicateOf[2 * row + 1] ?? 0;
  const isKernel = isKernelSource(batch.source[row] ?? 0);
  const isCarried = isKernel && CARRIED_REASONS.has(hand.text(batch.linkReason[row]));
  half.connection = isCarried ? connectionHash(hand, row) : 0;
  half.kind = batch.kind[row] ?? 0;
  half.flags =
    (isZero(rows.duplicateOf, row) ? 0 : FLAG_GHOST) |
    (batch.status[row] === STATUS_ERROR ? FLAG_FAILED : 0) |
    (isKernel ? FLAG_KERNEL : 0);
  half.weight = batch.weight[row] ?? 1;
  half.service = hand.services[batch.resource[row] ?? 0] ?? "";
  half.peer = "";
  half.latencyNs = durationNs(rows, row);
  half.startNs = startUnixNs(rows, row);
  half.arrivedMs = nowMs;
  const startMs = half.startNs / 1e6;
  const atMs = Math.abs(startMs - nowMs) <= START_SKEW_MAX_MS ? startMs : nowMs;
  half.bucketMs = Math.floor(atMs / MINUTE_MS) * MINUTE_MS;
}

/** Hash of the client's end of a connection, never 0. */
function connectionHash({ batch, text }: BatchInHand, row: number): number {
  let hash = batch.clientPort[row] ?? 0;
  const address = text(batch.clientAddr[row]);
  for (let at = 0; at < address.length; at++) hash = Math.imul(hash ^ address.charCodeAt(at), 0x0100_0193);
  return hash === 0 ? 1 : hash;
}

/** Where attributes name no peer, what the agent saw of the connection does. */
export function peerOf({ batch, text }: BatchInHand, row: number, { peer }: PeerNames): string {
  if (peer !== "" || !isKernelSource(batch.source[row] ?? 0)) return peer;
  const address = text(batch.serverAddr[row]);
  return address === "" ? "" : `${address.includes(":") ? `[${address}]` : address}:${batch.serverPort[row] ?? 0}`;
}
