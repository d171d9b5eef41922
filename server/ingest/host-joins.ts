/**
 * Joins what agents on several hosts saw of one request to one trace.
 *
 * An agent knows the client of a call only where it runs on the same host; elsewhere the server's span is a root and
 * begins a trace of its own. So spans wait here, `waitMs` at most, until it is known which client span of another host
 * their trace began with, and are then given its trace; the server's span gets it as its parent. What comes later than
 * that is linked: a client span to the server span that was stored as a root, a server span to what of its trace was
 * stored before. Nothing waits before an agent of another host has sent spans.
 *
 * Invariants: a batch is released once, at the latest `waitMs` after it came or when more than `heldRowsMax` rows wait;
 * all spans of a trace that are released get one trace id; a parent is drawn only where both ends of one message were
 * seen. Times are passed in.
 */

import { isKernelSource } from "../derive/batch-rows.ts";
import { SEQUENCES_KEY } from "../model/message-ids.ts";
import { KIND_CLIENT, KIND_SERVER, SPAN_SOURCES, type SpanBatch } from "../model/span-batch.ts";
import { linkBytes } from "../model/span-links.ts";
import { extendTextTable, type TextReader, textReader } from "../model/text-table.ts";
import { Generations } from "./generations.ts";
import { clientOfServer, HostTraces, type TraceId, traceOfClient } from "./host-traces.ts";

/** Longer than a span waits in its agent, than batches are collected, and than a request to here takes. */
const WAIT_MS = 3_000;
/** Rows that wait at one time. */
const HELD_ROWS_MAX = 65_536;
/** How long after its last spans an agent is waited for. */
const SENDER_MS = 600_000;
const LONE_MAX = 65_536;
const LONE_MS = 60_000;
const REPLAY = SPAN_SOURCES.indexOf("replay");
const CARRIED = "traceparent";

/** A root server span that was stored without its client. */
interface LoneServer {
  readonly trace: TraceId;
  readonly spanId: bigint;
}

interface HeldBatch {
  readonly batch: SpanBatch;
  readonly untilMs: number;
  /** Traces that are not known to their end, by the client span they wait for. */
  readonly awaits: Map<bigint, TraceId[]>;
  readonly release: (batch: SpanBatch) => void;
}

/** Spans joined and not, since the start. */
export interface HostJoinCounts {
  /** Server spans that got a client span of another host as their parent, by rule; client spans linked to late. */
  readonly joined: { hosts: number; "hosts-nat": number; late: number };
  /** Batches' rows released before their trace was known, by why. */
  readonly givenUp: { timeout: number; full: number };
}

/** See the file's head. */
export class HostJoins {
  readonly counts: HostJoinCounts = {
    joined: { hosts: 0, "hosts-nat": 0, late: 0 },
    givenUp: { timeout: 0, full: 0 },
  };
  readonly #waitMs: number;
  readonly #heldRowsMax: number;
  readonly #traces = new HostTraces();
  readonly #lone = new Generations<bigint, LoneServer>(LONE_MAX, LONE_MS);
  /** In order of arrival. */
  readonly #held = new Set<HeldBatch>();
  readonly #byClient = new Map<bigint, Set<HeldBatch>>();
  #heldRows = 0;
  #agentsUntilMs = Number.NEGATIVE_INFINITY;

  constructor(limits: { readonly waitMs?: number; readonly heldRowsMax?: number } = {}) {
    this.#waitMs = limits.waitMs ?? WAIT_MS;
    this.#heldRowsMax = limits.heldRowsMax ?? HELD_ROWS_MAX;
  }

  /** Rows that wait. */
  get held(): number {
    return this.#heldRows;
  }

  /** Spans of an agent on another host came. */
  agentSeen(nowMs: number): void {
    this.#agentsUntilMs = nowMs + SENDER_MS;
  }

  /** Whether agents on other hosts sent spans lately. */
  isActive(nowMs: number): boolean {
    return nowMs < this.#agentsUntilMs;
  }

  /** Takes a batch; what comes back has its rows, in their final traces. Batches without an agent's spans do not wait. */
  join(batch: SpanBatch, nowMs: number): SpanBatch | Promise<SpanBatch> {
    this.#traces.age(nowMs);
    this.#lone.age(nowMs);
    const rows = agentRows(batch);
    if (rows.length === 0) return batch;
    this.#learn(batch, rows);
    const awaits = this.#openTraces(batch, rows);
    if (awaits.size === 0) return this.#finished(batch);
    return new Promise((resolve) => {
      const held: HeldBatch = { batch, untilMs: nowMs + this.#waitMs, awaits, release: resolve };
      this.#held.add(held);
      this.#heldRows += batch.rows;
      for (const client of awaits.keys()) this.#waitFor(client, held);
      while (this.#heldRows > this.#heldRowsMax) this.#giveUpOldest("full");
    });
  }

  /** Releases what waited long enough; with `all`, everything. */
  release(nowMs: number, all: boolean): void {
    for (const held of this.#held) {
      if (!all && held.untilMs > nowMs) break;
      this.#giveUpOldest("timeout");
    }
  }

  /** Tells the tables of each end of a message, and whoever waits for it. */
  #learn(batch: SpanBatch, rows: readonly number[]): void {
    const text = textReader(batch.text);
    const sequencesOf = sequencesReader(batch, text);
    for (const row of rows) {
      const spanId = batch.spanId[row] ?? 0n;
      const side = sideOf(batch, row, text);
      if (side === undefined) continue;
      const known =
        side === "client"
          ? this.#traces.addClient(spanId, traceAt(batch, row), sequencesOf(row))
          : this.#traces.addServer(spanId, sequencesOf(row));
      for (const client of known) this.#wake(client);
    }
  }

  #openTraces(batch: SpanBatch, rows: readonly number[]): Map<bigint, TraceId[]> {
    const awaits = new Map<bigint, TraceId[]>();
    const seen = new Set<TraceId>();
    for (const row of rows) {
      const trace = traceAt(batch, row);
      if (seen.has(trace)) continue;
      seen.add(trace);
      const resolution = this.#traces.resolve(trace);
      if (resolution.kind === "open") addTo(awaits, resolution.awaits, trace);
    }
    return awaits;
  }

  #waitFor(client: bigint, held: HeldBatch): void {
    const waiting = this.#byClient.get(client);
    if (waiting === undefined) this.#byClient.set(client, new Set([held]));
    else waiting.add(held);
  }

  #wake(client: bigint): void {
    const waiting = this.#byClient.get(client);
    if (waiting === undefined) return;
    this.#byClient.delete(client);
    for (const held of waiting) {
      const traces = held.awaits.get(client) ?? [];
      held.awaits.delete(client);
      for (const trace of traces) {
        const resolution = this.#traces.resolve(trace);
        if (resolution.kind === "final") continue;
        addTo(held.awaits, resolution.awaits, trace);
        this.#waitFor(resolution.awaits, held);
      }
      if (held.awaits.size === 0) this.#let(held);
    }
  }

  #giveUpOldest(why: "timeout" | "full"): void {
    const [oldest] = this.#held;
    if (oldest === undefined) return;
    this.counts.givenUp[why] += oldest.batch.rows;
    this.#let(oldest);
  }

  #let(held: HeldBatch): void {
    this.#held.delete(held);
    this.#heldRows -= held.batch.rows;
    for (const client of held.awaits.keys()) {
      const waiting = this.#byClient.get(client);
      waiting?.delete(held);
      if (waiting?.size === 0) this.#byClient.delete(client);
    }
    held.release(this.#finished(held.batch));
  }

  /** The batch with the names of its traces, and with the parents and links that are known. */
  #finished(batch: SpanBatch): SpanBatch {
    const text = textReader(batch.text);
    const rewritten = new Rewritten(batch);
    for (const row of agentRows(batch)) {
      const own = traceAt(batch, row);
      const name = this.#traces.decide(own);
      const spanId = batch.spanId[row] ?? 0n;
      const side = sideOf(batch, row, text);
      const client = side === "server" ? this.#traces.clientOf(spanId) : undefined;
      if (client === undefined) {
        rewritten.setTrace(row, name);
        if (side === "server") this.#lone.set(clientOfServer(spanId), { trace: name, spanId });
        else if (side === "client") this.#linkLate(rewritten, row, spanId, name);
        continue;
      }
      const trace = this.#traces.decide(client.trace);
      rewritten.setTrace(row, trace);
      rewritten.setParent(row, client.spanId, client.rule);
      this.counts.joined[client.rule]++;
      // Spans below it that took long were stored already: the trace is known under both ids.
      if (name !== trace) rewritten.addLink(row, name, spanId);
    }
    return rewritten.batch();
  }

  /** The server's span was stored as a root before its client's came. */
  #linkLate(rewritten: Rewritten, row: number, spanId: bigint, trace: TraceId): void {
    for (const computed of this.#traces.computedOf(spanId)) {
      const lone = this.#lone.get(computed);
      if (lone === undefined || lone.trace === trace) continue;
      rewritten.addLink(row, lone.trace, lone.spanId);
      this.counts.joined.late++;
    }
  }
}

/** Columns of a batch that change, copied when the first value does. */
class Rewritten {
  readonly #batch: SpanBatch;
  #traceId: BigUint64Array | undefined;
  #parentSpanId: BigUint64Array | undefined;
  #linkReason: Uint32Array | undefined;
  readonly #reasons = new Map<string, number>();
  readonly #links = new Map<number, Uint8Array[]>();

  constructor(batch: SpanBatch) {
    this.#batch = batch;
  }

  setTrace(row: number, trace: TraceId): void {
    if (traceAt(this.#batch, row) === trace) return;
    this.#traceId ??= this.#batch.traceId.slice();
    this.#traceId[2 * row] = trace >> 64n;
    this.#traceId[2 * row + 1] = BigInt.asUintN(64, trace);
  }

  setParent(row: number, spanId: bigint, reason: string): void {
    this.#parentSpanId ??= this.#batch.parentSpanId.slice();
    this.#linkReason ??= this.#batch.linkReason.slice();
    const known = this.#reasons.get(reason) ?? this.#batch.text.lengths.length + this.#reasons.size;
    this.#reasons.set(reason, known);
    this.#parentSpanId[row] = spanId;
    this.#linkReason[row] = known;
  }

  addLink(row: number, trace: TraceId, spanId: bigint): void {
    addTo(this.#links, row, linkBytes(trace, spanId));
  }

  batch(): SpanBatch {
    const batch = this.#batch;
    return {
      ...batch,
      ...(this.#traceId === undefined ? {} : { traceId: this.#traceId }),
      ...(this.#parentSpanId === undefined ? {} : { parentSpanId: this.#parentSpanId }),
      ...(this.#linkReason === undefined ? {} : { linkReason: this.#linkReason }),
      ...(this.#reasons.size === 0 ? {} : { text: extendTextTable(batch.text, [...this.#reasons.keys()]) }),
      ...(this.#links.size === 0 ? {} : withLinks(batch, this.#links)),
    };
  }
}

function withLinks(
  { rows, linksEnd, linksBlob }: SpanBatch,
  added: ReadonlyMap<number, readonly Uint8Array[]>,
): Pick<SpanBatch, "linksEnd" | "linksBlob"> {
  const ends = new Uint32Array(rows);
  const parts: Uint8Array[] = [];
  let bytes = 0;
  for (let row = 0; row < rows; row++) {
    const own = linksBlob.subarray(row === 0 ? 0 : (linksEnd[row - 1] ?? 0), linksEnd[row] ?? 0);
    for (const part of [own, ...(added.get(row) ?? [])]) {
      parts.push(part);
      bytes += part.length;
    }
    ends[row] = bytes;
  }
  return { linksEnd: ends, linksBlob: new Uint8Array(Buffer.concat(parts, bytes)) };
}

/** Rows that were captured live. */
function agentRows(batch: SpanBatch): number[] {
  const rows: number[] = [];
  for (let row = 0; row < batch.rows; row++) {
    const source = batch.source[row] ?? 0;
    if (isKernelSource(source) && source !== REPLAY) rows.push(row);
  }
  return rows;
}

/** Which end of a message that carried no id a row is; only a server's end without its client is one that joins. */
function sideOf(batch: SpanBatch, row: number, text: TextReader): "client" | "server" | undefined {
  const kind = batch.kind[row];
  if (kind === KIND_CLIENT) return text(batch.linkReason[row]) === CARRIED ? undefined : "client";
  if (kind !== KIND_SERVER || batch.parentSpanId[row] !== 0n) return undefined;
  return traceOfClient(clientOfServer(batch.spanId[row] ?? 0n)) === traceAt(batch, row) ? "server" : undefined;
}

function traceAt(batch: SpanBatch, row: number): TraceId {
  return ((batch.traceId[2 * row] ?? 0n) << 64n) | (batch.traceId[2 * row + 1] ?? 0n);
}

/**
 * Reads what is left of a message's identity behind translated addresses: its sequence numbers, with protocol and name of
 * the call. Empty where the agent told none.
 */
function sequencesReader(batch: SpanBatch, text: TextReader): (row: number) => string {
  const keys = new Set<number>();
  for (const key of new Set(batch.attributeKey)) if (text(key) === SEQUENCES_KEY) keys.add(key);
  if (keys.size === 0) return () => "";
  return (row) => {
    const from = row === 0 ? 0 : (batch.attributeEnd[row - 1] ?? 0);
    for (let at = from; at < (batch.attributeEnd[row] ?? from); at++) {
      if (!keys.has(batch.attributeKey[at] ?? 0)) continue;
      return `${text(batch.attributeValue[at])} ${text(batch.protocol[row])} ${text(batch.name[row])}`;
    }
    return "";
  };
}

function addTo<K, V>(lists: Map<K, V[]>, key: K, value: V): void {
  const list = lists.get(key);
  if (list === undefined) lists.set(key, [value]);
  else list.push(value);
}
