/**
 * What the protobuf and the JSON decoder of traces share: the checks of a span and the way into the batch.
 *
 * Invariant: `received` = rows of the batch + the sum of `rejected`.
 */

import type { Attribute, Resource, Scope, SpanBatch } from "../model/span-batch.ts";
import { SPAN_KINDS, SPAN_SOURCES, SPAN_STATUSES } from "../model/span-batch.ts";
import type { SpanToAppend } from "../model/span-batch-builder.ts";
import { EMPTY_SPAN, NO_BYTES, SpanBatchBuilder } from "../model/span-batch-builder.ts";
import { fillColumns, pidOf } from "./attribute-columns.ts";

/** Attributes kept of one span or resource; those beyond are left out and counted. */
const ATTRIBUTES_MAX = 1024;
/** Spans kept of one request; those beyond are rejected as `spans_max`. */
const REQUEST_SPANS_MAX = 1_000_000;
/** The last nanosecond that a span may name: one before DuckDB's infinity, in the year 2262. */
export const UNIX_NANO_MAX = 2n ** 63n - 2n;

const OTLP_SOURCE = SPAN_SOURCES.indexOf("otlp");
/** Up to here comparing keys pairwise is faster than a set. */
const PAIRWISE_ATTRIBUTES_MAX = 24;

/** Why one span of a request is left out. */
type SpanRejectReason =
  | "trace_id_length"
  | "trace_id_zero"
  | "span_id_length"
  | "span_id_zero"
  | "parent_span_id_length"
  | "spans_max";

/** What was mended rather than rejected. */
export interface TraceRepairs {
  /** Strings with invalid UTF-8 or lone surrogates; U+FFFD stands in their place. */
  text: number;
  /** Spans that ended before they started, or named a time beyond `UNIX_NANO_MAX`. */
  times: number;
  /** Attributes left out: second values of one key, or more than `ATTRIBUTES_MAX`. */
  attributes: number;
}

/** What became of a request's bytes. */
export type DecodeOutcome =
  | {
      readonly kind: "decoded";
      readonly batch: SpanBatch;
      /** Spans the request held. */
      readonly received: number;
      readonly rejected: ReadonlyMap<SpanRejectReason, number>;
      readonly repaired: Readonly<TraceRepairs>;
    }
  | {
      readonly kind: "malformed";
      /** What is wrong, without any of the content. */
      readonly reason: string;
      /** Byte (protobuf) or UTF-16 unit (JSON) where decoding stopped. */
      readonly offset: number;
    };

/** An id as it came: its length in bytes decides whether it is one. */
export interface DraftId {
  bytes: number;
  high: bigint;
  low: bigint;
}

/** One span while it is read; one object serves all spans of a request. */
export interface SpanDraft extends SpanToAppend {
  attributes: Attribute[];
  /** Events and links as protobuf, in order; joined when the span ends. */
  eventParts: Uint8Array[];
  linkParts: Uint8Array[];
  trace: DraftId;
  span: DraftId;
  parent: DraftId;
}

/** State of one request. */
export interface TraceDecoding {
  readonly builder: SpanBatchBuilder;
  readonly draft: SpanDraft;
  readonly rejected: Map<SpanRejectReason, number>;
  readonly repaired: TraceRepairs;
  readonly resources: Map<string, Resource>;
  received: number;
  /** Attributes and scope of the ResourceSpans and ScopeSpans being read. */
  resourceAttributes: Attribute[];
  scope: Scope;
  /** Index of that resource or scope in the batch, -1 until its first span is accepted. */
  resourceIndex: number;
  scopeIndex: number;
  pid: number;
}

/** Stands for a scope that was not sent. */
export const NO_SCOPE: Scope = { name: "", version: "" };

/** Starts on a request; nothing is counted or kept yet. */
export function startTraceDecoding(): TraceDecoding {
  return {
    builder: new SpanBatchBuilder(),
    draft: {
      ...EMPTY_SPAN,
      source: OTLP_SOURCE,
      attributes: [],
      eventParts: [],
      linkParts: [],
      trace: { bytes: 0, high: 0n, low: 0n },
      span: { bytes: 0, high: 0n, low: 0n },
      parent: { bytes: 0, high: 0n, low: 0n },
    },
    rejected: new Map(),
    repaired: { text: 0, times: 0, attributes: 0 },
    resources: new Map(),
    received: 0,
    resourceAttributes: [],
    scope: NO_SCOPE,
    resourceIndex: -1,
    scopeIndex: -1,
    pid: 0,
  };
}

/** Begins a ResourceSpans whose resource carries `attributes`; the decoding keeps the array. */
export function beginResource(decoding: TraceDecoding, attributes: Attribute[]): void {
  decoding.repaired.attributes += dropRepeated(attributes);
  decoding.resourceAttributes = attributes;
  decoding.resourceIndex = -1;
  beginScope(decoding, NO_SCOPE);
}

/** Begins a ScopeSpans. */
export function beginScope(decoding: TraceDecoding, scope: Scope): void {
  decoding.scope = scope;
  decoding.scopeIndex = -1;
}

/** Empties the draft for the next span and returns it. */
export function beginSpan(decoding: TraceDecoding): SpanDraft {
  const { draft } = decoding;
  draft.trace.bytes = 0;
  draft.span.bytes = 0;
  draft.parent.bytes = 0;
  draft.startNs = 0n;
  draft.endNs = 0n;
  draft.name = "";
  draft.kind = 0;
  draft.status = 0;
  draft.statusMessage = "";
  draft.traceState = "";
  draft.flags = 0;
  draft.attributes.length = 0;
  draft.eventParts.length = 0;
  draft.linkParts.length = 0;
  return draft;
}

/** Adds an attribute unless the list is full. */
export function keepAttribute(decoding: TraceDecoding, attributes: Attribute[], attribute: Attribute): void {
  if (attributes.length < ATTRIBUTES_MAX) attributes.push(attribute);
  else decoding.repaired.attributes++;
}

/** Checks the draft and appends it to the batch, or counts why not. */
export function endSpan(decoding: TraceDecoding): void {
  const { draft } = decoding;
  decoding.received++;
  const reason = rejectReason(draft, decoding.builder.rows);
  if (reason !== undefined) {
    decoding.rejected.set(reason, (decoding.rejected.get(reason) ?? 0) + 1);
    return;
  }
  if (decoding.resourceIndex < 0) useResource(decoding);
  if (decoding.scopeIndex < 0) decoding.scopeIndex = decoding.builder.addScope(decoding.scope);
  draft.resource = decoding.resourceIndex;
  draft.scope = decoding.scopeIndex;
  draft.pid = decoding.pid;
  draft.traceIdHigh = draft.trace.high;
  draft.traceIdLow = draft.trace.low;
  draft.spanId = draft.span.low;
  draft.parentSpanId = draft.parent.bytes === 0 ? 0n : draft.parent.low;
  if (draft.kind >= SPAN_KINDS.length) draft.kind = 0;
  if (draft.status >= SPAN_STATUSES.length) draft.status = 0;
  mendTimes(decoding, draft);
  decoding.repaired.attributes += dropRepeated(draft.attributes);
  fillColumns(draft, draft.attributes);
  draft.events = joined(draft.eventParts);
  draft.links = joined(draft.linkParts);
  decoding.builder.append(draft);
}

/** Hands out the request's batch and counts. */
export function finishTraceDecoding(decoding: TraceDecoding): DecodeOutcome {
  const { builder, received, rejected, repaired } = decoding;
  return { kind: "decoded", batch: builder.seal(), received, rejected, repaired };
}

function rejectReason(draft: SpanDraft, rows: number): SpanRejectReason | undefined {
  const { trace, span, parent } = draft;
  if (trace.bytes !== 16) return "trace_id_length";
  if (trace.high === 0n && trace.low === 0n) return "trace_id_zero";
  if (span.bytes !== 8) return "span_id_length";
  if (span.low === 0n) return "span_id_zero";
  if (parent.bytes !== 0 && parent.bytes !== 8) return "parent_span_id_length";
  return rows >= REQUEST_SPANS_MAX ? "spans_max" : undefined;
}

function mendTimes(decoding: TraceDecoding, draft: SpanDraft): void {
  let mended = false;
  if (draft.startNs > UNIX_NANO_MAX) {
    draft.startNs = UNIX_NANO_MAX;
    mended = true;
  }
  if (draft.endNs > UNIX_NANO_MAX) {
    draft.endNs = UNIX_NANO_MAX;
    mended = true;
  }
  if (draft.endNs < draft.startNs) {
    draft.endNs = draft.startNs;
    mended = true;
  }
  if (mended) decoding.repaired.times++;
}

/** Equal resources of one request become one row of the batch. */
function useResource(decoding: TraceDecoding): void {
  const attributes = decoding.resourceAttributes.toSorted(byKey);
  const identity = JSON.stringify(attributes);
  let resource = decoding.resources.get(identity);
  if (resource === undefined) {
    resource = {
      service: textOf(attributes, "service.name") || "unknown_service",
      instance: textOf(attributes, "service.instance.id"),
      attributes,
    };
    decoding.resources.set(identity, resource);
  }
  decoding.resourceIndex = decoding.builder.addResource(resource);
  decoding.pid = pidOf(attributes);
}

function byKey(a: Attribute, b: Attribute): number {
  if (a.key === b.key) return 0;
  return a.key < b.key ? -1 : 1;
}

function textOf(attributes: readonly Attribute[], key: string): string {
  return attributes.find((attribute) => attribute.key === key)?.value ?? "";
}

/** Keeps the last value of each key, in place; returns how many were left out. */
function dropRepeated(attributes: Attribute[]): number {
  if (!hasRepeated(attributes)) return 0;
  const byName = new Map<string, Attribute>();
  for (const attribute of attributes) byName.set(attribute.key, attribute);
  const dropped = attributes.length - byName.size;
  attributes.length = 0;
  attributes.push(...byName.values());
  return dropped;
}

function hasRepeated(attributes: readonly Attribute[]): boolean {
  const count = attributes.length;
  if (count > PAIRWISE_ATTRIBUTES_MAX) return new Set(attributes.map((attribute) => attribute.key)).size < count;
  for (let i = 1; i < count; i++) {
    const key = attributes[i]?.key;
    for (let j = 0; j < i; j++) if (attributes[j]?.key === key) return true;
  }
  return false;
}

function joined(parts: readonly Uint8Array[]): Uint8Array {
  return parts.length > 1 ? Buffer.concat(parts) : (parts[0] ?? NO_BYTES);
}
