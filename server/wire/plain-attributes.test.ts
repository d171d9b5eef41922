import assert from "node:assert/strict";
import test from "node:test";
import { decodeTraces } from "./otlp-traces-protobuf.ts";
import { attributesOf, seededRandom } from "./trace-oracle.ts";

const TRACE_ID = Buffer.from("5b8efff798038103d269b633813fc60c", "hex");
const SPAN_ID = Buffer.from("eee19b7ec3c1b174", "hex");

type Random = () => number;

function below(random: Random, count: number): number {
  return Math.floor(random() * count);
}

/** A length as a varint; with `padded` one byte longer than it needs, which readers take all the same. */
function lengthOf(length: number, padded = false): Buffer {
  const bytes: number[] = [];
  for (let left = length; ; left = Math.floor(left / 128)) {
    if (left < 128 && !padded) return Buffer.from([...bytes, left]);
    if (left < 128) return Buffer.from([...bytes, left | 0x80, 0]);
    bytes.push((left % 128) | 0x80);
  }
}

function field(tag: number, content: Buffer, padded = false): Buffer {
  return Buffer.concat([Buffer.from([tag]), lengthOf(content.length, padded), content]);
}

function someText(random: Random): Buffer {
  const length = random() < 0.1 ? below(random, 200) : below(random, 24);
  if (random() < 0.1) return Buffer.from(Array.from({ length }, () => below(random, 256)));
  if (random() < 0.2) return Buffer.from("ä€😀".repeat(length).slice(0, length));
  return Buffer.from(Array.from({ length }, () => 97 + below(random, 4)));
}

function someVarint(random: Random): Buffer {
  const bytes = Array.from({ length: 1 + below(random, random() < 0.8 ? 4 : 11) }, () => below(random, 256) | 0x80);
  bytes.push((bytes.pop() ?? 0) & 0x7f);
  return Buffer.from(bytes);
}

function someValue(random: Random): Buffer {
  const kind = random();
  if (kind < 0.4) return field(10, someText(random));
  if (kind < 0.7) return Buffer.concat([Buffer.from([24]), someVarint(random)]);
  if (kind < 0.75) return Buffer.from([16, below(random, 2)]);
  if (kind < 0.8) return Buffer.concat([Buffer.from([33]), Buffer.alloc(8, below(random, 256))]);
  if (kind < 0.85) return field(42, field(10, field(10, someText(random))));
  if (kind < 0.9) return field(58, someText(random));
  if (kind < 0.95) return Buffer.concat([someValue(random), someValue(random)]);
  return Buffer.alloc(0);
}

function someKeyValue(random: Random): Buffer {
  const parts = [field(10, someText(random)), field(18, someValue(random))];
  if (random() < 0.1) parts.reverse();
  if (random() < 0.05) parts.push(field(10, someText(random)));
  if (random() < 0.05) parts.push(field(18, someValue(random)));
  if (random() < 0.05) parts.splice(below(random, 3), 0, Buffer.from([40, 1]));
  if (random() < 0.05) parts.splice(below(random, 2), 1);
  const bytes = Buffer.concat(parts);
  if (random() < 0.3 && bytes.length > 0) bytes[below(random, bytes.length)] = below(random, 256);
  return random() < 0.1 ? bytes.subarray(0, below(random, bytes.length + 1)) : bytes;
}

/** What is read of a request with one span whose attributes are these, and one that follows it. */
function read(keyValues: readonly Buffer[], padded: boolean): unknown {
  const ids = [field(10, TRACE_ID), field(18, SPAN_ID)];
  const span = Buffer.concat([...ids, ...keyValues.map((each) => field(74, each, padded))]);
  const scope = Buffer.concat([field(18, span), field(18, Buffer.concat(ids))]);
  const outcome = decodeTraces(new Uint8Array(field(10, field(18, scope))));
  if (outcome.kind === "malformed") return outcome.reason;
  const { batch, repaired } = outcome;
  const { clientAddr, serverAddr, serverPort, protocol } = batch;
  return {
    attributes: [attributesOf(batch, 0), attributesOf(batch, 1)],
    columns: [clientAddr, serverAddr, serverPort, protocol],
    texts: batch.text.lengths,
    repaired,
  };
}

/** An attribute whose length takes two bytes is read the long way: both must agree on whatever stands inside. */
test("attributes of the usual form are read as those of any other, whatever their bytes", () => {
  const random = seededRandom(11);
  for (let round = 0; round < 6_000; round++) {
    const keyValues = Array.from({ length: 1 + below(random, 4) }, () => someKeyValue(random));
    const told = keyValues.map((each) => each.toString("hex")).join(" ");
    assert.deepEqual(read(keyValues, false), read(keyValues, true), told);
  }
});
