import assert from "node:assert/strict";
import { test } from "node:test";
import { batchOf, type TestSpan } from "../derive/test-spans.ts";
import { KIND_CLIENT, KIND_SERVER, type SpanBatch } from "../model/span-batch.ts";
import { CallTwins, type TwinClaim } from "./call-twins.ts";

const EBPF = 0;
const HOLD_MS = 7_000;

/** Front calls back; both programs have an SDK, and the agent sees both sides. */
const ownClient: TestSpan = { service: "front", kind: KIND_CLIENT, spanId: 100n };
const ownServer: TestSpan = { service: "back", kind: KIND_SERVER, spanId: 200n, parentSpanId: 100n };
const carried = { source: EBPF, linkReason: "traceparent", parentSpanId: 100n, clientPort: 4000, pid: 77 };
const agentClient: TestSpan = { ...carried, service: "front", kind: KIND_CLIENT, spanId: 1n };
const agentServer: TestSpan = { ...carried, service: "back", kind: KIND_SERVER, spanId: 2n };

/** Stores what is claimed and tells span ids with what they duplicate. */
function stored(claim: ReturnType<CallTwins["claimOwn"]>, ok = true): [bigint, bigint][] {
  assert.equal(claim.kind, "claimed");
  if (claim.kind !== "claimed") return [];
  claim.settle(ok);
  return rowsOf(claim.batch);
}

function rowsOf({ rows, spanId, duplicateOf }: SpanBatch): [bigint, bigint][] {
  return Array.from({ length: rows }, (_, row) => [spanId[row] ?? 0n, duplicateOf[row] ?? 0n]);
}

function released(twins: CallTwins, nowMs: number): [bigint, bigint][] {
  return twins.release(nowMs, false).flatMap((claim: TwinClaim) => stored(claim));
}

/** A call of another trace, after which front and back are known to send spans of their own. */
function acquaint(twins: CallTwins): void {
  const other = { traceIdLow: 9n };
  stored(
    twins.claimOwn(
      batchOf([
        { ...ownClient, ...other },
        { ...ownServer, ...other },
      ]),
      0,
    ),
  );
}

test("the program's spans come first: what the agent saw of their call is stored at once, as their duplicates", () => {
  const twins = new CallTwins();
  stored(twins.claimOwn(batchOf([ownClient, ownServer]), 0));
  assert.deepEqual(stored(twins.claimAgent(batchOf([agentClient, agentServer]), 10)), [
    [1n, 100n],
    [2n, 200n],
  ]);
  assert.deepEqual(twins.counts, { program: 2, agent: 0 });
  assert.equal(twins.held, 0);
});

test("of programs known to send spans, the agent's are held until the twins are stored", () => {
  const twins = new CallTwins();
  acquaint(twins);
  const plain: TestSpan = { service: "front", kind: KIND_SERVER, spanId: 3n, source: EBPF };
  assert.deepEqual(stored(twins.claimAgent(batchOf([agentClient, plain, agentServer]), 10)), [[3n, 0n]]);
  assert.equal(twins.held, 2);
  assert.deepEqual(released(twins, 20), []);
  const claim = twins.claimOwn(batchOf([ownClient, ownServer]), 5_000);
  assert.deepEqual(released(twins, 5_000), [], "the twins' commit is under way");
  stored(claim);
  assert.deepEqual(released(twins, 5_001), [
    [1n, 100n],
    [2n, 200n],
  ]);
  assert.deepEqual([twins.held, twins.counts], [0, { program: 2, agent: 0 }]);
});

test("a twin whose commit fails leaves the agent's span waiting, and then counted", () => {
  const twins = new CallTwins();
  acquaint(twins);
  stored(twins.claimAgent(batchOf([agentClient]), 10));
  stored(twins.claimOwn(batchOf([ownClient]), 20), false);
  assert.deepEqual(released(twins, 30), []);
  assert.deepEqual(released(twins, 10 + HOLD_MS), [[1n, 0n]]);
  assert.deepEqual({ ...twins.givenUp }, { timeout: 1, full: 0 });
  assert.deepEqual(stored(twins.claimOwn(batchOf([ownClient]), HOLD_MS + 20)), [[100n, 1n]]);
});

test("a twin under way when the agent's span comes is waited for", () => {
  const twins = new CallTwins();
  const claim = twins.claimOwn(batchOf([ownServer]), 0);
  assert.deepEqual(stored(twins.claimAgent(batchOf([agentServer]), 1)), []);
  assert.deepEqual(released(twins, 2), []);
  stored(claim);
  assert.deepEqual(released(twins, 3), [[2n, 200n]]);
});

test("of programs not known, the agent's spans count at once, and the later twins are their duplicates", () => {
  const twins = new CallTwins();
  assert.deepEqual(stored(twins.claimAgent(batchOf([agentClient, agentServer]), 0)), [
    [1n, 0n],
    [2n, 0n],
  ]);
  assert.deepEqual(stored(twins.claimOwn(batchOf([ownClient, ownServer]), 5_000)), [
    [100n, 1n],
    [200n, 2n],
  ]);
  assert.deepEqual(twins.counts, { program: 0, agent: 2 });
  // A duplicate counts for nobody else.
  assert.deepEqual(stored(twins.claimAgent(batchOf([{ ...agentServer, spanId: 4n }]), 5_001)), []);
  assert.deepEqual(released(twins, 5_001 + HOLD_MS), [[4n, 0n]]);
});

test("while the agent's commit is not decided, its twin waits; where it fails, the twin counts", () => {
  for (const ok of [true, false]) {
    const twins = new CallTwins();
    const claim = twins.claimAgent(batchOf([agentServer]), 0);
    assert.equal(twins.claimOwn(batchOf([ownServer]), 1).kind, "undecided");
    stored(claim, ok);
    assert.deepEqual(stored(twins.claimOwn(batchOf([ownServer]), 2)), [[200n, ok ? 2n : 0n]]);
  }
});

test("programs are told apart by name or process; calls by trace, id and side", () => {
  const others: TestSpan[] = [
    { ...ownServer, service: "proxy" },
    { ...ownServer, traceIdLow: 5n },
    { ...ownServer, parentSpanId: 101n },
    { ...ownServer, kind: KIND_CLIENT, spanId: 100n },
    { ...ownServer, parentSpanId: 0n },
  ];
  for (const other of others) {
    const twins = new CallTwins();
    stored(twins.claimOwn(batchOf([other]), 0));
    const agents = stored(twins.claimAgent(batchOf([agentServer]), 10));
    agents.push(...released(twins, 10 + HOLD_MS));
    assert.deepEqual(agents, [[2n, 0n]]);
    assert.equal(twins.counts.program, 0);
  }
});

test("a process id joins programs that the agent names otherwise", () => {
  const twins = new CallTwins();
  const batch = batchOf([{ ...ownServer, service: "unknown_service:node" }]);
  const named = (pid: string): SpanBatch => ({
    ...batch,
    resources: batch.resources.map((resource) => ({
      ...resource,
      attributes: [{ key: "process.pid", kind: "i", value: pid }, ...resource.attributes],
    })),
  });
  stored(twins.claimOwn(named("77"), 0));
  assert.deepEqual(stored(twins.claimAgent(batchOf([agentServer]), 1)), [[2n, 200n]]);
});

test("attempts: one client span stands for each, one server span for the nearest", () => {
  const twins = new CallTwins();
  acquaint(twins);
  const attempts = [agentClient, { ...agentClient, spanId: 3n, startMs: 50 }];
  const answers = [agentServer, { ...agentServer, spanId: 4n, startMs: 50 }];
  stored(twins.claimAgent(batchOf([...attempts, ...answers]), 0));
  stored(twins.claimOwn(batchOf([ownClient, { ...ownServer, startMs: 51 }]), 1));
  assert.deepEqual(released(twins, 2), [
    [1n, 100n],
    [3n, 100n],
    [4n, 200n],
  ]);
  assert.deepEqual(released(twins, HOLD_MS), [[2n, 0n]]);
});

test("no more rows are held than the limit, and all are released in the end", () => {
  const twins = new CallTwins({ heldMax: 10 });
  acquaint(twins);
  const ids = (from: number) => Array.from({ length: 8 }, (_, at) => ({ ...agentClient, spanId: BigInt(from + at) }));
  stored(twins.claimAgent(batchOf(ids(1000)), 0));
  stored(twins.claimAgent(batchOf(ids(2000)), 1));
  assert.equal(released(twins, 2).length, 8);
  assert.deepEqual({ ...twins.givenUp }, { timeout: 0, full: 8 });
  assert.equal(twins.release(3, true).flatMap((claim) => stored(claim)).length, 8);
  assert.equal(twins.held, 0);
});

test("while no calls carry ids, programs' batches pass as they are, and are looked through later", () => {
  const twins = new CallTwins();
  const batches = Array.from({ length: 40 }, (_, at) =>
    batchOf(Array.from({ length: 1_000 }, (_, row) => ({ ...ownClient, spanId: BigInt(at * 1_000 + row + 1) }))),
  );
  for (const batch of batches) {
    const claim = twins.claimOwn(batch, 0);
    assert.ok(claim.kind === "claimed" && claim.batch === batch);
    claim.settle(true);
  }
  const newest = { ...agentClient, parentSpanId: 40_000n };
  assert.deepEqual(stored(twins.claimAgent(batchOf([newest]), 1)), [[1n, 40_000n]]);
});
