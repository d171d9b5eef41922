import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { SampleRoom } from "../../model/sample-room.ts";
import type { Labels, SeriesSamples } from "../../model/series.ts";
import { systemClock } from "../../platform/system-clock.ts";
import { openStore } from "../../store/store.ts";
import { ChunkedSeries, ChunkStore, packChunks, unpackChunks } from "./chunked-series.ts";
import type { FedSeries } from "./encoded-columns.ts";
import { KnownLabels, SentLabels } from "./packed-labels.ts";
import { QueryBudget } from "./query-budget.ts";
import { selectInstant } from "./select-steps.ts";
import { KnownPages } from "./shared-pages.ts";
import { wordsOf } from "./value-words.ts";

const START_MS = 1_768_478_400_000;
const STEPS_MAX = 500;
/** How far most samples lie apart. */
const SCRAPE_MS = 15_000;
const STALE = new Float64Array(new BigUint64Array([0x7ff0000000000002n]).buffer);
const EVERYTHING = [{ name: "__name__", kind: "=", value: "m" }] as const;

function lineOf({ labels, timestampsMs, values }: SeriesSamples): string {
  return JSON.stringify([labels, [...timestampsMs], [...wordsOf(values)]]);
}

function random(seed: number): (max: number) => number {
  let state = seed;
  return (max) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * max);
  };
}

test("series that are decoded one by one have the samples that are read otherwise, in memory, in blocks and in both", async () => {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-chunked-"));
  const store = await openStore({
    directory,
    clock: systemClock(),
    retentionMs: 86_400_000,
    memoryLimitBytes: 256 * 2 ** 20,
    durability: "interval",
    outOfOrderWindowMs: 3_600_000,
  });
  const pick = random(5);
  const all = Array.from(
    { length: 40 },
    (_, i): Labels => [
      ["__name__", "m"],
      ["n", String(i)],
    ],
  );
  const values = [
    (i: number) => 400 * i + pick(400),
    () => pick(10_000) / 100,
    () => 1,
    () => Math.sqrt(pick(2 ** 30)),
    () => (pick(9) === 0 ? Number.NaN : pick(2 ** 40) * 2 ** 10),
  ];
  let lastMs = 0;
  const append = async (from: number, to: number) => {
    const series = all.map((labels, n) => {
      const timestampsMs = new Float64Array(to - from);
      const floats = new Float64Array(to - from);
      for (let i = from; i < to; i++) {
        // Some come at times of their own, and some have times that are not even.
        timestampsMs[i - from] = START_MS + SCRAPE_MS * i + 10 * (n >> 3) + (n % 8 === 7 ? pick(5_000) : 0);
        floats[i - from] = values[n % values.length]?.(i) ?? 0;
        if (n % 6 === 5 && pick(30) === 0) floats.set(STALE, i - from);
      }
      lastMs = Math.max(lastMs, timestampsMs.at(-1) ?? 0);
      return { labels, timestampsMs, values: floats };
    });
    const outcome = await store.writer.appendSeries(series);
    assert.equal(outcome.refused.size, 0, outcome.refusals[0]?.text);
  };
  const sent = new SentLabels();
  const known = new KnownLabels();
  const pages = new KnownPages();
  let chunked = 0;
  const compare = async (others: number) => {
    for (let round = 0; round < 40; round++) {
      const [a, b] = [START_MS + pick(lastMs - START_MS), START_MS + pick(lastMs - START_MS)];
      const [minMs, maxMs] = round === 0 ? [0, 2 * lastMs] : [Math.min(a, b), Math.max(a, b) + pick(20_000)];
      const limits = { samplesMax: 1e6, seriesMax: 100 };
      const want = await store.reader.select(EVERYTHING, minMs, maxMs, limits);
      const room = new SampleRoom();
      const found = await store.reader.selectChunks(EVERYTHING, minMs, maxMs, { ...limits, room });
      const packed = structuredClone(packChunks(found, 0, found.labels.length, sent));
      known.add(packed);
      assert.ok(packed.columns !== undefined && packed.pages !== undefined);
      const columns = new ChunkStore(packed.columns, pages.take(packed.pages));
      const series = unpackChunks(packed, columns, known);
      chunked += series.length;
      // Each is read while others were read in between.
      const got = [...series, ...found.others].map((one) => {
        const passing = one instanceof ChunkedSeries ? lineOf({ labels: one.labels, ...one.read() }) : lineOf(one);
        assert.equal(passing, lineOf(one));
        return passing;
      });
      for (const one of series) assert.equal(lineOf({ labels: one.labels, ...one.read() }), lineOf(one));
      for (const one of series) assert.equal(picksOf(one, minMs, maxMs), picksOf(plainOf(one), minMs, maxMs));
      assert.deepEqual(got.sort(), want.map(lineOf).sort(), `${minMs} to ${maxMs}`);
      assert.ok(round > 0 || found.others.length === others, `${found.others.length} others`);
      const even = series.filter((_, i) => Number(found.labels[i]?.[1]?.[1]) % 8 !== 7);
      assert.ok(even.every((one) => one.size === one.values.length));
      room.release();
    }
  };
  try {
    await append(0, 150);
    await compare(0);
    await append(150, 420);
    await compare(0);
    await store.sealMetrics();
    await compare(0);
    await append(420, 700);
    await compare(0);
    await store.sealMetrics();
    await append(700, 800);
    await compare(0);
    // What came late to two series is read otherwise.
    for (const labels of all.slice(0, 2)) {
      await store.writer.appendSeries([
        { labels, timestampsMs: Float64Array.of(lastMs - 100_001), values: Float64Array.of(7) },
      ]);
    }
    await compare(2);
  } finally {
    await store.close();
    rmSync(directory, { recursive: true, force: true });
  }
  assert.ok(chunked > 5_000);
});

/** What an instant selector gives for steps that look at samples of a window and no others, in six grids. */
function picksOf(samples: FedSeries, minMs: number, maxMs: number): string {
  const lines = [1, 7_000, 300_000, 1, 20_000, 300_000].map((lookbackMs, i) => {
    const startMs = Math.min(maxMs, Math.max(minMs + lookbackMs - 1, i < 3 ? 0 : START_MS));
    const few = Math.max(1, Math.floor((maxMs - startMs) / 61)) + (lookbackMs % 3);
    // Of the second three the steps are those of most samples, twice and three times those.
    const stepMs = i < 3 ? few : SCRAPE_MS * (i - 2);
    const steps =
      startMs - lookbackMs < minMs - 1 ? 0 : Math.min(STEPS_MAX, Math.floor((maxMs - startMs) / stepMs) + 1);
    const grid = { startMs, stepMs, steps, isInstant: steps === 1 };
    const { values, present } = selectInstant(samples, grid, { lookbackMs, read: "value" }, budget());
    return `${present} ${values}`;
  });
  return lines.join("\n");
}

function budget(): QueryBudget {
  return new QueryBudget({ samplesMax: 1e9, timeoutMs: 1e9 }, { monotonicMs: () => 0 });
}

function plainOf({ labels, timestampsMs, values }: ChunkedSeries): FedSeries {
  return { labels, timestampsMs, values, histograms: undefined, startsMs: undefined };
}

test("a worker keeps the pages that were used last", () => {
  const sent = new SentLabels().pages;
  const known = new KnownPages();
  const made = Array.from({ length: 5 }, (_, i) => {
    const page = new SharedArrayBuffer(8 * 2 ** 20);
    new Uint8Array(page)[0] = i;
    return page;
  });
  const use = (...numbers: number[]) => {
    const pages = numbers.map((number) => made[number] ?? new SharedArrayBuffer(8));
    const packed = structuredClone(sent.pack(pages));
    assert.deepEqual(
      known.take(packed).map(({ bytes }) => bytes[0]),
      numbers,
    );
    return packed.fresh.length;
  };
  assert.equal(use(0, 1, 2), 3);
  assert.equal(use(0, 1, 2), 0);
  assert.equal(use(3), 1);
  assert.equal(use(0), 0);
  assert.equal(use(4), 1);
  assert.equal(use(0, 3, 4), 0);
  assert.equal(use(1), 1);
  assert.equal(use(0, 1, 2, 3, 4), 1);
  assert.equal(new SentLabels().pages.pack(made.slice(0, 1)).isFirst, true);
});
