import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteReader, BytesEndError } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";

test("what is written is read back", () => {
  const writer = new ByteWriter();
  const whole = [0, 1, 127, 128, 2 ** 28 - 1, 2 ** 28, 2 ** 35 + 7, 2 ** 53 - 1];
  const signed = [0, -1, 1, -64, 2 ** 40, -(2 ** 52), 2 ** 52];
  const texts = ["", "abc", "é", "\uFEFFa", "😀", "a".repeat(3000), `${"a".repeat(2000)}é`];
  const doubles = [0, -0, 1 / 3, Number.NaN, Number.NEGATIVE_INFINITY];
  for (const value of whole) writer.varint(value);
  for (const value of signed) writer.signed(value);
  for (const value of texts) writer.text(value);
  for (const value of doubles) writer.float64(value);
  writer.int64(-5n);
  writer.uint32(0xffff_fffe);
  writer.byte(200);
  const reader = new ByteReader(writer.take());
  assert.deepEqual(
    whole.map(() => reader.varint()),
    whole,
  );
  assert.deepEqual(
    signed.map(() => reader.signed()),
    signed,
  );
  assert.deepEqual(
    texts.map(() => reader.text()),
    texts,
  );
  assert.deepEqual(
    doubles.map(() => reader.float64()),
    doubles,
  );
  assert.equal(reader.int64(), -5n);
  assert.equal(reader.uint32(), 0xffff_fffe);
  assert.equal(reader.byte(), 200);
  assert.equal(reader.left, 0);
});

test("bytes that end early throw", () => {
  assert.throws(() => new ByteReader(Uint8Array.of(0x80)).varint(), BytesEndError);
  assert.throws(() => new ByteReader(Uint8Array.of(5, 65)).text(), BytesEndError);
  assert.throws(() => new ByteReader(new Uint8Array(7)).float64());
  assert.throws(() => new ByteReader(new Uint8Array(9).fill(0xff)).varint(), BytesEndError);
});
