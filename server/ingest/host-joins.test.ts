import assert from "node:assert/strict";
import { test } from "node:test";
import {
  hashId,
  ID_CLIENT_SPAN,
  ID_SERVER_SPAN,
  ID_TRACE_HIGH,
  ID_TRACE_LOW,
  type Lanes,
  SEQUENCES_KEY,
} from "../model/message-ids.ts";
import { KIND_CLIENT, KIND_SERVER, type SpanBatch } from "../model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder, type SpanToAppend } from "../model/span-batch-builder.ts";
import { readLinks } from "../model/span-links.ts";
import { textReader } from "../model/text-table.ts";
import { HostJoins } from "./host-joins.ts";

/** A message by a number; both ends compute its ids. */
function idOf(message: number, purpose: number): bigint {
  const out: Lanes = { high: 0, low: 0 };
  hashId(message, ~message, purpose, out);
  return (BigInt(out.high >>> 0) << 32n) | BigInt(out.low >>> 0);
}

const clientId = (message: number) => idOf(message, ID_CLIENT_SPAN);
const serverId = (message: number) => idOf(message, ID_SERVER_SPAN);
const traceId = (message: number) => ({
  traceIdHigh: idOf(message, ID_TRACE_HIGH),
  traceIdLow: idOf(message, ID_TRACE_LOW),
});

/** The server's end of a message whose client was not seen: the root of a trace of its own. */
const server = (message: number, sequences = ""): Partial<SpanToAppend> => ({
  ...traceId(message),
  spanId: serverId(message),
  kind: KIND_SERVER,
  name: "GET /",
  attributes: sequences === "" ? [] : [{ key: SEQUENCES_KEY, kind: "s", value: sequences }],
});

/** A call made inside of the request `inside`, in the trace that began with the message `root`. */
const call = (message: number, inside: number, root = inside, sequences = ""): Partial<SpanToAppend> => ({
  ...traceId(root),
  spanId: clientId(message),
  parentSpanId: serverId(inside),
  linkReason: "thread",
  kind: KIND_CLIENT,
  name: "GET /",
  attributes: sequences === "" ? [] : [{ key: SEQUENCES_KEY, kind: "s", value: sequences }],
});

/** A call that begins a trace. */
const first = (message: number, sequences = ""): Partial<SpanToAppend> => ({
  ...call(message, 0, message, sequences),
  parentSpanId: 0n,
  linkReason: "",
});

function batchOf(...spans: Partial<SpanToAppend>[]): SpanBatch {
  const builder = new SpanBatchBuilder();
  const resource = builder.addResource({ service: "a", instance: "", attributes: [] });
  const scope = builder.addScope({ name: "", version: "" });
  for (const span of spans) builder.append({ ...EMPTY_SPAN, source: 0, ...span, resource, scope });
  return builder.seal();
}

interface Row {
  readonly trace: string;
  readonly parent: bigint;
  readonly reason: string;
  readonly links: number;
}

function rowsOf(batch: SpanBatch): Row[] {
  const text = textReader(batch.text);
  return Array.from({ length: batch.rows }, (_, row) => ({
    trace: `${batch.traceId[2 * row]} ${batch.traceId[2 * row + 1]}`,
    parent: batch.parentSpanId[row] ?? 0n,
    reason: text(batch.linkReason[row]),
    links: readLinks(batch.linksBlob, row === 0 ? 0 : (batch.linksEnd[row - 1] ?? 0), batch.linksEnd[row] ?? 0).length,
  }));
}

const named = (message: number) => Object.values(traceId(message)).join(" ");

/** Takes batches at given times and tells, in order of release, what became of them. */
function take(joins = new HostJoins()) {
  const released: Row[][] = [];
  const at = async (nowMs: number, ...batches: SpanBatch[]) => {
    joins.release(nowMs, false);
    for (const batch of batches) {
      const joined = joins.join(batch, nowMs);
      if (joined instanceof Promise) void joined.then((done) => released.push(rowsOf(done)));
      else released.push(rowsOf(joined));
    }
    await new Promise((resolve) => setImmediate(resolve));
    return released.splice(0);
  };
  return { joins, at };
}

test("the server's end on one host hangs under the client's end on another, and so does what is below it", async () => {
  const { joins, at } = take();
  assert.deepEqual(await at(0, batchOf(call(2, 1))), [], "the request it was made in is not over yet");
  assert.deepEqual(await at(10, batchOf(server(1))), []);
  assert.equal(joins.held, 2);
  const released = await at(20, batchOf(first(1)));
  const [client, root, below] = released.flat().sort((a, b) => a.reason.length - b.reason.length);
  assert.equal(client?.trace, named(1));
  assert.equal(below?.trace, named(1));
  assert.deepEqual(root, { trace: named(1), parent: clientId(1), reason: "hosts", links: 0 });
  assert.equal(joins.held, 0);
  assert.deepEqual(joins.counts.joined, { hosts: 1, "hosts-nat": 0, late: 0 });
});

test("three hosts in a row are one trace, in whatever order they tell", async () => {
  const batches = () => [
    batchOf(first(1)),
    batchOf(server(1), call(2, 1)),
    batchOf(server(2), call(3, 2)),
    batchOf(server(3)),
  ];
  for (const order of [
    [0, 1, 2, 3],
    [3, 2, 1, 0],
    [2, 0, 3, 1],
    [1, 3, 0, 2],
  ]) {
    const { at } = take();
    const sent = batches();
    const released = (await at(0, ...order.flatMap((index) => sent[index] ?? []))).flat();
    assert.equal(released.length, 6);
    assert.deepEqual(new Set(released.map(({ trace }) => trace)), new Set([named(1)]));
    assert.equal(released.filter(({ reason, parent }) => reason === "hosts" && parent !== 0n).length, 3);
  }
});

test("nothing waits longer than told, and a request of an unknown caller stays a root", async () => {
  const { joins, at } = take(new HostJoins({ waitMs: 100 }));
  assert.deepEqual(await at(0, batchOf(server(1), call(2, 1))), []);
  assert.deepEqual(await at(99), []);
  const [rows] = await at(100);
  assert.deepEqual(
    rows?.map(({ trace, reason }) => [trace, reason]),
    [
      [named(1), ""],
      [named(1), "thread"],
    ],
  );
  assert.equal(joins.counts.givenUp.timeout, 2);
  const full = take(new HostJoins({ heldRowsMax: 3 }));
  const first = await full.at(0, batchOf(server(1), server(2)), batchOf(server(3), server(4)));
  assert.deepEqual(
    first.map((each) => each.length),
    [2],
    "the oldest is let go",
  );
  assert.equal(full.joins.held, 2);
});

test("a client that comes late is linked to the server's end, and a late server's end finds its client", async () => {
  const { joins, at } = take(new HostJoins({ waitMs: 100 }));
  await at(0, batchOf(server(1)));
  await at(200);
  const [late] = await at(300, batchOf(call(1, 7)));
  assert.equal(late, undefined, "its own trace is not known yet");
  const [client] = await at(500);
  assert.deepEqual(client, [{ trace: named(7), parent: serverId(7), reason: "thread", links: 1 }]);
  assert.equal(joins.counts.joined.late, 1);

  const other = take(new HostJoins({ waitMs: 100 }));
  await other.at(0, batchOf(first(1)));
  const [rows] = await other.at(5000, batchOf(server(1)));
  assert.deepEqual(rows, [{ trace: named(1), parent: clientId(1), reason: "hosts", links: 0 }]);
});

test("a request that took long is linked to what of its trace was stored before", async () => {
  const { at } = take(new HostJoins({ waitMs: 100 }));
  await at(0, batchOf(call(2, 1)));
  const [below] = await at(100);
  assert.equal(below?.[0]?.trace, named(1));
  await at(5000, batchOf(first(9)));
  const released = await at(5010, batchOf(call(1, 9, 9)), batchOf(server(1), call(3, 1)), batchOf(server(2)));
  const rows = released.flat();
  const root = rows.find(({ parent }) => parent === clientId(1));
  assert.deepEqual(root, { trace: named(9), parent: clientId(1), reason: "hosts", links: 1 });
  const called = rows.find(({ parent }) => parent === clientId(2));
  assert.equal(called?.trace, named(1), "it is in the trace in which its client was stored");
});

test("behind translated addresses sequence numbers join, unless two messages have them", async () => {
  // Message 5 is message 1 as the server's end sees it.
  const { joins, at } = take();
  assert.deepEqual(await at(0, batchOf(server(5, "10:20"), call(6, 5))), []);
  const rows = (await at(10, batchOf(first(1, "10:20")))).flat();
  assert.deepEqual(new Set(rows.map(({ trace }) => trace)), new Set([named(1)]));
  assert.ok(rows.some(({ parent, reason }) => parent === clientId(1) && reason === "hosts-nat"));
  assert.equal(joins.counts.joined["hosts-nat"], 1);

  const other = take(new HostJoins({ waitMs: 100 }));
  await other.at(0, batchOf(server(5, "10:20")), batchOf(server(6, "10:20")), batchOf(first(1, "10:20")));
  const unknown = (await other.at(200)).flat();
  assert.ok(unknown.every(({ reason }) => reason === ""));
  const twice = take(new HostJoins({ waitMs: 100 }));
  await twice.at(0, batchOf(first(1, "10:20")), batchOf(first(2, "10:20")), batchOf(server(5, "10:20")));
  assert.ok((await twice.at(200)).flat().every(({ reason }) => reason === ""));
  const otherName = take(new HostJoins({ waitMs: 100 }));
  await otherName.at(0, batchOf({ ...first(1, "10:20"), name: "GET /other" }), batchOf(server(5, "10:20")));
  assert.ok((await otherName.at(200)).flat().every(({ reason }) => reason === ""));
});

test("traces whose id was carried, and spans of programs, do not wait", async () => {
  const { joins, at } = take();
  const carried = { ...server(1), traceIdHigh: 1n, traceIdLow: 2n, parentSpanId: 3n, linkReason: "traceparent" };
  const below = { ...call(2, 1), traceIdHigh: 1n, traceIdLow: 2n };
  const released = await at(0, batchOf(carried, below), batchOf({ ...server(4), source: 2 }));
  assert.equal(released.flat().length, 3);
  assert.equal(joins.held, 0);
});
