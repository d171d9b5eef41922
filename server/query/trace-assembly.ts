/**
 * A trace put together: who is under whom, own time and critical path, and clocks that disagree.
 *
 * Invariants: every span is in exactly one tree; a tree's root has no parent in the trace, or was cut out of a loop; the
 * critical path of a tree adds up to the duration of its root; own times are at most durations. Time is
 * n · log n, memory some hundred bytes a span; the work is done in steps, so that other work can be done between them.
 */

import { type Attribute, KIND_CLIENT, KIND_SERVER } from "../model/span-batch.ts";
import { readLinks } from "../model/span-links.ts";
import type { StoredSpan } from "../model/stored-span.ts";

/** Spans looked at between two steps: some milliseconds. */
const STEP_SPANS = 4_096;

/** Parents above a linked span that are followed; in a loop there is no end of them. */
const ROOT_STEPS_MAX = 10_000;

/** What assembly says of one span. Nanoseconds are exact up to 104 days. */
export interface SpanPlace {
  /** Index of the parent among the spans; -1 for a root. */
  readonly parent: number;
  /** It names a parent that is not among the spans. */
  readonly isParentMissing: boolean;
  /** Its parents lead back to it; it stands as a root. */
  readonly isLoopBroken: boolean;
  /** Added to start and end, the least that makes it begin, and where it answers a call end, within its parent's time. */
  readonly shiftNs: number;
  /** Time in which none of its children ran. */
  readonly selfNs: number;
  /** Its own part of the critical path: the time its tree waited for it and for none of its children. */
  readonly criticalNs: number;
}

interface Tree {
  readonly spans: readonly StoredSpan[];
  readonly parents: Int32Array;
  readonly flags: Uint8Array;
  /** Relative to the first start of the trace. */
  readonly starts: Float64Array;
  readonly ends: Float64Array;
  readonly shifts: Float64Array;
  readonly self: Float64Array;
  readonly critical: Float64Array;
}

/** Children of span `at` are `list[from[at]]` to `list[from[at + 1] - 1]`. */
interface Children {
  readonly from: Int32Array;
  readonly list: Int32Array;
}

const PARENT_MISSING = 1;
const LOOP_BROKEN = 2;

/** Assembles spans of one trace, in order of start. Returns the places in the order of the spans. */
export function* assembleTrace(spans: readonly StoredSpan[]): Generator<void, SpanPlace[]> {
  const count = spans.length;
  const tree: Tree = {
    spans,
    parents: new Int32Array(count).fill(-1),
    flags: new Uint8Array(count),
    starts: new Float64Array(count),
    ends: new Float64Array(count),
    shifts: new Float64Array(count),
    self: new Float64Array(count),
    critical: new Float64Array(count),
  };
  yield* findParents(tree);
  yield* breakLoops(tree);
  const children = yield* childrenOf(tree);
  const order = yield* topDown(tree, children);
  yield* shiftClocks(tree, order);
  yield* measure(tree, order, children);
  const places: SpanPlace[] = [];
  for (let at = 0; at < count; at++) {
    if (at % STEP_SPANS === 0) yield;
    places.push(placeOf(tree, at));
  }
  return places;
}

function* findParents({ spans, parents, flags, starts, ends }: Tree): Generator<void> {
  const byId = new Map<string, number | number[]>();
  const base = spans[0]?.startNs ?? 0n;
  for (const [at, { spanId, startNs, endNs }] of spans.entries()) {
    starts[at] = Number(startNs - base);
    ends[at] = Math.max(Number(endNs - base), starts[at]);
    const known = byId.get(spanId);
    if (known === undefined) byId.set(spanId, at);
    else if (typeof known === "number") byId.set(spanId, [known, at]);
    else known.push(at);
    if (at % STEP_SPANS === 0) yield;
  }
  for (const [at, span] of spans.entries()) {
    if (at % STEP_SPANS === 0) yield;
    // As Zipkin has it, the two sides of a call may share an id: then the server is under the client.
    const shared = span.kind === KIND_SERVER ? byId.get(span.spanId) : undefined;
    const client = Array.isArray(shared) ? shared.find((other) => spans[other]?.kind === KIND_CLIENT) : undefined;
    if (client !== undefined) parents[at] = client;
    else if (span.parentSpanId !== "") {
      const found = byId.get(span.parentSpanId);
      if (found === undefined) flags[at] = PARENT_MISSING;
      else parents[at] = typeof found === "number" ? found : bestParent(spans, span, found);
    }
  }
  yield* joinTraces(spans, parents, byId);
}

/**
 * What the agent saw of a request links to a call that the request made in a trace of the program's own: the root of
 * that trace is under the request. Loops that come of it are broken later.
 */
function* joinTraces(
  spans: readonly StoredSpan[],
  parents: Int32Array,
  byId: ReadonlyMap<string, number | readonly number[]>,
): Generator<void> {
  for (const [at, span] of spans.entries()) {
    if (at % STEP_SPANS === 0) yield;
    if (span.links.length === 0 || !isKernel(span)) continue;
    for (const { span: word } of readLinks(span.links, 0, span.links.length)) {
      const found = byId.get(word.toReversed().map(hex8).join(""));
      // A link to itself tells that its trace has another id.
      if (found === at) continue;
      let root = typeof found === "object" ? found[0] : found;
      for (let steps = 0; root !== undefined && (parents[root] ?? -1) !== -1; steps++) {
        root = steps < ROOT_STEPS_MAX ? parents[root] : undefined;
      }
      if (root !== undefined && root !== at && spans[root]?.traceId !== span.traceId) parents[root] = at;
    }
  }
}

function hex8(word: number): string {
  return (word >>> 0).toString(16).padStart(8, "0");
}

/** Of several spans with the parent's id: one of the same service, else a server, in which children run. */
function bestParent(spans: readonly StoredSpan[], child: StoredSpan, candidates: readonly number[]): number {
  const few = candidates.slice(0, 16);
  const same = few.find((at) => spans[at]?.service === child.service && spans[at] !== child);
  return same ?? few.find((at) => spans[at]?.kind === KIND_SERVER) ?? few[0] ?? -1;
}

/** Of each loop the span that starts first becomes a root. */
function* breakLoops({ parents, flags, starts }: Tree): Generator<void> {
  // 0: not seen, -1: leads to a root, else the walk that saw it.
  const seen = new Int32Array(parents.length);
  for (let from = 0; from < parents.length; from++) {
    if (from % STEP_SPANS === 0) yield;
    let at = from;
    while (at !== -1 && seen[at] === 0) {
      seen[at] = from + 1;
      at = parents[at] ?? -1;
    }
    if (at !== -1 && seen[at] === from + 1) {
      let first = at;
      for (let other = parents[at] ?? -1; other !== at && other !== -1; other = parents[other] ?? -1) {
        if ((starts[other] ?? 0) < (starts[first] ?? 0)) first = other;
      }
      parents[first] = -1;
      flags[first] = (flags[first] ?? 0) | LOOP_BROKEN;
    }
    for (let done = from; done !== -1 && seen[done] === from + 1; done = parents[done] ?? -1) seen[done] = -1;
  }
}

function* childrenOf({ parents }: Tree): Generator<void, Children> {
  const from = new Int32Array(parents.length + 1);
  for (const parent of parents) if (parent !== -1) from[parent + 1] = (from[parent + 1] ?? 0) + 1;
  for (let at = 0; at < parents.length; at++) from[at + 1] = (from[at + 1] ?? 0) + (from[at] ?? 0);
  yield;
  const filled = from.slice();
  const list = new Int32Array(parents.length);
  for (const [at, parent] of parents.entries()) {
    if (parent === -1) continue;
    list[filled[parent] ?? 0] = at;
    filled[parent] = (filled[parent] ?? 0) + 1;
  }
  yield;
  return { from, list };
}

function childrenAt({ from, list }: Children, at: number): Int32Array {
  return list.subarray(from[at] ?? 0, from[at + 1] ?? 0);
}

/** Parents before their children. */
function* topDown({ parents }: Tree, children: Children): Generator<void, Int32Array> {
  const order = new Int32Array(parents.length);
  let count = 0;
  for (const [at, parent] of parents.entries()) if (parent === -1) order[count++] = at;
  for (let next = 0; next < count; next++) {
    for (const child of childrenAt(children, order[next] ?? 0)) order[count++] = child;
    if (next % STEP_SPANS === 0) yield;
  }
  return order;
}

function* shiftClocks({ spans, parents, starts, ends, shifts }: Tree, order: Int32Array): Generator<void> {
  for (const [step, at] of order.entries()) {
    if (step % STEP_SPANS === 0) yield;
    const parent = parents[at] ?? -1;
    const span = spans[at];
    const above = spans[parent];
    if (span === undefined || above === undefined) continue;
    let shift = shifts[parent] ?? 0;
    if (!hasOneClock(span, above)) {
      const answers = span.kind === KIND_SERVER && above.kind === KIND_CLIENT;
      const soonest = (starts[parent] ?? 0) - (starts[at] ?? 0);
      const latest = answers ? (ends[parent] ?? 0) - (ends[at] ?? 0) : Number.POSITIVE_INFINITY;
      // A server that took longer than its client waited ends when it wants to.
      shift = latest < soonest ? Math.max(0, soonest) : Math.min(Math.max(0, soonest), latest);
    }
    shifts[at] = shift;
    starts[at] = (starts[at] ?? 0) + shift;
    ends[at] = (ends[at] ?? 0) + shift;
  }
}

/** Whether two spans were timed by one clock: of one process, one host, or both by the kernel of one machine. */
function hasOneClock(a: StoredSpan, b: StoredSpan): boolean {
  if (a.service === b.service && a.instance === b.instance) return true;
  const host = hostOf(a);
  return host === hostOf(b) && (host !== "" || (isKernel(a) && isKernel(b)));
}

function isKernel({ source }: StoredSpan): boolean {
  return source === "ebpf" || source === "packet" || source === "replay";
}

function hostOf({ resource }: StoredSpan): string {
  return resource.find(({ key }) => key === "host.id" || key === "host.name")?.value ?? "";
}

/** Own times, and the critical path: back from the end of a root, always into the child that ended last. */
function* measure(tree: Tree, order: Int32Array, children: Children): Generator<void> {
  const { parents, starts, ends, self, critical } = tree;
  /** From when and until when each span on the path was waited for; `until` is NaN off the path. */
  const since = new Float64Array(order.length);
  const until = new Float64Array(order.length).fill(Number.NaN);
  let looked = 0;
  for (const at of order) {
    const start = starts[at] ?? 0;
    const end = ends[at] ?? 0;
    if (parents[at] === -1) {
      since[at] = start;
      until[at] = end;
    }
    const list = childrenAt(children, at);
    looked += 1 + list.length;
    if (looked >= STEP_SPANS) {
      looked = 0;
      yield;
    }
    if (list.length > 1) list.sort((a, b) => (ends[b] ?? 0) - (ends[a] ?? 0));
    self[at] = end - start - covered(tree, list, start, end);
    const asked = until[at] ?? Number.NaN;
    if (Number.isNaN(asked)) continue;
    const begun = since[at] ?? 0;
    let now = asked;
    let own = 0;
    for (const child of list) {
      const childEnd = Math.min(ends[child] ?? 0, asked);
      const childStart = Math.max(starts[child] ?? 0, begun);
      if (childEnd > now || childStart >= childEnd) continue;
      own += now - childEnd;
      since[child] = childStart;
      until[child] = childEnd;
      now = childStart;
    }
    critical[at] = own + now - begun;
  }
}

/** Time of `[start, end)` in which a child ran; `list` is by end, the last first. */
function covered({ starts, ends }: Tree, list: Int32Array, start: number, end: number): number {
  let sum = 0;
  let edge = end;
  for (const child of list) {
    const to = Math.min(ends[child] ?? 0, edge);
    const from = Math.max(starts[child] ?? 0, start);
    if (from >= to) continue;
    sum += to - from;
    edge = from;
  }
  return sum;
}

function placeOf({ parents, flags, shifts, self, critical }: Tree, at: number): SpanPlace {
  return {
    parent: parents[at] ?? -1,
    isParentMissing: ((flags[at] ?? 0) & PARENT_MISSING) !== 0,
    isLoopBroken: ((flags[at] ?? 0) & LOOP_BROKEN) !== 0,
    shiftNs: shifts[at] ?? 0,
    selfNs: self[at] ?? 0,
    criticalNs: critical[at] ?? 0,
  };
}

/**
 * Spans with their places as attributes, and shifted to where clocks agree.
 *
 * `thalweg.self_time_ns` and `thalweg.critical_path_ns` always; `thalweg.parent_missing`, `thalweg.clock_shift_ns` and
 * `thalweg.loop_parent_span_id`, the parent that was taken away, where there is such.
 */
export function* assembledSpans(spans: readonly StoredSpan[]): Generator<void, StoredSpan[]> {
  const places = yield* assembleTrace(spans);
  const assembled: StoredSpan[] = [];
  for (const [at, span] of spans.entries()) {
    if (at % STEP_SPANS === 0) yield;
    const place = places[at];
    if (place === undefined) continue;
    const { shiftNs, selfNs, criticalNs, isLoopBroken, isParentMissing } = place;
    const attributes: Attribute[] = [
      ...span.attributes,
      { key: "thalweg.self_time_ns", kind: "i", value: String(selfNs) },
      { key: "thalweg.critical_path_ns", kind: "i", value: String(criticalNs) },
    ];
    if (isParentMissing) attributes.push({ key: "thalweg.parent_missing", kind: "b", value: "true" });
    if (shiftNs !== 0) attributes.push({ key: "thalweg.clock_shift_ns", kind: "i", value: String(shiftNs) });
    if (isLoopBroken) attributes.push({ key: "thalweg.loop_parent_span_id", kind: "s", value: span.parentSpanId });
    assembled.push({
      ...span,
      parentSpanId: isLoopBroken ? "" : span.parentSpanId,
      startNs: span.startNs + BigInt(shiftNs),
      endNs: span.endNs + BigInt(shiftNs),
      attributes,
    });
  }
  return assembled;
}
