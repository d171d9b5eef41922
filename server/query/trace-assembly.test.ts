import assert from "node:assert/strict";
import { test } from "node:test";
import { KIND_CLIENT, KIND_INTERNAL, KIND_SERVER } from "../model/span-batch.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import { assembledSpans, assembleTrace, type SpanPlace } from "./trace-assembly.ts";

const BASE_NS = 1_768_478_400_000_000_000n;

type Short = Partial<StoredSpan> & { readonly from: number; readonly to: number };

function span(id: string, parent: string, { from, to, ...more }: Short): StoredSpan {
  return {
    traceId: "1".repeat(32),
    spanId: id,
    parentSpanId: parent,
    service: "a",
    instance: "",
    name: id,
    kind: KIND_INTERNAL,
    status: 0,
    statusMessage: "",
    startNs: BASE_NS + BigInt(from),
    endNs: BASE_NS + BigInt(to),
    source: "otlp",
    linkReason: "",
    traceState: "",
    flags: 0,
    scopeName: "",
    scopeVersion: "",
    scopeRest: "",
    resourceRest: "",
    resource: [],
    attributes: [],
    events: new Uint8Array(0),
    links: new Uint8Array(0),
    ...more,
  };
}

/** Runs all steps; tells the longest in milliseconds. */
function run<T>(work: Generator<void, T>): { value: T; longestMs: number } {
  let longestMs = 0;
  for (;;) {
    const from = performance.now();
    const step = work.next();
    longestMs = Math.max(longestMs, performance.now() - from);
    if (step.done === true) return { value: step.value, longestMs };
  }
}

function places(spans: readonly StoredSpan[]): Map<string, SpanPlace> {
  const { value } = run(assembleTrace(spans));
  return new Map(spans.map(({ name }, at) => [name, value[at] as SpanPlace]));
}

test("own time is what no child covers; the critical path is what the root waited for", () => {
  const found = places([
    span("root", "", { from: 0, to: 100 }),
    span("early", "root", { from: 10, to: 40 }),
    span("beside", "root", { from: 20, to: 50 }),
    span("late", "root", { from: 60, to: 90 }),
    span("deep", "late", { from: 65, to: 70 }),
    span("async", "root", { from: 95, to: 300 }),
  ]);
  const numbers = [...found].map(([name, { selfNs, criticalNs }]) => [name, selfNs, criticalNs]);
  assert.deepEqual(numbers, [
    ["root", 100 - 40 - 30 - 5, 5 + 10 + 20],
    ["early", 30, 0],
    ["beside", 30, 30],
    ["late", 25, 25],
    ["deep", 5, 5],
    ["async", 205, 5],
  ]);
});

test("a parent that is not there is told, and a loop is cut at its first span", () => {
  const found = places([
    span("orphan", "gone", { from: 0, to: 5 }),
    span("x", "z", { from: 1, to: 9 }),
    span("y", "x", { from: 2, to: 8 }),
    span("z", "y", { from: 3, to: 7 }),
    span("tail", "z", { from: 4, to: 5 }),
    span("self", "self", { from: 5, to: 6 }),
  ]);
  assert.equal(found.get("orphan")?.isParentMissing, true);
  assert.deepEqual(
    [...found].map(([, { parent, isLoopBroken }]) => [parent, isLoopBroken]),
    [
      [-1, false],
      [-1, true],
      [1, false],
      [2, false],
      [3, false],
      [-1, true],
    ],
  );
  const { value } = run(assembledSpans([span("self", "self", { from: 5, to: 6 })]));
  assert.equal(value[0]?.parentSpanId, "");
  assert.deepEqual(value[0]?.attributes.at(-1), { key: "thalweg.loop_parent_span_id", kind: "s", value: "self" });
});

test("two sides of a call that share an id: the server is under the client, children are under the server", () => {
  const found = places([
    span("1", "", { from: 0, to: 10, name: "client", kind: KIND_CLIENT, service: "a" }),
    span("1", "", { from: 1, to: 9, name: "server", kind: KIND_SERVER, service: "b" }),
    span("2", "1", { from: 2, to: 8, name: "child", service: "b" }),
  ]);
  assert.deepEqual(
    [...found].map(([, { parent }]) => parent),
    [-1, 0, 1],
  );
});

test("clocks: what answers a call is moved into it by the least, with all that is under it", () => {
  const call = span("call", "", { from: 0, to: 100, kind: KIND_CLIENT });
  const served = (from: number, to: number, more: Partial<StoredSpan> = {}) => [
    call,
    span("served", "call", { from, to, kind: KIND_SERVER, service: "b", ...more }),
    span("inside", "served", { from: from + 1, to: to - 1, service: "b", ...more }),
  ];
  const shifts = (spans: StoredSpan[]) => [...places(spans)].slice(1).map(([, { shiftNs }]) => shiftNs);
  assert.deepEqual(shifts(served(-500, -450)), [500, 500]);
  assert.deepEqual(shifts(served(990, 1040)), [-940, -940]);
  assert.deepEqual(shifts(served(20, 60)), [0, 0]);
  assert.deepEqual(shifts(served(20, 600)), [0, 0], "it took longer than the client waited");
  assert.deepEqual(shifts(served(-20, 600)), [20, 20]);
  const host = [{ key: "host.name", kind: "s", value: "h" }] as const;
  assert.deepEqual(shifts(served(-500, -450, { service: "a" })), [0, 0], "one process has one clock");
  const [first, ...rest] = served(-500, -450, { resource: host });
  assert.deepEqual(shifts([{ ...(first ?? call), resource: host }, ...rest]), [0, 0], "one host has one clock");
  const other = [{ key: "host.name", kind: "s", value: "i" }] as const;
  const captured = (resource: StoredSpan["resource"]) => {
    const [above, ...below] = served(-500, -450, { source: "ebpf", resource });
    return [{ ...(above ?? call), source: "ebpf", resource: host }, ...below];
  };
  assert.deepEqual(shifts(captured(host)), [0, 0], "one kernel has one clock");
  assert.deepEqual(shifts(captured(other)), [500, 500], "the kernels of two hosts have two");
  const { value } = run(assembledSpans(served(-500, -450)));
  assert.deepEqual(
    value.map(({ startNs, endNs }) => [Number(startNs - BASE_NS), Number(endNs - BASE_NS)]),
    [
      [0, 100],
      [0, 50],
      [1, 49],
    ],
  );
});

test("random trees: critical paths add up to the roots, own times fit", () => {
  let state = 7;
  const pick = (below: number) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
  for (let round = 0; round < 200; round++) {
    const spans = Array.from({ length: 1 + pick(40) }, (_, at) => {
      const from = pick(1000);
      return span(String(at), pick(5) === 0 ? "" : String(pick(45)), { from, to: from + pick(500) });
    });
    spans.sort((a, b) => Number(a.startNs - b.startNs));
    const { value } = run(assembleTrace(spans));
    const rootOf = (at: number): number => (value[at]?.parent === -1 ? at : rootOf(value[at]?.parent ?? -1));
    const sums = new Map<number, number>();
    for (const [at, { criticalNs, selfNs }] of value.entries()) {
      sums.set(rootOf(at), (sums.get(rootOf(at)) ?? 0) + criticalNs);
      const took = Number((spans[at]?.endNs ?? 0n) - (spans[at]?.startNs ?? 0n));
      assert.ok(selfNs >= 0 && selfNs <= took && criticalNs >= 0);
    }
    for (const [root, sum] of sums) {
      assert.equal(sum, Number((spans[root]?.endNs ?? 0n) - (spans[root]?.startNs ?? 0n)));
    }
  }
});

test("100,000 spans, in a chain, under one parent, and in one loop, take bounded steps", () => {
  const shapes: ((at: number) => string)[] = [
    (at) => (at === 0 ? "" : String(at - 1)),
    (at) => (at === 0 ? "" : "0"),
    (at) => String((at + 99_999) % 100_000),
  ];
  for (const parentOf of shapes) {
    const spans = Array.from({ length: 100_000 }, (_, at) =>
      span(String(at), parentOf(at), { from: at, to: 300_000 - at }),
    );
    const from = performance.now();
    const { value, longestMs } = run(assembledSpans(spans));
    assert.equal(value.length, spans.length);
    assert.equal(value.filter(({ parentSpanId }) => parentSpanId === "").length, 1);
    const tookMs = performance.now() - from;
    assert.ok(tookMs < 10_000 && longestMs < 2_000, `${tookMs} ms, longest step ${longestMs} ms`);
  }
});
