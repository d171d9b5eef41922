import assert from "node:assert/strict";
import test from "node:test";
import { ByteInterner } from "./byte-interner.ts";
import { seededRandom } from "./trace-oracle.ts";

function source(bytes: Uint8Array) {
  return { bytes, view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength) };
}

test("equal bytes have equal numbers, others have others", () => {
  const random = seededRandom(41);
  const interner = new ByteInterner({ stringsMax: 10_000, bytesMax: 1_000_000 });
  const known = new Map<string, number>();
  for (let round = 0; round < 60_000; round++) {
    const length = Math.floor(random() * 12);
    const bytes = Buffer.from(Array.from({ length }, () => Math.floor(random() * (length < 4 ? 5 : 3))));
    const padded = Buffer.concat([Buffer.from([7]), bytes, Buffer.from([7, 7])]);
    const from = source(padded);
    const key = bytes.toString("latin1");
    const found = interner.find(from, 1, 1 + length);
    assert.equal(found, known.get(key) ?? -1);
    if (found >= 0) continue;
    const id = interner.add(from, 1, 1 + length);
    if (known.size < 10_000) assert.equal(id, known.size);
    if (id >= 0) known.set(key, id);
  }
  assert.equal(interner.count, known.size);
  assert.ok(known.size > 1_000);
  interner.clear();
  assert.equal(interner.find(source(Buffer.from("")), 0, 0), -1);
});

test("limits hold", () => {
  const few = new ByteInterner({ stringsMax: 2, bytesMax: 100 });
  const text = source(Buffer.from("abcdefghij"));
  assert.deepEqual(
    [1, 2, 3].map((end) => few.add(text, 0, end)),
    [0, 1, -1],
  );
  assert.ok(few.isFull(0));
  const short = new ByteInterner({ stringsMax: 100, bytesMax: 10 });
  assert.equal(short.add(text, 0, 6), 0);
  assert.equal(short.add(text, 1, 6), -1);
  assert.equal(short.add(text, 1, 5), 1);
  assert.ok(short.isFull(1));
  assert.equal(short.find(text, 0, 6), 0);
});
