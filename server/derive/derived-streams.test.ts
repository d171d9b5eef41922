import assert from "node:assert/strict";
import { test } from "node:test";
import { SPAN_KINDS, SPAN_STATUSES, type SpanBatch } from "../model/span-batch.ts";
import { DerivedStreams } from "./derived-streams.ts";
import type { MinuteRow } from "./edge-series.ts";
import { EDGE_WAIT_MS } from "./graph.ts";
import { RED_BOUNDS } from "./red.ts";
import { batchOf, START_MS, sampleMap, type TestSpan } from "./test-spans.ts";

const END_MS = START_MS + 10_000_000;

function generator(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

/** Calls between services, with lost sides, roots, duplicates and databases. */
function someSpans(pick: (below: number) => number, calls: number, firstId: number): TestSpan[] {
  const spans: TestSpan[] = [];
  for (let call = 0; call < calls; call++) {
    const id = BigInt(firstId + call * 10);
    const status = pick(4) === 0 ? 2 : pick(2);
    const weight = 1 + pick(2) * pick(5);
    const durationMs = pick(3) === 0 ? pick(20_000) : pick(2_000_000) / 1e6;
    const common = { weight, status, name: `GET /${pick(5)}`, source: pick(3) * 2 === 4 ? 5 : 2, traceIdLow: id };
    const attributes = pick(8) === 0 ? { "db.system": "redis", "server.address": "r1" } : {};
    if (pick(8) > 0) spans.push({ ...common, service: `c${pick(3)}`, kind: 3, spanId: id, durationMs, attributes });
    if (pick(8) > 0) {
      const parentSpanId = pick(6) === 0 ? 0n : id;
      const duplicateOf = pick(10) === 0 ? id + 9n : 0n;
      spans.push({
        ...common,
        service: `s${pick(3)}`,
        kind: 2,
        spanId: id + 1n,
        parentSpanId,
        durationMs,
        duplicateOf,
      });
    }
    if (pick(3) === 0) spans.push({ ...common, service: `s${pick(3)}`, kind: pick(2), spanId: id + 2n, durationMs });
  }
  return spans;
}

/** Gives up on what waited too long, over a store that holds nothing. */
function expire(streams: DerivedStreams, nowMs: number): void {
  streams.expire(nowMs);
  const none = { batch: batchOf([]), sequences: new Float64Array(0), arrivedMs: new Float64Array(0) };
  for (let late = streams.takeLate(100); late.length > 0; late = streams.takeLate(100)) {
    streams.settleLate(late, none, nowMs);
  }
}

function finalSamples(streams: DerivedStreams): Map<string, number> {
  expire(streams, END_MS);
  for (const cadence of streams.zeros(END_MS).cadences) cadence.zeroed = true;
  return sampleMap(streams.samples(END_MS + 60_000));
}

function minuteTotals(rows: readonly MinuteRow[]): Record<string, number[]> {
  const totals: Record<string, number[]> = {};
  for (const { client, server, connectionType, requests, errors, serverBuckets, clientBuckets } of rows) {
    const sum = totals[`${client} ${server} ${connectionType}`] ?? [0, 0, 0, 0];
    const add = [requests, errors, ...[serverBuckets, clientBuckets].map((b) => b.reduce((n, [, c]) => n + c, 0))];
    totals[`${client} ${server} ${connectionType}`] = sum.map((value, at) => value + (add[at] ?? 0));
  }
  return Object.fromEntries(Object.entries(totals).sort(([a], [b]) => (a < b ? -1 : 1)));
}

test("RED equals a brute-force count", () => {
  const pick = generator(3);
  const streams = new DerivedStreams();
  const want = new Map<string, { calls: number; sumMs: number; below: number[] }>();
  for (let sequence = 1; sequence <= 50; sequence++) {
    const spans = someSpans(pick, pick(40), sequence * 10_000);
    streams.observe(batchOf(spans), sequence, START_MS);
    for (const { service, name = "", kind = 0, status = 0, weight = 1, durationMs = 0, duplicateOf = 0n } of spans) {
      if (duplicateOf !== 0n) continue;
      const kindLabel = `SPAN_KIND_${SPAN_KINDS[kind]?.toUpperCase()}`;
      const statusLabel = `STATUS_CODE_${SPAN_STATUSES[status]?.toUpperCase()}`;
      const labels = `service="${service}",span_kind="${kindLabel}",span_name="${name}",status_code="${statusLabel}"`;
      const counted = want.get(labels) ?? { calls: 0, sumMs: 0, below: RED_BOUNDS.le.map(() => 0) };
      want.set(labels, counted);
      counted.calls += weight;
      counted.sumMs += durationMs * weight;
      for (const [at, le] of RED_BOUNDS.le.entries()) {
        if (durationMs / 1000 <= Number(le.replace("+Inf", "Infinity"))) {
          counted.below[at] = (counted.below[at] ?? 0) + weight;
        }
      }
    }
  }
  const got = finalSamples(streams);
  assert.equal([...got.keys()].filter((key) => key.startsWith("traces_spanmetrics_calls_total")).length, want.size);
  for (const [labels, { calls, sumMs, below }] of want) {
    assert.equal(got.get(`traces_spanmetrics_calls_total{${labels}}`), calls, labels);
    assert.equal(got.get(`traces_spanmetrics_latency_count{${labels}}`), calls);
    const sum = got.get(`traces_spanmetrics_latency_sum{${labels}}`) ?? 0;
    assert.ok(Math.abs(sum - sumMs / 1000) < 1e-6 * Math.max(1, sum), labels);
    for (const [at, le] of RED_BOUNDS.le.entries()) {
      assert.equal(got.get(`traces_spanmetrics_latency_bucket{le="${le}",${labels}}`), below[at], `${labels} ${le}`);
    }
  }
  assert.deepEqual(RED_BOUNDS.le.slice(0, 3).concat(RED_BOUNDS.le.slice(-2)), [
    "0.002",
    "0.004",
    "0.008",
    "16.384",
    "+Inf",
  ]);
});

test("names beyond the limit share an overflow series of their service", () => {
  const streams = new DerivedStreams({ red: { seriesMax: 10, perServiceMax: 4 } });
  const spans = Array.from({ length: 40 }, (_, n) => ({ service: `s${n % 4}`, kind: 2, name: `GET /${n}` }));
  streams.observe(batchOf(spans), 1, START_MS);
  streams.observe(batchOf([{ service: "a".repeat(5000), kind: 2, name: "b".repeat(5000) }]), 2, START_MS);
  const got = finalSamples(streams);
  const calls = [...got].filter(([series]) => series.startsWith("traces_spanmetrics_calls_total"));
  assert.equal(
    calls.reduce((sum, [, value]) => sum + value, 0),
    41,
  );
  assert.ok(calls.length <= 10 + 5);
  assert.equal(
    streams.red.overflow().reduce((sum, { calls: count }) => sum + count, 0),
    41 - 10,
  );
  assert.ok(calls.every(([series]) => series.length < 2300));
});

test("a crash at any commit, then restore and replay, gives the totals of a run without one", () => {
  for (let seed = 1; seed <= 12; seed++) {
    const pick = generator(seed * 977);
    const commits: { batch: SpanBatch; atMs: number }[] = [];
    let atMs = START_MS;
    for (let n = 0; n < 25; n++) {
      const spans = someSpans(pick, 12, n * 1000);
      const cut = pick(spans.length + 1);
      // Sides of one call may come in different commits, well within the wait.
      commits.push({ batch: batchOf(spans.slice(0, cut)), atMs });
      commits.push({ batch: batchOf(spans.slice(cut)), atMs: atMs + 500 });
      atMs += EDGE_WAIT_MS / 2;
    }
    const whole = new DerivedStreams();
    for (const [at, { batch, atMs: nowMs }] of commits.entries()) {
      whole.observe(batch, at + 1, nowMs);
      expire(whole, nowMs);
    }
    const want = finalSamples(whole);
    const wantMinutes = minuteTotals(whole.takeRows().edges);

    let streams = new DerivedStreams();
    let saved: { sequence: number; state: Uint8Array } | undefined;
    const stored: MinuteRow[] = [];
    for (const [at, { batch, atMs: nowMs }] of commits.entries()) {
      streams.observe(batch, at + 1, nowMs);
      expire(streams, nowMs);
      if (pick(3) === 0) {
        stored.push(...streams.takeRows().edges);
        saved = streams.snapshot();
      }
      if (pick(4) === 0) {
        streams = new DerivedStreams();
        if (saved !== undefined) streams.restore(saved.state, nowMs);
        assert.equal(streams.sequence, saved?.sequence ?? 0);
        for (let again = streams.sequence; again <= at; again++) {
          const commit = commits[again];
          if (commit !== undefined) streams.observe(commit.batch, again + 1, nowMs);
        }
      }
    }
    assert.deepEqual(finalSamples(streams), want, `seed ${seed}`);
    stored.push(...streams.takeRows().edges);
    assert.deepEqual(minuteTotals(stored), wantMinutes, `seed ${seed}`);
  }
});

test("damaged state is refused, whole state is not", () => {
  const streams = new DerivedStreams();
  streams.observe(batchOf(someSpans(generator(5), 30, 1)), 1, START_MS);
  const { state } = streams.snapshot();
  assert.throws(() => new DerivedStreams().restore(state.subarray(0, state.length - 3), START_MS));
  assert.throws(() => new DerivedStreams().restore(Uint8Array.of(99, ...state), START_MS), RangeError);
  const restored = new DerivedStreams();
  restored.restore(state, START_MS);
  assert.deepEqual(restored.snapshot().state, state);
});

test("a series begins with zeros, then is written when it changed, and otherwise within a minute", () => {
  const streams = new DerivedStreams();
  assert.equal(streams.observe(batchOf([{ service: "a", kind: 2, source: 0 }]), 1, START_MS), true);
  const { samples, cadences } = streams.zeros(START_MS + 700);
  assert.ok(samples.length > 0);
  assert.ok(samples.every(({ value, histogram }) => (histogram?.count ?? value) === 0));
  assert.ok(samples.every(({ timestampMs }) => timestampMs === START_MS - 1));
  assert.deepEqual(streams.samples(START_MS + 700), [], "no value before its zero is stored");
  for (const cadence of cadences) cadence.zeroed = true;
  const first = streams.samples(START_MS + 700);
  assert.equal(first.length, samples.length);
  assert.deepEqual(streams.samples(START_MS + 5000), []);
  assert.equal(streams.samples(START_MS + 55_000).length, first.length);
  assert.equal(streams.observe(batchOf([{ service: "a", kind: 2, source: 0 }]), 2, START_MS + 56_000), false);
  assert.equal(streams.samples(START_MS + 57_000).length, first.length);
});

test("series of many names and edges begin in portions, each once, and have values only from then on", () => {
  const streams = new DerivedStreams();
  streams.observe(batchOf(someSpans(generator(3), 60, 1)), 1, START_MS);
  streams.expire(END_MS);
  const all = streams.zeros(END_MS);
  const begun: typeof all.samples = [];
  for (let rounds = 1; ; rounds++) {
    const { samples, cadences } = streams.zeros(END_MS, 3);
    begun.push(...samples);
    for (const cadence of cadences) cadence.zeroed = true;
    if (cadences.length === 3) continue;
    assert.equal(rounds, Math.floor(all.cadences.length / 3) + 1);
    break;
  }
  assert.ok(all.cadences.length > 6);
  assert.deepEqual(begun, all.samples);
  assert.deepEqual(streams.zeros(END_MS), { samples: [], cadences: [] });
  assert.equal(streams.samples(END_MS).length, all.samples.length);
});

test("rows that could not be stored are given back whole", () => {
  const streams = new DerivedStreams();
  streams.observe(batchOf(someSpans(generator(9), 60, 1)), 1, START_MS);
  streams.expire(END_MS);
  const linked = { service: "a", kind: 2, source: 0, linksTo: [[7n, 1n]] } as const;
  streams.observe(batchOf([linked, { ...linked, source: 2, linksTo: [[8n, 1n]] }]), 2, START_MS);
  const taken = streams.takeRows();
  assert.deepEqual(taken.aliases, [{ alias: [1n, 1n], trace: [1n, 7n] }]);
  assert.deepEqual(streams.takeRows(), { edges: [], aliases: [] });
  streams.giveBack(taken, END_MS);
  const again = streams.takeRows();
  assert.deepEqual(minuteTotals(again.edges), minuteTotals(taken.edges));
  assert.deepEqual(again.aliases, taken.aliases);
});
