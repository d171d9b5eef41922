import assert from "node:assert/strict";
import test from "node:test";
import { traceJsonPieces, tracePieces } from "./otlp-traces-encode.ts";
import { decodeTracesJson } from "./otlp-traces-json.ts";
import { decodeTraces } from "./otlp-traces-protobuf.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import type { DecodeOutcome } from "./span-columns.ts";
import { attributesOf, oracleDecode, oracleEncode, spansOf } from "./trace-oracle.ts";

const TRACE_ID = Buffer.from("5b8efff798038103d269b633813fc60c", "hex");
const SPAN_ID = Buffer.from("eee19b7ec3c1b174", "hex");

type Decoded = Extract<DecodeOutcome, { kind: "decoded" }>;

function decoded(outcome: DecodeOutcome): Decoded {
  if (outcome.kind === "malformed") assert.fail(`malformed: ${outcome.reason} at ${outcome.offset}`);
  return outcome;
}

/** A request of one span whose members `write` adds. */
function oneSpan(write: (writer: ProtobufWriter) => void): Uint8Array {
  const writer = new ProtobufWriter();
  const resourceSpans = writer.openMessage(1);
  const scopeSpans = writer.openMessage(2);
  const span = writer.openMessage(2);
  writer.writeBytes(1, TRACE_ID);
  writer.writeBytes(2, SPAN_ID);
  write(writer);
  writer.closeMessage(span);
  writer.closeMessage(scopeSpans);
  writer.closeMessage(resourceSpans);
  return writer.take();
}

/** An AnyValue of `levels` lists inside each other; made from the inside, since a writer keeps what is open. */
function nestedValue(levels: number): Uint8Array {
  const pieces: Uint8Array[] = [];
  let length = 0;
  const wrap = (tag: number) => {
    const head = new ProtobufWriter();
    head.writeBytes(tag >>> 3, new Uint8Array(0));
    const varint: number[] = [];
    for (let left = length; ; left >>>= 7) {
      if (left < 0x80) {
        varint.push(left);
        break;
      }
      varint.push((left & 0x7f) | 0x80);
    }
    const bytes = Uint8Array.from([tag, ...varint]);
    pieces.push(bytes);
    length += bytes.length;
  };
  for (let level = 0; level < levels; level++) {
    wrap(10);
    wrap(42);
  }
  return Buffer.concat(pieces.reverse());
}

function withDeepAttribute(levels: number): Uint8Array {
  return oneSpan((writer) => {
    writer.writeText(5, "deep");
    const value = nestedValue(levels);
    for (const field of [9, 11]) {
      const holder = field === 11 ? writer.openMessage(11) : undefined;
      const pair = writer.openMessage(field === 11 ? 3 : 9);
      writer.writeText(1, "k");
      writer.writeBytes(2, value);
      writer.closeMessage(pair);
      if (holder !== undefined) writer.closeMessage(holder);
    }
  });
}

function deepJson(levels: number): Buffer {
  const value = `${'{"arrayValue":{"values":['.repeat(levels)}{}${"]}}".repeat(levels)}`;
  const span = `{"traceId":"${TRACE_ID.toString("hex")}","spanId":"${SPAN_ID.toString("hex")}","name":"deep",
    "attributes":[{"key":"k","value":${value}}],"events":[{"attributes":[{"key":"k","value":${value}}]}]}`;
  return Buffer.from(`{"resourceSpans":[{"scopeSpans":[{"spans":[${span}]}]}]}`);
}

test("an attribute value nested deeply is kept as far as 32 lists, in a span and in an event", () => {
  for (const outcome of [decodeTraces(withDeepAttribute(32)), decodeTracesJson(deepJson(32))]) {
    const { batch, repaired } = decoded(outcome);
    assert.equal(repaired.values, 0);
    assert.equal(attributesOf(batch, 0)[0]?.value.split("arrayValue").length, 33);
  }
  for (const levels of [33, 100, 1_000, 9_900]) {
    for (const outcome of [decodeTraces(withDeepAttribute(levels)), decodeTracesJson(deepJson(levels))]) {
      const { batch, repaired, rejected } = decoded(outcome);
      assert.equal(batch.rows, 1);
      assert.equal(rejected.size, 0);
      assert.equal(repaired.values, 2, `${levels}`);
      assert.equal(attributesOf(batch, 0)[0]?.value.split("arrayValue").length, 34);
      const spans = spansOf(batch);
      oracleDecode("TracesData", Buffer.concat([...tracePieces(spans)]));
      JSON.parse([...traceJsonPieces(spans, "otlp")].join(""));
    }
  }
});

test("deeper than any library takes is refused at once", () => {
  for (const levels of [20_000, 50_000]) {
    const bodies = [withDeepAttribute(levels), deepJson(levels)];
    const started = performance.now();
    const [protobuf, json] = [decodeTraces(bodies[0] ?? TRACE_ID), decodeTracesJson(bodies[1] ?? TRACE_ID)];
    assert.ok(performance.now() - started < 200);
    assert.equal(protobuf.kind, "malformed");
    assert.equal(json.kind, "malformed");
  }
  for (const text of ["[".repeat(1_000_000), `{"x":${"[".repeat(1_000_000)}${"]".repeat(1_000_000)}}`]) {
    assert.equal(decodeTracesJson(Buffer.from(text)).kind, "malformed");
  }
});

test("a million attributes: the first 1,024 keys are kept, the last value of each", () => {
  const writer = new ProtobufWriter();
  for (let at = 0; at < 1_000_000; at++) {
    const pair = writer.openMessage(9);
    writer.writeText(1, `key ${at % 2_000}`);
    const value = writer.openMessage(2);
    writer.writeInt64(3, BigInt(at));
    writer.closeMessage(value);
    writer.closeMessage(pair);
  }
  const attributes = writer.take();
  const { batch, repaired } = decoded(decodeTraces(oneSpan((span) => span.writeRaw(attributes))));
  assert.equal(batch.attributeKey.length, 1_024);
  assert.equal(repaired.attributes, 1_000_000 - 1_024);
  assert.deepEqual(attributesOf(batch, 0)[0], { key: "key 0", kind: "i", value: "998000" });
});

test("a trace of 100,000 spans is 100,000 rows", () => {
  const spans = Array.from({ length: 100_000 }, (_, at) => {
    const spanId = Buffer.alloc(8);
    spanId.writeUInt32BE(at + 1, 4);
    return { traceId: TRACE_ID, spanId, parentSpanId: at === 0 ? undefined : SPAN_ID, name: "n" };
  });
  const { batch } = decoded(decodeTraces(oracleEncode("TracesData", { resourceSpans: [{ scopeSpans: [{ spans }] }] })));
  assert.equal(batch.rows, 100_000);
  assert.equal(spansOf({ ...batch, rows: 1 })[0]?.spanId, "0000000000000001");
});

test("times: 1970, 2017 and 2200 as sent, what 63 bits cannot hold is cut, an end before its start is the start", () => {
  const cases: [start: bigint, end: bigint, wantStart: bigint, wantEnd: bigint, mended: number][] = [
    [0n, 0n, 0n, 0n, 0],
    [1_485_467_191_639_875_000n, 1_485_467_191_639_975_000n, 1_485_467_191_639_875_000n, 1_485_467_191_639_975_000n, 0],
    [7_258_118_400_000_000_001n, 7_258_118_400_000_000_002n, 7_258_118_400_000_000_001n, 7_258_118_400_000_000_002n, 0],
    [1_700_000_000_000_000_005n, 1_700_000_000_000_000_000n, 1_700_000_000_000_000_005n, 1_700_000_000_000_000_005n, 1],
    [1_700_000_000_000_000_005n, 0n, 1_700_000_000_000_000_005n, 1_700_000_000_000_000_005n, 1],
    [5n, 2n ** 64n - 1n, 5n, 2n ** 63n - 2n, 1],
    [2n ** 63n, 2n ** 63n, 2n ** 63n - 2n, 2n ** 63n - 2n, 1],
  ];
  for (const [start, end, wantStart, wantEnd, mended] of cases) {
    const protobuf = decodeTraces(
      oneSpan((writer) => {
        writer.writeFixed64(7, start);
        writer.writeFixed64(8, end);
      }),
    );
    const span = `{"traceId":"${TRACE_ID.toString("hex")}","spanId":"${SPAN_ID.toString("hex")}",
      "startTimeUnixNano":"${start}","endTimeUnixNano":${end}}`;
    const json = decodeTracesJson(Buffer.from(`{"resourceSpans":[{"scopeSpans":[{"spans":[${span}]}]}]}`));
    for (const { batch, repaired } of [decoded(protobuf), decoded(json)]) {
      assert.deepEqual([batch.startNs[0], batch.endNs[0]], [wantStart, wantEnd]);
      assert.equal(Math.max(repaired.times, repaired.order), mended);
      assert.equal(repaired.order, mended > 0 && end < start ? 1 : 0);
      const bytes = Buffer.concat([...tracePieces(spansOf(batch))]);
      // The library's reading of our answer: times are given back as they came.
      const { resourceSpans } = oracleDecode("TracesData", bytes) as {
        resourceSpans: [{ scopeSpans: [{ spans: [Times] }] }];
      };
      const [answered] = resourceSpans[0].scopeSpans[0].spans;
      const json: { resourceSpans: typeof resourceSpans } = JSON.parse(
        [...traceJsonPieces(spansOf(batch), "otlp")].join(""),
      );
      for (const each of [answered, json.resourceSpans[0].scopeSpans[0].spans[0]]) {
        assert.deepEqual([each.startTimeUnixNano ?? "0", each.endTimeUnixNano ?? "0"], [`${start}`, `${end}`]);
      }
    }
  }
});

interface Times {
  readonly startTimeUnixNano?: string;
  readonly endTimeUnixNano?: string;
}

test("ids of a wrong length or of zeros cost their span alone", () => {
  const good = { traceId: TRACE_ID, spanId: SPAN_ID, name: "good" };
  const bad: [object, string][] = [
    [{ ...good, traceId: Buffer.alloc(16) }, "trace_id_zero"],
    [{ ...good, traceId: Buffer.alloc(15, 1) }, "trace_id_length"],
    [{ ...good, traceId: Buffer.alloc(0) }, "trace_id_length"],
    [{ ...good, spanId: Buffer.alloc(8) }, "span_id_zero"],
    [{ ...good, spanId: Buffer.alloc(9, 1) }, "span_id_length"],
    [{ ...good, parentSpanId: Buffer.alloc(3, 1) }, "parent_span_id_length"],
  ];
  const spans = bad.flatMap(([span]) => [span, good]);
  const { batch, received, rejected } = decoded(
    decodeTraces(oracleEncode("TracesData", { resourceSpans: [{ scopeSpans: [{ spans }] }] })),
  );
  assert.equal(received, 12);
  assert.equal(batch.rows, 6);
  const counts = new Map<string, number>();
  for (const [, reason] of bad) counts.set(reason, (counts.get(reason) ?? 0) + 1);
  assert.deepEqual(new Map(rejected), counts);
  const zeroParent = decoded(
    decodeTraces(
      oracleEncode("TracesData", {
        resourceSpans: [{ scopeSpans: [{ spans: [{ ...good, parentSpanId: Buffer.alloc(8) }] }] }],
      }),
    ),
  );
  assert.equal(zeroParent.batch.parentSpanId[0], 0n, "a parent of zeros is none");
});
