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

test("strings of all lengths are found again, however they fill the room", () => {
  const random = seededRandom(43);
  const interner = new ByteInterner({ stringsMax: 100_000, bytesMax: 8 * 2 ** 20 });
  const lengths = [0, 1, 3, 16, 190, 65_536, 2 ** 17, 2 ** 18 - 1, 2 ** 18];
  const strings: Buffer[] = [];
  for (let bytes = 0; bytes < 5 * 2 ** 20; ) {
    const length = lengths[Math.floor(random() * lengths.length)] ?? 0;
    const made = Buffer.alloc(length, Math.floor(random() * 256));
    for (let at = 0; at < Math.min(length, 8); at++) made[Math.floor(random() * length)] = Math.floor(random() * 256);
    bytes += length;
    if (interner.find(source(made), 0, length) >= 0) continue;
    assert.equal(interner.add(source(made), 0, length), strings.length);
    strings.push(made);
  }
  assert.equal(interner.add(source(Buffer.alloc(2 ** 18 + 1)), 0, 2 ** 18 + 1), -1);
  const check = () => {
    for (const [id, string] of strings.entries()) {
      assert.equal(interner.bytesOf(id), string.length);
      assert.equal(interner.find(source(string), 0, string.length), id);
      if (string.length === 0) continue;
      const other = Buffer.from(string);
      const at = Math.floor(random() * string.length);
      other[at] = (other[at] ?? 0) ^ 1;
      assert.notEqual(interner.find(source(other), 0, other.length), id);
    }
    interner.find(source(strings.at(0) ?? Buffer.of()), 0, strings.at(0)?.length ?? 0);
    for (const [id, string] of strings.entries()) {
      if (id === 0) continue;
      const padded = source(Buffer.concat([Buffer.of(9), string, Buffer.of(9)]));
      assert.equal(interner.findExpected(padded, 1, padded.bytes.length), id);
    }
  };
  check();
  interner.clear();
  strings.sort(() => random() - 0.5);
  for (const [id, string] of strings.entries()) assert.equal(interner.add(source(string), 0, string.length), id);
  check();
});

test("words that stand in a table are found where they are expected, and others are not", () => {
  const random = seededRandom(44);
  const interner = new ByteInterner({ stringsMax: 100_000, bytesMax: 8 * 2 ** 20 });
  const table = Int32Array.from({ length: 300 }, () => Math.floor(random() * 2 ** 31));
  const strings = Array.from({ length: 4_000 }, () =>
    Array.from({ length: 1 + Math.floor(random() * 40) }, () => Math.floor(random() * table.length)),
  );
  const bytesOf = (places: readonly number[]) =>
    Buffer.from(Int32Array.from(places, (place) => table[place] ?? 0).buffer);
  const seen = new Set<string>();
  const kept = strings.filter((places) => {
    const key = places.join();
    if (seen.has(key)) return false;
    seen.add(key);
    const bytes = bytesOf(places);
    return interner.add(source(bytes), 0, bytes.length) >= 0;
  });
  const varints = (places: readonly number[]) =>
    Uint8Array.from(places.flatMap((place) => (place < 128 ? [place] : [(place & 127) | 128, place >>> 7])));
  const first = bytesOf(kept[0] ?? []);
  assert.equal(interner.find(source(first), 0, first.length), 0);
  for (const [id, places] of kept.entries()) {
    if (id === 0) continue;
    const count = table.length;
    const shorter = varints(places.slice(0, -1));
    assert.equal(interner.findExpectedWords({ bytes: shorter, table, count }, 0, shorter.length), -1);
    const changed = varints(places.with(0, ((places[0] ?? 0) + 1) % count));
    assert.equal(interner.findExpectedWords({ bytes: changed, table, count }, 0, changed.length), -1);
    const bytes = varints(places);
    const few = { bytes, table, count: Math.max(...places) };
    assert.equal(interner.findExpectedWords(few, 0, bytes.length), -1);
    assert.equal(interner.findExpectedWords({ bytes, table, count }, 0, bytes.length), id);
  }
});
