import assert from "node:assert/strict";
import { test } from "node:test";
import { ByteReader, BytesEndError } from "../model/byte-reader.ts";
import { ByteWriter } from "../model/byte-writer.ts";
import { readXor, writeXor } from "../model/double-codec.ts";
import {
  CHUNK_HAS_EVEN_TIMES,
  emptyChunkHead,
  openFloatChunk,
  readChunkFloats,
  readUnevenTimes,
  STALE_NAN,
} from "../model/float-chunk.ts";
import { bytePage } from "../model/paged-bytes.ts";
import { emptyColumns, joinChunks, readChunk, type SampleRun, sealChunk } from "./metric-chunk.ts";
import { anyDouble, anyRun, bitText, linesOf, random } from "./metric-fixture.ts";

test("a double comes back bit by bit, whatever the one before", () => {
  const pick = random(1);
  for (let round = 0; round < 20_000; round++) {
    const [value, previous] = [anyDouble(pick), anyDouble(pick)];
    const out = new ByteWriter();
    writeXor(out, value, previous);
    assert.ok(out.length <= 9);
    const reader = new ByteReader(out.take());
    assert.equal(bitText(readXor(reader, previous)), bitText(value));
    assert.equal(reader.left, 0);
  }
});

const line = (run: SampleRun) => linesOf([{ labels: [], ...run }])[0];

test("parts of a run that are joined are the chunk of the whole, whatever was joined before", () => {
  const pick = random(5);
  for (let round = 0; round < 1000; round++) {
    const run = anyRun(pick);
    const { length } = run.timestampsMs;
    if (length < 2 || (run.histograms !== undefined && length > 64) || length > 512) continue;
    const cut = 1 + pick(length - 1);
    const joined = joinChunks([sealChunk(run, 0, cut), sealChunk(run, cut, length)]);
    assert.deepEqual(joined, [sealChunk(run, 0, length)], `round ${round}`);
  }
});

test("a chunk of any samples comes back bit by bit, also from the middle of longer columns", () => {
  const pick = random(2);
  for (let round = 0; round < 4000; round++) {
    const run = anyRun(pick);
    const chunk = sealChunk(run, 0, run.timestampsMs.length);
    const read = emptyColumns(chunk.count);
    readChunk(chunk, read, 0);
    assert.equal(line(read), line(run), `round ${round}`);
    assert.equal(chunk.minMs, run.timestampsMs[0]);
    const from = pick(chunk.count);
    const part = sealChunk(run, from, chunk.count);
    const longer = emptyColumns(part.count + 7);
    readChunk(part, longer, 7);
    const { timestampsMs, values, histograms, startsMs } = longer;
    const tail = {
      timestampsMs: timestampsMs.slice(7),
      values: values.slice(7),
      histograms: histograms?.slice(7),
      startsMs: startsMs?.slice(7),
    };
    const want = {
      timestampsMs: run.timestampsMs.slice(from),
      values: run.values.slice(from),
      histograms: run.histograms?.slice(from),
      startsMs: run.startsMs?.slice(from),
    };
    assert.equal(line(tail), line(want));
  }
});

test("common series take few bytes a sample", () => {
  const bytesOf = (value: (i: number) => number) => {
    const columns = emptyColumns(120);
    for (let i = 0; i < 120; i++) {
      columns.timestampsMs[i] = 1_768_478_400_000 + 15_000 * i;
      columns.values[i] = value(i);
    }
    return sealChunk(columns, 0, 120).bytes.length / 120;
  };
  const pick = random(3);
  assert.ok(bytesOf(() => 1) < 0.2);
  assert.ok(bytesOf((i) => i * 100 + pick(20)) < 1);
  assert.ok(bytesOf((i) => 4096 * (1000 + ((i * 7) % 50))) < 1);
  assert.ok(bytesOf(() => pick(10_000) / 100) < 2);
  assert.ok(bytesOf((i) => Math.sqrt(1e6 + i)) < 6);
  assert.ok(bytesOf(() => pick(2 ** 30) / 7) < 8.2);
});

test("chunks of the layout before are read", () => {
  const ok = (hex: string, want: readonly (readonly [ms: number, value: number])[]) => {
    const read = emptyColumns(want.length);
    readChunk({ count: want.length, bytes: Uint8Array.from(Buffer.from(hex, "hex")) }, read, 0);
    const columns = emptyColumns(want.length);
    for (const [i, [ms, value]] of want.entries()) {
      columns.timestampsMs[i] = ms;
      // A list of numbers does not keep the payload of a NaN.
      columns.values[i] = Number.isNaN(value) ? STALE_NAN : value;
    }
    assert.equal(line(read), line(columns), hex);
  };
  ok("0080f8b698f866cf8db598f866020310000a040013", [
    [1_768_478_400_000, 5],
    [1_768_478_415_000, 7],
    [1_768_478_430_001, 7],
    [1_768_478_445_000, -3],
  ]);
  ok("0000d00f000c048827a8c301b2a878", [
    [0, 0.25],
    [1000, 1.5],
    [2000, 100.0625],
  ]);
  ok("0009280900100e08182d4454fb21094007717a50dff19e0c086957148b0abf05c062f0ff", [
    [-5, Math.PI],
    [10, Math.E],
    [20, -0],
    [30, Number.POSITIVE_INFINITY],
  ]);
  ok("000200000c0f555555555555d53fb2182509fc4d0bfe0300000000000000", [
    [1, 1 / 3],
    [2, -1e300 / 7],
    [3, 3 * Number.MIN_VALUE],
  ]);
  ok("00c8010000040604000202", [
    [100, 1],
    [200, Number.NaN],
    [300, 2],
  ]);
});

test("damaged bytes throw BytesEndError or give samples, and never run on", () => {
  const pick = random(4);
  for (let round = 0; round < 5000; round++) {
    const run = anyRun(pick);
    const chunk = sealChunk(run, 0, run.timestampsMs.length);
    const bytes = chunk.bytes.slice(0, pick(5) === 0 ? pick(chunk.bytes.length) : chunk.bytes.length);
    for (let flips = 1 + pick(3); flips > 0 && bytes.length > 0; flips--) bytes[pick(bytes.length)] = pick(256);
    try {
      readChunk({ count: chunk.count, bytes }, emptyColumns(chunk.count), 0);
    } catch (error) {
      assert.ok(error instanceof BytesEndError, String(error));
    }
  }
});

test("chunks of floats and stale markers are read in a page as they are by themselves, also at its end", () => {
  const pick = random(11);
  const kinds: readonly ((i: number) => number)[] = [
    () => 7,
    (i) => i * 400 + pick(400),
    (i) => 2 ** 40 - i * pick(2 ** 33),
    () => pick(10_000) / 100,
    () => pick(2 ** 26) * 2 ** 12,
    (i) => 3 * i + 5,
    () => pick(2 ** 31) - 2 ** 30,
    () => pick(1_000_000) / 16_384,
    () => anyDouble(pick),
  ];
  let alone = 0;
  for (let round = 0; round < 4000; round++) {
    const count = 1 + pick(300);
    const made = emptyColumns(count);
    const value = kinds[pick(kinds.length)] ?? (() => 0);
    const markers = round % 3 === 0;
    let ms = 1_768_478_400_000 + pick(10_000);
    for (let i = 0; i < count; i++) {
      made.timestampsMs[i] = ms;
      made.values[i] = markers && pick(20) === 0 ? STALE_NAN : value(i);
      ms += round % 2 === 0 ? 15_000 : 1 + pick(20_000);
    }
    const chunk = sealChunk(made, 0, count);
    const want = emptyColumns(count);
    readChunk(chunk, want, 0);
    const [before, after] = [pick(9), pick(2) * pick(9)];
    const bytes = new Uint8Array(before + chunk.bytes.length + after).fill(0xff);
    bytes.set(chunk.bytes, before);
    const page = bytePage(bytes.buffer);
    const head = emptyChunkHead();
    const got = emptyColumns(count + 3);
    openFloatChunk(page, before, count, head);
    if ((head.flags & CHUNK_HAS_EVEN_TIMES) === 0) {
      readUnevenTimes(page, head, got.timestampsMs, 3, count);
      alone++;
    } else for (let i = 0; i < count; i++) got.timestampsMs[3 + i] = head.firstMs + i * head.stepMs;
    readChunkFloats(page, head, got.values, 3, count);
    const read = { ...got, timestampsMs: got.timestampsMs.slice(3), values: got.values.slice(3) };
    assert.equal(line(read), line(want), `round ${round}`);
  }
  assert.ok(alone > 1000);
});

test("what is no chunk of floats is not read in a page", () => {
  const head = emptyChunkHead();
  const read = (hex: string, count: number) => {
    const page = bytePage(Uint8Array.from(Buffer.from(hex, "hex")).buffer);
    openFloatChunk(page, 0, count, head);
    readChunkFloats(page, head, new Float64Array(count), 0, count);
  };
  for (const [hex, count] of [
    ["", 1],
    ["04020200", 1],
    ["8102", 1],
    ["8802", 1],
    ["840202", 2],
    ["8402020f", 2],
    ["84020200", 2],
    ["840202000219", 9],
    ["84ffffffffffffffffffffff", 2],
    ["8602023d", 2],
  ] as const) {
    assert.throws(() => read(hex, count), BytesEndError, hex);
  }
});
