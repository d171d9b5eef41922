/**
 * The newest requests: a ring in memory and server-sent events.
 *
 * Invariants: the ring holds the newest `RING_ROWS_MAX` requests; a client whose connection is slower than the feed
 * misses rows, which are counted and told to it, and never makes the server keep more than `CLIENT_BYTES_MAX` for it.
 */

import type { ServerResponse } from "node:http";
import { releaseBatch, retainBatch } from "../model/batch-lease.ts";
import { spanIdToHex, traceIdToHex } from "../model/hex.ts";
import type { SpanBatch } from "../model/span-batch.ts";
import { KIND_INTERNAL, SPAN_KINDS, SPAN_SOURCES, SPAN_STATUSES } from "../model/span-batch.ts";
import { type TextReader, textReader } from "../model/text-table.ts";

/** Newest requests that are kept. */
export const RING_ROWS_MAX = 500;
/** Live views at a time. */
export const LIVE_CLIENTS_MAX = 100;
const CLIENT_BYTES_MAX = 256 * 1024;
/** Rows of one event; a busier feed shows the newest. */
const EVENT_ROWS_MAX = 100;
const EVENT_EVERY_MS = 250;
const KEEP_ALIVE_MS = 15_000;
/** Of larger batches the rows are kept in place of the batch, which may hold much beside them. */
const KEPT_BATCH_ROWS_MAX = 4_096;

/** One request as the live list shows it. Nanoseconds are decimal strings, `parent_span_id` is null for a root. */
export interface LiveRow {
  readonly trace_id: string;
  readonly span_id: string;
  readonly parent_span_id: string | null;
  readonly service: string;
  readonly name: string;
  readonly kind: string;
  readonly status: string;
  readonly start_ns: string;
  readonly duration_ns: string;
  readonly source: string;
  readonly protocol: string;
}

/** Takes stored batches and passes their requests on. */
export class LiveFeed {
  /** What the ring is made of once somebody asks, oldest first, and how many requests it holds. */
  #ring: { readonly source: SpanBatch | readonly LiveRow[]; readonly requests: number }[] = [];
  #ringRequests = 0;
  #clients = new Map<ServerResponse, { dropped: number }>();
  #pending: LiveRow[] = [];
  #pendingDropped = 0;
  #timer: NodeJS.Timeout | undefined;
  #keepAlive: NodeJS.Timeout | undefined;
  #droppedTotal = 0;

  /** Rows that clients did not get so far. */
  get droppedTotal(): number {
    return this.#droppedTotal;
  }

  /** Adds the requests of a batch: all spans that are not internal. Where nobody watches it only keeps the batch. */
  publish(batch: SpanBatch): void {
    const requests = countRequests(batch);
    if (requests === 0) return;
    this.#keep(batch.rows > KEPT_BATCH_ROWS_MAX ? newestRows(batch, RING_ROWS_MAX) : batch, requests);
    if (this.#clients.size === 0) return;
    const rows = newestRows(batch, EVENT_ROWS_MAX);
    this.#pendingDropped += requests - rows.length;
    this.#pending = this.#pending.concat(rows);
    const surplus = this.#pending.length - EVENT_ROWS_MAX;
    if (surplus > 0) {
      this.#pending = this.#pending.slice(surplus);
      this.#pendingDropped += surplus;
    }
    this.#timer ??= setTimeout(() => this.#send(), EVENT_EVERY_MS);
  }

  /** The newest requests, newest first. */
  newest(rowsMax: number): LiveRow[] {
    const newest: LiveRow[] = [];
    for (const { source } of this.#ring.toReversed()) {
      const missing = Math.min(rowsMax, RING_ROWS_MAX) - newest.length;
      if (missing <= 0) break;
      const rows = "rows" in source ? newestRows(source, missing) : source.slice(-missing);
      newest.push(...rows.toReversed());
    }
    return newest;
  }

  /** Streams events to `response` until it closes; false where there are too many clients. */
  attach(response: ServerResponse): boolean {
    if (this.#clients.size >= LIVE_CLIENTS_MAX) return false;
    this.#clients.set(response, { dropped: 0 });
    response.once("close", () => this.#detach(response));
    this.#keepAlive ??= setInterval(() => this.#write(": still here\n\n", 0), KEEP_ALIVE_MS);
    return true;
  }

  /** Ends all streams. */
  close(): void {
    for (const response of [...this.#clients.keys()]) {
      response.end();
      this.#detach(response);
    }
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  #keep(source: SpanBatch | readonly LiveRow[], requests: number): void {
    if ("rows" in source) retainBatch(source);
    this.#ring.push({ source, requests });
    this.#ringRequests += requests;
    for (let oldest = this.#ring[0]; oldest !== undefined; oldest = this.#ring[0]) {
      if (this.#ringRequests - oldest.requests < RING_ROWS_MAX) return;
      this.#ringRequests -= oldest.requests;
      this.#ring.shift();
      if ("rows" in oldest.source) releaseBatch(oldest.source);
    }
  }

  #send(): void {
    this.#timer = undefined;
    const rows = this.#pending;
    const dropped = this.#pendingDropped;
    this.#pending = [];
    this.#pendingDropped = 0;
    for (const client of this.#clients.values()) client.dropped += dropped;
    this.#droppedTotal += dropped * this.#clients.size;
    this.#write(`event: requests\ndata: ${JSON.stringify(rows)}\n\n`, rows.length);
  }

  #write(event: string, rows: number): void {
    for (const [response, client] of this.#clients) {
      if (response.writableLength > CLIENT_BYTES_MAX) {
        client.dropped += rows;
        this.#droppedTotal += rows;
        continue;
      }
      if (client.dropped > 0) response.write(`event: dropped\ndata: {"rows":${client.dropped}}\n\n`);
      client.dropped = 0;
      response.write(event);
    }
  }

  #detach(response: ServerResponse): void {
    this.#clients.delete(response);
    if (this.#clients.size > 0) return;
    clearInterval(this.#keepAlive);
    this.#keepAlive = undefined;
  }
}

function countRequests(batch: SpanBatch): number {
  let requests = 0;
  for (let row = 0; row < batch.rows; row++) if ((batch.kind[row] ?? 0) > KIND_INTERNAL) requests++;
  return requests;
}

function newestRows(batch: SpanBatch, rowsMax: number): LiveRow[] {
  const rows: LiveRow[] = [];
  const read = textReader(batch.text);
  for (let row = batch.rows - 1; row >= 0 && rows.length < rowsMax; row--) {
    if ((batch.kind[row] ?? 0) > KIND_INTERNAL) rows.push(liveRow(batch, row, read));
  }
  return rows.reverse();
}

function liveRow(batch: SpanBatch, row: number, read: TextReader): LiveRow {
  const text = (column: Uint32Array) => read(column[row]);
  const parent = batch.parentSpanId[row] ?? 0n;
  const startNs = batch.startNs[row] ?? 0n;
  return {
    trace_id: traceIdToHex(batch.traceId[2 * row] ?? 0n, batch.traceId[2 * row + 1] ?? 0n),
    span_id: spanIdToHex(batch.spanId[row] ?? 0n),
    parent_span_id: parent === 0n ? null : spanIdToHex(parent),
    service: batch.resources[batch.resource[row] ?? 0]?.service ?? "",
    name: text(batch.name),
    kind: SPAN_KINDS[batch.kind[row] ?? 0] ?? "",
    status: SPAN_STATUSES[batch.status[row] ?? 0] ?? "",
    start_ns: String(startNs),
    duration_ns: String((batch.endNs[row] ?? startNs) - startNs),
    source: SPAN_SOURCES[batch.source[row] ?? 0] ?? "",
    protocol: text(batch.protocol),
  };
}
