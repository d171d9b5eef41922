/**
 * Calls found by the ids that everybody who saw them knows: trace, span id of the client's span, side.
 *
 * Invariant: an index holds at most two generations of `generationMax` calls; the older one is forgotten when the
 * younger is full, or has lasted `generationMs`.
 */

import { type BatchHalves, startUnixNs } from "../derive/batch-rows.ts";
import { KIND_CLIENT, KIND_SERVER, type Resource, type SpanBatch } from "../model/span-batch.ts";

/** Ids of one side of a call, in halves of 32 bits as in `BatchHalves`, and who it is. */
export interface Call {
  readonly trace0: number;
  readonly trace1: number;
  readonly trace2: number;
  readonly trace3: number;
  /** Span id of the client's span: of a client its own, of a server its parent. */
  readonly key0: number;
  readonly key1: number;
  /** `KIND_CLIENT` or `KIND_SERVER`. */
  readonly side: number;
  readonly spanId: bigint;
  readonly service: string;
  /** 0 where it is not known. */
  readonly pid: number;
  /** Unix nanoseconds, to within 256. */
  readonly startNs: number;
}

/** Calls of one hash that are looked at; ids made to collide have more. */
const CHAIN_STEPS_MAX = 256;

interface Chained<T> {
  readonly call: T;
  readonly next: Chained<T> | undefined;
}

/** See the file's head. */
export class CallIndex<T extends Call> {
  readonly #generationMax: number;
  readonly #generationMs: number;
  #young = new Map<number, Chained<T>>();
  #old = new Map<number, Chained<T>>();
  #youngCount = 0;
  #oldCount = 0;
  #bornMs = Number.NEGATIVE_INFINITY;

  constructor(generationMax: number, generationMs: number) {
    this.#generationMax = generationMax;
    this.#generationMs = generationMs;
  }

  get count(): number {
    return this.#youngCount + this.#oldCount;
  }

  add(call: T, nowMs: number): void {
    if (this.#youngCount >= this.#generationMax) this.#turn(nowMs);
    const hash = hashOf(call);
    this.#young.set(hash, { call, next: this.#young.get(hash) });
    this.#youngCount++;
  }

  /** Forgets what is old; call it now and then. */
  age(nowMs: number): void {
    if (nowMs - this.#bornMs >= this.#generationMs) this.#turn(nowMs);
  }

  /** Of the calls with the same ids and the same program that `accepts` takes, the one that began nearest to `like`. */
  nearest(like: Call, accepts: (call: T) => boolean): T | undefined {
    const hash = hashOf(like);
    let best: T | undefined;
    for (const generation of [this.#young, this.#old]) {
      let at = generation.get(hash);
      for (let steps = 0; at !== undefined && steps < CHAIN_STEPS_MAX; steps++, at = at.next) {
        if (!isSameCall(at.call, like) || !accepts(at.call)) continue;
        if (best === undefined || distance(at.call, like) < distance(best, like)) best = at.call;
      }
    }
    return best;
  }

  #turn(nowMs: number): void {
    this.#old = this.#young;
    this.#oldCount = this.#youngCount;
    this.#young = new Map();
    this.#youngCount = 0;
    this.#bornMs = nowMs;
  }
}

/** The call of a row. `parentIsKey`: a client span stands under its parent's id, as those the agent saw do. */
export function callOf(batch: SpanBatch, rows: BatchHalves, row: number, parentIsKey: boolean): Call {
  const side = batch.kind[row] ?? 0;
  const keys = side === KIND_SERVER || parentIsKey ? rows.parentSpanId : rows.spanId;
  return {
    trace0: rows.traceId[4 * row] ?? 0,
    trace1: rows.traceId[4 * row + 1] ?? 0,
    trace2: rows.traceId[4 * row + 2] ?? 0,
    trace3: rows.traceId[4 * row + 3] ?? 0,
    key0: keys[2 * row] ?? 0,
    key1: keys[2 * row + 1] ?? 0,
    side,
    spanId: batch.spanId[row] ?? 0n,
    service: batch.resources[batch.resource[row] ?? 0]?.service ?? "",
    pid: batch.pid[row] ?? 0,
    startNs: startUnixNs(rows, row),
  };
}

/** Whether a row is one side of a call that can have a twin: a client span, or a server span with a parent. */
export function isCallRow(batch: SpanBatch, rows: BatchHalves, row: number): boolean {
  const kind = batch.kind[row];
  if (kind === KIND_CLIENT) return true;
  return kind === KIND_SERVER && (rows.parentSpanId[2 * row] !== 0 || rows.parentSpanId[2 * row + 1] !== 0);
}

/** `process.pid` of a resource; 0 where it says none. */
export function processIdOf({ attributes }: Resource): number {
  const text = attributes.find(({ key, kind }) => key === "process.pid" && kind === "i")?.value;
  const pid = Number(text ?? 0);
  return Number.isSafeInteger(pid) && pid > 0 ? pid : 0;
}

/** Whether two spans are one side of one call, in one program. */
export function isSameCall(a: Call, b: Call): boolean {
  return (
    a.side === b.side &&
    a.key0 === b.key0 &&
    a.key1 === b.key1 &&
    a.trace0 === b.trace0 &&
    a.trace1 === b.trace1 &&
    a.trace2 === b.trace2 &&
    a.trace3 === b.trace3 &&
    (a.service === b.service || (a.pid !== 0 && a.pid === b.pid))
  );
}

function distance(a: Call, b: Call): number {
  return Math.abs(a.startNs - b.startNs);
}

/** Hash of a call's ids; they are random in most traces, and calls made to collide share a list. */
export function hashOf({ trace0, trace2, key0, key1, side }: Call): number {
  let hash = Math.imul(key0 ^ side, 0x9e37_79b1) ^ Math.imul(key1, 0x85eb_ca6b);
  hash ^= Math.imul(trace2 ^ (hash >>> 15), 0xc2b2_ae35);
  return hash ^ Math.imul(trace0 ^ (hash >>> 13), 0x27d4_eb2f);
}
