import assert from "node:assert/strict";
import test from "node:test";
import type { RemoteWriteOutcome } from "./remote-write.ts";
import { RemoteWriteDecoder1 } from "./remote-write-1.ts";
import { RemoteWriteDecoder2 } from "./remote-write-2.ts";

/** A length-delimited field. */
function field(number: number, content: Uint8Array = new Uint8Array(0)): Buffer {
  const head = [number * 8 + 2];
  let rest = content.length;
  for (; rest > 0x7f; rest >>>= 7) head.push((rest & 0x7f) | 0x80);
  return Buffer.concat([Buffer.from([...head, rest]), content]);
}

function many(count: number, part: Buffer): Buffer {
  return Buffer.alloc(count * part.length, part);
}

function reasonOf(outcome: RemoteWriteOutcome): string {
  return outcome.kind === "malformed" ? outcome.reason : "";
}

const first = (bytes: Buffer) => new RemoteWriteDecoder1().decode(bytes);
const second = (bytes: Buffer) => new RemoteWriteDecoder2().decode(bytes);
const histogram = (content: Buffer) => first(field(1, field(4, content)));

test("buckets are counted before they are made", () => {
  assert.match(reasonOf(histogram(field(12, Buffer.alloc(2_000_001)))), /more than 2000000 buckets/);
  assert.match(reasonOf(histogram(field(13, Buffer.alloc(8 * 2_000_001)))), /more than 2000000 buckets/);
  assert.equal(histogram(field(12, Buffer.alloc(100_000))).kind, "decoded");
  assert.equal(histogram(field(13, Buffer.alloc(9))).kind, "malformed", "cut short");
});

test("what says nothing counts as many", () => {
  assert.equal(histogram(many(20_000, field(11))).kind, "decoded");
  assert.match(reasonOf(histogram(many(40_000, field(11)))), /too many/);
  assert.equal(histogram(many(40_000, field(11, Buffer.from([16, 1])))).kind, "decoded");
  assert.match(reasonOf(first(field(1, many(300_000, field(1))))), /too many/);
  assert.match(reasonOf(first(field(1, many(300_000, field(2))))), /too many/);
  assert.match(reasonOf(second(many(300_000, field(4)))), /too many/);
  assert.match(reasonOf(second(many(600_000, field(4)))), /too many/);
});

test("references beyond those that are kept are counted, and still have to be numbers", () => {
  const refs = (packed: Buffer) => second(Buffer.concat([field(4), field(5, field(1, packed))]));
  const outcome = refs(Buffer.alloc(1_000_001));
  assert.ok(outcome.kind === "decoded");
  assert.match(outcome.write.faults[0] ?? "", /invalid labelRefs length 1000001$/);
  const wide = refs(Buffer.alloc(2 * 500_001, Buffer.from([0x80, 0])));
  assert.match(wide.kind === "decoded" ? (wide.write.faults[0] ?? "") : "", /invalid labelRefs length 500001$/);
  assert.equal(refs(Buffer.concat([Buffer.alloc(100_000), Buffer.from([0x80])])).kind, "malformed");
  assert.equal(refs(Buffer.concat([Buffer.alloc(100_000), Buffer.alloc(11, 0xff)])).kind, "malformed");
});
