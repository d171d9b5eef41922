import assert from "node:assert/strict";
import { test } from "node:test";
import type { Attribute, SpanBatch } from "../model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder, type SpanToAppend } from "../model/span-batch-builder.ts";
import { textReader } from "../model/text-table.ts";
import { checkBatch } from "./check-batch.ts";
import { ATTRIBUTES_MAX, NAME_UNITS_MAX, VALUE_UNITS_MAX } from "./short-texts.ts";

function batchOf(spans: readonly Partial<SpanToAppend>[], service = "shop"): SpanBatch {
  const builder = new SpanBatchBuilder();
  const resource = builder.addResource({ service, instance: "", attributes: [] });
  const scope = builder.addScope({ name: "", version: "" });
  for (const [at, span] of spans.entries()) {
    builder.append({ ...EMPTY_SPAN, resource, scope, traceIdLow: 1n, spanId: BigInt(at + 1), ...span });
  }
  return builder.seal();
}

function attributesOf(batch: SpanBatch, row: number): Attribute[] {
  const attributes: Attribute[] = [];
  for (let at = row === 0 ? 0 : (batch.attributeEnd[row - 1] ?? 0); at < (batch.attributeEnd[row] ?? 0); at++) {
    const text = textReader(batch.text);
    // The code is one that the builder wrote from an AttributeKind.
    const kind = String.fromCharCode(batch.attributeKind[at] ?? 0) as Attribute["kind"];
    attributes.push({ key: text(batch.attributeKey[at]), kind, value: text(batch.attributeValue[at]) });
  }
  return attributes;
}

const attribute = (key: string, value: string, kind: Attribute["kind"] = "s"): Attribute => ({ key, kind, value });

test("a batch without faults is passed on as it is", () => {
  const batch = batchOf([{ name: "a" }, { name: "b", attributes: [attribute("k", "v")] }]);
  const checked = checkBatch(batch);
  assert.equal(checked.batch, batch);
  assert.deepEqual([checked.rejected.size, checked.mended.size], [0, 0]);
});

test("rows without ids are left out, the rest keeps all its columns", () => {
  const events = Uint8Array.of(1, 2, 3);
  const spans: Partial<SpanToAppend>[] = [
    { name: "zero trace", traceIdLow: 0n, attributes: [attribute("x", "1")], events: Uint8Array.of(9) },
    { name: "kept", traceIdHigh: 7n, startNs: -5n, endNs: 3n, attributes: [attribute("k", "v", "i")], events },
    { name: "zero span", spanId: 0n, links: Uint8Array.of(8) },
    { name: "kept too", weight: 4, links: Uint8Array.of(4, 5), clientPort: 80, duplicateOf: 9n },
  ];
  const { batch, rejected } = checkBatch(batchOf(spans));
  assert.deepEqual(Object.fromEntries(rejected), { trace_id_zero: 1, span_id_zero: 1 });
  const want = batchOf([
    { ...spans[1], spanId: 2n },
    { ...spans[3], spanId: 4n },
  ]);
  for (const [name, column] of Object.entries(want)) {
    if (["text", "name", "attributeKey", "attributeValue"].includes(name)) continue;
    assert.deepEqual(batch[name as keyof SpanBatch], column, name);
  }
  assert.deepEqual([...batch.name].map(textReader(batch.text)), ["kept", "kept too"]);
  assert.deepEqual(attributesOf(batch, 0), [attribute("k", "v", "i")]);
  assert.deepEqual(attributesOf(batch, 1), []);
});

test("end before start and a span that is its own parent are mended and counted", () => {
  const before = batchOf([{ startNs: 10n, endNs: 5n }, { spanId: 3n, parentSpanId: 3n }, { parentSpanId: 1n }]);
  const { batch, mended } = checkBatch(before);
  assert.deepEqual([...batch.endNs], [10n, 0n, 0n]);
  assert.deepEqual([...batch.parentSpanId], [0n, 0n, 1n]);
  assert.deepEqual(Object.fromEntries(mended), { end_before_start: 1, self_parent: 1 });
  assert.equal(before.endNs[0], 5n, "the sealed batch is not changed");
});

test("long names and values are cut, attributes beyond the limit dropped", () => {
  const long = "é".repeat(VALUE_UNITS_MAX + 1);
  const emoji = `${"a".repeat(NAME_UNITS_MAX - 1)}😀`;
  const many = Array.from({ length: ATTRIBUTES_MAX + 3 }, (_, n) => attribute(`k${n}`, "v"));
  const { batch, mended } = checkBatch(
    batchOf([
      { name: emoji, attributes: [attribute(emoji, long), attribute("j", `[${long}]`, "j"), attribute("s", emoji)] },
      { name: "short", attributes: many },
    ]),
  );
  assert.equal(textReader(batch.text)(batch.name[0]), "a".repeat(NAME_UNITS_MAX - 1));
  const [first, second, third] = attributesOf(batch, 0);
  assert.equal(first?.key, "a".repeat(NAME_UNITS_MAX - 1));
  assert.equal(first?.value.length, VALUE_UNITS_MAX);
  assert.equal(second?.kind, "s", "cut JSON is text");
  assert.equal(third?.value, emoji, "a value may be longer than a name");
  assert.equal(attributesOf(batch, 1).length, ATTRIBUTES_MAX);
  assert.equal(mended.get("attribute_count"), 3);
  assert.ok((mended.get("text_length") ?? 0) > 0);
  const service = checkBatch(batchOf([{}], "s".repeat(5000))).batch.resources[0]?.service;
  assert.equal(service?.length, NAME_UNITS_MAX);
});
