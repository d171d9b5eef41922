import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { NativeHistogram } from "../model/histogram.ts";
import { STALE_NAN_BITS } from "../model/series.ts";
import { BlockFiles, type BlockMeta, findBlocks } from "../platform/tsdb-files.ts";
import { crc32c } from "../wire/crc32c.ts";
import { encodeHistogramChunk } from "../wire/histogram-chunk.ts";
import { CHUNK_HISTOGRAM, CHUNK_XOR } from "../wire/series-chunks.ts";
import { encodeTsdbIndex } from "../wire/tsdb-index.ts";
import { encodeXorChunk } from "../wire/xor-chunk.ts";
import { overlapping, readBlocks } from "./import-blocks.ts";

const ROOT = mkdtempSync(join(tmpdir(), "thalweg-import-"));
after(() => rmSync(ROOT, { recursive: true }));

const HISTOGRAM: NativeHistogram = {
  schema: 0,
  zeroThreshold: 0,
  zeroCount: 1,
  count: 1,
  sum: 0,
  positiveSpans: [],
  positiveCounts: new Float64Array(0),
  negativeSpans: [],
  negativeCounts: new Float64Array(0),
  customValues: new Float64Array(0),
  resetHint: "unknown",
  integer: true,
};

type Chunk = readonly (readonly [ms: number, value: number | "stale" | "histogram"])[];

/** Writes a block of series named by their letters. */
function writeBlock(directory: string, series: Readonly<Record<string, readonly Chunk[]>>): string {
  const files = new BlockFiles(directory, 0, crc32c);
  const all = Object.entries(series).map(([name, chunks]) => ({
    labels: [["__name__", name]] as const,
    chunks: chunks.map((chunk) => {
      const timestampsMs = Float64Array.from(chunk, ([ms]) => ms);
      const place = chunk.some(([, value]) => value === "histogram")
        ? files.append(CHUNK_HISTOGRAM, encodeHistogramChunk({ timestampsMs, histograms: histogramsOf(chunk) }))
        : files.append(CHUNK_XOR, encodeXorChunk({ timestampsMs, values: valuesOf(chunk) }));
      return { minMs: timestampsMs.at(0) ?? 0, maxMs: timestampsMs.at(-1) ?? 0, ...place };
    }),
  }));
  const times = all.flatMap(({ chunks }) => chunks.flatMap(({ minMs, maxMs }) => [minMs, maxMs]));
  const stats = { numSamples: 0, numSeries: all.length, numChunks: 0 };
  const meta: Omit<BlockMeta, "ulid"> = { minTime: Math.min(...times), maxTime: Math.max(...times) + 1, stats };
  files.finish(encodeTsdbIndex(all), meta);
  return join(directory, files.ulid);
}

/** By their bits: a marker that is a number for a moment need not stay one. */
function valuesOf(chunk: Chunk): Float64Array {
  const values = Float64Array.from(chunk, ([, value]) => Number(value));
  const words = new BigUint64Array(values.buffer);
  for (const [at, [, value]] of chunk.entries()) if (value === "stale") words[at] = STALE_NAN_BITS;
  return values;
}

function histogramsOf(chunk: Chunk): (NativeHistogram | undefined)[] {
  return chunk.map(([, value]) => (value === "histogram" ? HISTOGRAM : undefined));
}

/** Series with their samples in the order in which they would be sent. */
function readAll(directory: string): string[] {
  const found = new Map<string, string[]>();
  for (const group of overlapping(findBlocks(directory))) {
    for (const samples of readBlocks(group)) {
      if (samples === undefined) {
        found.set("damaged", []);
        continue;
      }
      const name = samples.labels[0]?.[1] ?? "";
      const list = found.get(name) ?? [];
      found.set(name, list);
      for (const [at, ms] of samples.timestampsMs.entries()) list.push(`${ms}=${samples.values[at]}`);
    }
  }
  return [...found].map(([name, list]) => `${name} ${list.join(" ")}`);
}

/** Numbers below 64, so that each takes a byte; of times the zigzag. */
function writeTombstones(
  block: string,
  ...stones: readonly (readonly [series: number, fromMs: number, toMs: number])[]
) {
  const body = Buffer.from(stones.flatMap(([series, fromMs, toMs]) => [series, 2 * fromMs, 2 * toMs]));
  const bytes = Buffer.concat([Buffer.from([0x01, 0x30, 0xba, 0x30, 1]), body, Buffer.alloc(4)]);
  bytes.writeUInt32BE(crc32c(body), bytes.length - 4);
  writeFileSync(join(block, "tombstones"), bytes);
}

/** Numbers of a block's series begin behind header and symbols; the first is the least multiple of 16 behind those. */
const FIRST_SERIES = 2;

test("blocks that overlap give each series in order of time, one sample a time", () => {
  const directory = mkdtempSync(join(ROOT, "overlap-"));
  writeBlock(directory, {
    a: [
      [
        [1, 1],
        [3, 3],
      ],
      [
        [5, 5],
        [7, 7],
      ],
    ],
    c: [[[2, 2]]],
  });
  writeBlock(directory, {
    a: [
      [
        [2, 20],
        [3, 30],
        [6, 60],
      ],
    ],
    b: [[[4, 4]]],
  });
  writeBlock(directory, { a: [[[8, 8]]] });
  const [a, ...others] = readAll(directory);
  assert.match(a ?? "", /^a 1=1 2=20 3=30? 5=5 6=60 7=7 8=8$/);
  assert.deepEqual(others, ["b 4=4", "c 2=2"]);
  const sizes = overlapping(findBlocks(directory)).map((group) => group.length);
  assert.deepEqual(sizes, [2, 1]);
});

test("what is deleted from a block is not read, nor is a chunk of it that nothing is left of", () => {
  const directory = mkdtempSync(join(ROOT, "deleted-"));
  const block = writeBlock(directory, {
    a: [
      [
        [1, 1],
        [2, 2],
        [3, 3],
      ],
      [
        [4, 4],
        [5, 5],
      ],
    ],
    b: [[[1, 1]]],
  });
  writeTombstones(block);
  assert.deepEqual(readAll(directory), ["a 1=1 2=2 3=3 4=4 5=5", "b 1=1"]);
  writeTombstones(block, [FIRST_SERIES, 2, 2], [FIRST_SERIES, 4, 9]);
  assert.deepEqual(readAll(directory), ["a 1=1 3=3", "b 1=1"]);
});

test("a list of deletions that is damaged is told by its name", () => {
  const directory = mkdtempSync(join(ROOT, "damaged-"));
  const block = writeBlock(directory, { a: [[[1, 1]]] });
  writeFileSync(join(block, "tombstones"), Buffer.from([0x01, 0x30, 0xba, 0x30, 1, 2, 2, 2, 0, 0, 0, 0]));
  assert.throws(() => readAll(directory), /\/tombstones: it is damaged$/);
});

test("stale markers stay what they are where blocks are put together", () => {
  const directory = mkdtempSync(join(ROOT, "stale-"));
  writeBlock(directory, {
    a: [
      [
        [1, 1],
        [3, "stale"],
      ],
    ],
  });
  writeBlock(directory, { a: [[[2, 2]]] });
  const words = overlapping(findBlocks(directory))
    .flatMap((group) => [...readBlocks(group)])
    .flatMap((samples) => [...new BigUint64Array(samples?.values.slice().buffer ?? new ArrayBuffer(0))]);
  assert.equal(words.at(-1), STALE_NAN_BITS);
  assert.equal(words.length, 3);
});

test("floats and histograms of one series come apart, in order of time, with the markers that end them", () => {
  const directory = mkdtempSync(join(ROOT, "mixed-"));
  writeBlock(directory, {
    a: [
      [
        [1, 1],
        [2, 2],
        [6, 6],
        [7, "stale"],
      ],
    ],
  });
  writeBlock(directory, {
    a: [
      [
        [3, "histogram"],
        [4, "histogram"],
        [5, "stale"],
      ],
    ],
  });
  const runs = overlapping(findBlocks(directory)).flatMap((group) => [...readBlocks(group)]);
  assert.deepEqual(
    runs.map((run) => [run?.histograms?.map((each) => each !== undefined), [...(run?.timestampsMs ?? [])]]),
    [
      [undefined, [1, 2]],
      [
        [true, true, false],
        [3, 4, 5],
      ],
      [undefined, [6, 7]],
    ],
  );
});
