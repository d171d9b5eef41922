import assert from "node:assert/strict";
import { test } from "node:test";
import { readPagedWholes, writeWholes } from "./bit-pack.ts";
import { ByteWriter } from "./byte-writer.ts";
import { bytePage } from "./paged-bytes.ts";

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
