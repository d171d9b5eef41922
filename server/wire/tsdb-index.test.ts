import assert from "node:assert/strict";
import { test } from "node:test";
import { type BlockSeries, encodeTsdbIndex, readTsdbIndex, TsdbFormatError } from "./tsdb-index.ts";

const SERIES: readonly BlockSeries[] = [
  {
    labels: [
      ["__name__", "up"],
      ["job", "𝒶"],
    ],
    chunks: [{ minMs: -5, maxMs: 10, segment: 0, offset: 8 }],
  },
  {
    labels: [
      ["__name__", "up"],
      ["job", "\uffee"],
    ],
    chunks: [
      { minMs: 0, maxMs: 119, segment: 0, offset: 100 },
      { minMs: 120, maxMs: 1_700_000_000_000, segment: 1, offset: 8 },
    ],
  },
  {
    labels: [["__name__", "a"]],
    chunks: [{ minMs: 1_700_000_000_000, maxMs: 1_700_000_000_000, segment: 0, offset: 536_870_000 }],
  },
];

test("an index comes back as it was, in the order of its labels' bytes", () => {
  const found = [...readTsdbIndex(encodeTsdbIndex(SERIES))];
  const numbers = found.map(({ number }) => number);
  assert.deepEqual(
    found,
    [SERIES[2], SERIES[1], SERIES[0]].map((series, at) => ({ number: numbers[at], ...series })),
  );
  assert.equal(new Set(numbers).size, SERIES.length);
  assert.deepEqual([...readTsdbIndex(encodeTsdbIndex([]))], []);
});

test("every flipped bit and every cut is found, or changes nothing that is read", () => {
  const bytes = encodeTsdbIndex(SERIES);
  const whole = JSON.stringify([...readTsdbIndex(bytes)]);
  let found = 0;
  for (let at = 0; at < bytes.length * 8; at++) {
    const damaged = bytes.slice();
    damaged[at >> 3] = (damaged[at >> 3] ?? 0) ^ (1 << (at & 7));
    try {
      assert.equal(JSON.stringify([...readTsdbIndex(damaged)]), whole, `bit ${at}`);
    } catch (error) {
      assert.ok(error instanceof TsdbFormatError, `bit ${at}: ${error}`);
      found++;
    }
  }
  assert.ok(found > bytes.length * 4, `${found} of ${bytes.length * 8} were found`);
  for (let length = 0; length < bytes.length; length++) {
    assert.throws(() => [...readTsdbIndex(bytes.subarray(0, length))], TsdbFormatError, `${length} bytes`);
  }
});
