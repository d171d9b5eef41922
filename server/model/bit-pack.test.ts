import assert from "node:assert/strict";
import { test } from "node:test";
import { readPagedWholes, readWholes, writeWholes } from "./bit-pack.ts";
import { ByteReader } from "./byte-reader.ts";
import { ByteWriter } from "./byte-writer.ts";
import { bytePage } from "./paged-bytes.ts";
import { readPatterns, writePatterns } from "./pattern-pack.ts";

test("numbers are read wherever in a page they end", () => {
  const runs = [
    [5, 70, 70, 70, 70, 70, 70, 70],
    [5, 5, 5, 5],
    [1, 900, 3, 77, 12, 900, 4],
    Array.from({ length: 130 }, (_, i) => (i < 65 ? i : 1_000_000)),
    Array.from({ length: 200 }, (_, i) => (i * 7919) % 1013),
  ];
  for (const run of runs) {
    const values = Float64Array.from(run);
    const out = new ByteWriter();
    writeWholes(out, values, 0, values.length);
    const bytes = out.take();
    for (let left = 0; left < 8; left++) {
      const buffer = new SharedArrayBuffer(bytes.length + 16 + left);
      new Uint8Array(buffer).set(bytes, 16);
      const got = new Float64Array(values.length);
      const end = readPagedWholes(bytePage(buffer), 16, got, 0, values.length);
      assert.deepEqual(got, values, `${left} bytes left`);
      assert.equal(end, 16 + bytes.length);
    }
  }
});

test("numbers and patterns of every width are read alike in the midst of bytes and at their end", () => {
  let seed = 7;
  const random = () => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return seed / 2 ** 32;
  };
  for (const length of [1, 2, 64, 65, 66, 129, 200]) {
    for (let bits = 0; bits <= 50; bits++) {
      const most = 2 ** bits;
      let total = Math.floor(random() * 1e6);
      const grown = Float64Array.from(
        { length },
        () => (total = Math.min(2 ** 50, total + Math.floor(random() * most))),
      );
      const fallen = grown.map((value) => 2 ** 50 - value);
      const wholes = Float64Array.from({ length }, () => Math.floor((random() - 0.5) * most));
      for (const values of [grown, fallen, wholes]) {
        assert.deepEqual(readTwice(values, writeWholes, readWholes), [values, values], `${bits} bits, ${length}`);
      }
      const near = Float64Array.from({ length }, () => 1 + random() * 2 ** -bits);
      const far = Float64Array.from({ length }, () => (random() - 0.5) * 2 ** ((random() - 0.5) * 40 * bits));
      const odd = Float64Array.from(far, (value, i) => [value, Number.NaN, -0, Number.POSITIVE_INFINITY][i % 4] ?? 0);
      for (const values of [near, far, odd]) {
        assert.deepEqual(readTwice(values, writePatterns, readPatterns), [values, values], `${bits} bits, ${length}`);
      }
    }
  }
});

/** What is read where nothing follows, and where other bytes do. */
function readTwice(
  values: Float64Array,
  write: typeof writeWholes,
  read: typeof readWholes,
): readonly [Float64Array, Float64Array] {
  const out = new ByteWriter();
  write(out, values, 0, values.length);
  const end = out.length;
  out.raw(new Uint8Array(16).fill(0xff));
  const bytes = out.take();
  const found = [bytes.subarray(0, end), bytes].map((each) => {
    const reader = new ByteReader(each);
    const got = new Float64Array(values.length + 3).fill(0.5);
    read(reader, got, 2, values.length);
    assert.equal(reader.at, end);
    assert.deepEqual([got[0], got[1], got.at(-1)], [0.5, 0.5, 0.5]);
    return got.slice(2, -1);
  });
  const [alone, followed] = found;
  assert.ok(alone !== undefined && followed !== undefined);
  return [alone, followed];
}
