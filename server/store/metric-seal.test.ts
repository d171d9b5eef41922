import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { cp, mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ThalwegError } from "../model/errors.ts";
import type { SeriesSamples } from "../model/series.ts";
import { isMissing } from "../platform/files.ts";
import {
  allOf,
  anyDouble,
  anyHistogram,
  EVERYTHING,
  grown,
  labels,
  linesOf,
  metricDirectory,
  openMetrics,
  type Pick,
  random,
  START_MS,
  seriesOf,
  TestClock,
  type TestSample,
  valuesOf,
} from "./metric-fixture.ts";
import type { MetricStore } from "./metric-store.ts";
import type { FloatReader } from "./reader.ts";

const HOUR_MS = 3_600_000;
const M = labels("m");

/**
 * What a kill at this moment would leave: first the log, then the blocks, since samples only go from the one to the other.
 * Blocks are copied until none came or went meanwhile, as far as files that are there at one moment are meant.
 */
async function imageOf(directory: string, image: string): Promise<void> {
  await copyFolder(directory, image, "wal");
  for (let before: string[] | undefined; ; ) {
    const names = await copyFolder(directory, image, "blocks");
    if (before?.join() === names.join()) return;
    before = names;
  }
}

async function copyFolder(directory: string, image: string, folder: string): Promise<string[]> {
  await rm(join(image, folder), { recursive: true, force: true });
  await mkdir(join(image, folder), { recursive: true });
  const names = await readdir(join(directory, folder));
  for (const name of names) {
    await cp(join(directory, folder, name), join(image, folder, name)).catch((error: unknown) => {
      if (!isMissing(error)) throw error;
    });
  }
  return names;
}

/** Everything that was stored, kept in the plainest way. */
class Oracle {
  readonly #series = new Map<string, { labels: ReturnType<typeof labels>; samples: Map<number, TestSample> }>();
  newestMs = Number.NEGATIVE_INFINITY;

  keep(l: ReturnType<typeof labels>, sample: TestSample): void {
    const key = JSON.stringify(l);
    const series = this.#series.get(key) ?? { labels: l, samples: new Map() };
    this.#series.set(key, series);
    series.samples.set(sample[0], sample);
    this.newestMs = Math.max(this.newestMs, sample[0]);
  }

  lines(minMs: number, maxMs: number): string[] {
    const found = [...this.#series.values()].map(({ labels: l, samples }) => {
      const inside = [...samples.values()].filter(([ms]) => ms >= minMs && ms <= maxMs);
      return seriesOf(
        l,
        inside.sort(([a], [b]) => a - b),
      );
    });
    return linesOf(found.filter(({ timestampsMs }) => timestampsMs.length > 0)).map(withoutHints);
  }
}

/** Hints depend on what stands where; the test of hints looks at them. */
function withoutHints(line: string): string {
  return line.replaceAll(/"resetHint":"(?:unknown|reset|not_reset)"/g, "");
}

async function linesIn(metrics: MetricStore, minMs: number, maxMs: number): Promise<string[]> {
  const { reader } = metrics;
  const lines = linesOf(await reader.select(EVERYTHING, minMs, maxMs));
  // A few series at a time, and in any order, they are the same.
  const found = (await reader.finder.series(EVERYTHING, minMs, maxMs)).toReversed();
  const parts = [found.slice(0, 2), [...found.slice(2), labels("unknown")]];
  const inParts = await Promise.all(parts.map((part) => reader.selectSeries(part, minMs, maxMs)));
  assert.deepEqual(linesOf(inParts.flat()), lines);
  const newest = await reader.selectNewest(EVERYTHING, minMs, maxMs);
  const floats = newest.labels.map((l, i) => ({
    labels: l,
    timestampsMs: newest.timestampsMs.subarray(i, i + 1),
    values: newest.values.subarray(i, i + 1),
  }));
  const lasts = linesOf((await reader.select(EVERYTHING, minMs, maxMs)).map(lastOf));
  assert.deepEqual(linesOf([...floats, ...newest.others.map(lastOf)]), lasts);
  await holdsFloats(metrics, minMs, maxMs);
  return lines.map(withoutHints);
}

/** Series that are read as floats have the samples that they are selected with. */
async function holdsFloats({ reader }: MetricStore, minMs: number, maxMs: number): Promise<void> {
  const read: Omit<SeriesSamples, "labels">[] = [];
  const floats: FloatReader = {
    samplesMax: 64,
    result: 0.5,
    read: (timestampsMs, values, low, high) => {
      assert.ok(high <= 64, `${high} samples at once`);
      read.push({ timestampsMs: timestampsMs.slice(low, high), values: values.slice(low, high) });
      return true;
    },
  };
  // Others may read more at once, before and meanwhile.
  const many = reader.selectNumbers({
    matchers: EVERYTHING,
    minMs,
    maxMs,
    floats: { samplesMax: 2_048, result: 0, read: () => true },
  });
  const numbers = await reader.selectNumbers({ matchers: EVERYTHING, minMs, maxMs, floats });
  await many;
  assert.ok(numbers.labels.length === read.length && numbers.values.every((value) => value === 0.5));
  assert.equal(
    numbers.samples,
    read.reduce((sum, { values }) => sum + values.length, 0),
  );
  const whole = numbers.labels.map((l, i) => ({ timestampsMs: NONE, values: NONE, ...read[i], labels: l }));
  const selected = (await reader.select(EVERYTHING, minMs, maxMs)).map((one) => ({ ...one, startsMs: undefined }));
  const others = numbers.others.map((one) => ({ ...one, startsMs: undefined }));
  assert.deepEqual(linesOf([...whole, ...others]), linesOf(selected));
  seriesRead += read.length;
}

const NONE = new Float64Array(0);
let seriesRead = 0;

after(() => assert.ok(seriesRead > 0));

/** A series with its last sample only. */
function lastOf({ labels: l, timestampsMs, values, histograms, startsMs }: SeriesSamples): SeriesSamples {
  const at = timestampsMs.length - 1;
  return {
    labels: l,
    timestampsMs: timestampsMs.subarray(at),
    values: values.subarray(at),
    histograms: histograms?.[at] === undefined ? undefined : [histograms[at]],
    startsMs: (startsMs?.[at] ?? 0) === 0 ? undefined : startsMs?.subarray(at),
  };
}

const WINDOW_MS = 600_000;

/** One write of a few series, some in order and some late; all of it must be kept. */
async function appendSome(metrics: MetricStore, oracle: Oracle, pick: Pick, nowMs: number): Promise<void> {
  const writes = [];
  let samples = 0;
  for (let n = 1 + pick(6); n > 0; n--) {
    const l = labels(`m${pick(3)}`, { n: String(n) });
    const value = pick(3) === 0 ? grown(anyHistogram(pick), pick(3)) : anyDouble(pick);
    // Late ones have odd times, each once, so that none contradicts another.
    const isLate = pick(4) === 0 && Number.isFinite(oracle.newestMs);
    const ms = isLate ? 2 * Math.floor(oracle.newestMs / 2) - 2 * pick(WINDOW_MS / 4) - 1 : nowMs;
    const sample: TestSample = [ms, value, pick(5) === 0 ? ms - 1000 : 0];
    writes.push({ l, sample });
    samples++;
  }
  const outcome = await metrics.appendSeries(writes.map(({ l, sample }) => seriesOf(l, [sample])));
  const refused = [...outcome.refused.values()].reduce((sum, count) => sum + count, 0);
  assert.equal(outcome.samples + outcome.histograms + refused, samples);
  if (refused === 0) for (const { l, sample } of writes) oracle.keep(l, sample);
  else assert.ok(outcome.refused.has("duplicate"), JSON.stringify([...outcome.refused]));
}

test("random writes, seals, restarts and kills: what is read is what was stored", { timeout: 240_000 }, async (t) => {
  let joins = 0;
  for (const seed of [1, 2, 3]) {
    const directory = await metricDirectory(t);
    const pick = random(seed);
    const oracle = new Oracle();
    const options = { segmentBytesMax: 3000, outOfOrderWindowMs: WINDOW_MS };
    let metrics = await openMetrics(directory, options);
    let nowMs = 2 * Math.floor(START_MS / 2);
    let sealing: Promise<void> = Promise.resolve();
    const check = async (store: MetricStore, what: string) => {
      const from = pick(3) === 0 ? START_MS + pick(nowMs - START_MS + 1) : 0;
      const to = pick(3) === 0 ? from + pick(HOUR_MS) : nowMs + HOUR_MS;
      assert.deepEqual(await linesIn(store, from, to), oracle.lines(from, to), `seed ${seed}: ${what}`);
    };
    for (let round = 0; round < 250; round++) {
      nowMs += 2 * pick(60_000) + 2;
      await appendSome(metrics, oracle, pick, nowMs);
      if (pick(8) === 0) sealing = metrics.sealAll();
      if (pick(30) === 0) await check(metrics, `round ${round}`);
      if (pick(30) === 0) {
        const image = await metricDirectory(t);
        await imageOf(directory, image);
        const copy = await openMetrics(image, options);
        await check(copy, `image of round ${round}`);
        await copy.close();
      }
      if (pick(40) === 0) {
        await sealing;
        joins += metrics.stats().joins;
        await metrics.close();
        metrics = await openMetrics(directory, options);
        await check(metrics, `restart in round ${round}`);
      }
    }
    await sealing;
    assert.ok(metrics.stats().blocks >= 1);
    joins += metrics.stats().joins;
    await check(metrics, "the end");
    await metrics.close();
  }
  assert.ok(joins > 0, "blocks were joined on the way");
});

test("samples that grow old go to blocks by themselves, and their log segments go", async (t) => {
  const directory = await metricDirectory(t);
  const clock = new TestClock();
  const metrics = await openMetrics(directory, { clock, segmentBytesMax: 4000 });
  const start = Math.ceil(START_MS / (2 * HOUR_MS)) * 2 * HOUR_MS;
  const steps = (10 * HOUR_MS) / 60_000;
  for (let i = 0; i < steps; i++) {
    clock.ms = start + i * 60_000;
    const write = Array.from({ length: 5 }, (_, n) => seriesOf(labels("m", { n: String(n) }), [[clock.ms, i * n]]));
    await metrics.appendSeries(write);
    assert.equal((await linesIn(metrics, start, clock.ms)).length, 5);
  }
  await sleep(50);
  const { blocks, logSegments, seals } = metrics.stats();
  assert.ok(blocks >= 3 && blocks <= 4, `${blocks} blocks of two hours`);
  assert.equal(seals, blocks);
  assert.ok(logSegments <= 12, `${logSegments} segments for what is in memory`);
  const before = await allOf(metrics);
  assert.equal(before[0]?.split("@").length, steps + 1);
  await metrics.close();
  const again = await openMetrics(directory);
  assert.deepEqual(await allOf(again), before);
  assert.equal(again.stats().blocks, blocks);
  await again.close();
});

test("whoever reads while samples are sealed finds all of them", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  const samples = [...Array(40).keys()].map((i) => [START_MS + 1000 * i, i / 7] as const);
  const names = [...Array(4000).keys()].map((i) => labels("m", { i: String(i) }));
  for (let round = 0; round < 3; round++) {
    const later = samples.map(([ms, value]) => [ms + 60_000 * round, value] as const);
    await metrics.appendSeries(names.map((l) => seriesOf(l, later)));
    const reads: Promise<number>[] = [];
    let isSealed = false;
    const sealed = metrics.sealAll().then(() => {
      isSealed = true;
    });
    while (!isSealed) {
      const count = async () => {
        const found = await metrics.reader.select(EVERYTHING, 0, 2 ** 52);
        return found.reduce((sum, { values }) => sum + values.length, 0);
      };
      reads.push(count());
      await sleep(3);
    }
    await sealed;
    for (const found of await Promise.all(reads)) assert.equal(found, 4000 * 40 * (round + 1));
    assert.ok(reads.length > 3);
  }
  await metrics.close();
});

test("after a crash between block and log nothing is read or sealed twice", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { outOfOrderWindowMs: HOUR_MS });
  await metrics.appendSeries([
    seriesOf(
      M,
      [...Array(300).keys()].map((i) => [START_MS + 1000 * i, i] as const),
    ),
  ]);
  await metrics.appendSeries([seriesOf(M, [[START_MS + 1500, anyHistogram(random(1))]])]);
  const before = await allOf(metrics);
  const image = await metricDirectory(t);
  await imageOf(directory, image);
  await metrics.sealAll();
  assert.deepEqual(await allOf(metrics), before);
  assert.equal(metrics.stats().logSegments, 1, "nothing but what is carried over");
  // The old log beside the new block: the process died before it deleted the segments.
  await cp(join(directory, "blocks"), join(image, "blocks"), { recursive: true });
  const again = await openMetrics(image, { outOfOrderWindowMs: HOUR_MS });
  assert.deepEqual(await allOf(again), before);
  await again.sealAll();
  assert.equal(again.stats().blocks, 1, "there was nothing in memory to seal");
  const { refused } = await again.appendSeries([seriesOf(M, [[START_MS + 299_000, 7]])]);
  assert.deepEqual([...refused], [["duplicate", 1]]);
  assert.equal((await again.appendSeries([seriesOf(M, [[START_MS + 299_000, 299]])])).samples, 1);
  assert.equal((await again.appendSeries([seriesOf(M, [[START_MS + 300_000, 8]])])).samples, 1);
  await again.close();
  await metrics.close();
});

test("exemplars and metadata outlive the segments that held them", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  const exemplars = [{ labels: labels("x"), timestampMs: START_MS, value: 1 }];
  await metrics.appendSeries([{ ...seriesOf(M, [[START_MS, 1]]), exemplars }]);
  metrics.describe({ name: "m", type: "counter", help: "h", unit: "" });
  await metrics.sealAll();
  await metrics.sealAll();
  await metrics.close();
  const again = await openMetrics(directory);
  assert.deepEqual(await again.reader.finder.exemplars(EVERYTHING, 0, 2 ** 52), [{ labels: M, exemplars }]);
  assert.deepEqual(again.metadata(), [{ name: "m", type: "counter", help: "h", unit: "" }]);
  await again.close();
});

test("a block that cannot be written leaves all in memory, and the next attempt takes it", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { outOfOrderWindowMs: HOUR_MS });
  await metrics.appendSeries([
    seriesOf(
      M,
      [...Array(200).keys()].map((i) => [START_MS + 10 * i, i] as const),
    ),
  ]);
  await metrics.appendSeries([seriesOf(M, [[START_MS + 15, 7]])]);
  const before = await allOf(metrics);
  const bytes = metrics.stats().memoryBytes;
  // The place to write is taken: a real error of the file system.
  const blocker = join(directory, "blocks", "unfinished-1.metrics");
  await mkdir(join(blocker, "x"), { recursive: true });
  await assert.rejects(metrics.sealAll());
  assert.equal(metrics.stats().failures, 1);
  assert.deepEqual(await allOf(metrics), before);
  assert.ok(Math.abs(metrics.stats().memoryBytes - bytes) < 1000, "what is in memory is counted as before");
  await rm(blocker, { recursive: true });
  await metrics.appendSeries([seriesOf(M, [[START_MS + 10_000, 8]])]);
  await metrics.sealAll();
  assert.equal((await valuesOf(metrics)).split(" ").length, 202);
  await metrics.close();
  const again = await openMetrics(directory);
  assert.equal((await valuesOf(again)).split(" ").length, 202);
  await again.close();
});

test("full memory goes to blocks, and nothing is lost", { timeout: 120_000 }, async (t) => {
  const memoryBytesMax = 240_000;
  const metrics = await openMetrics(await metricDirectory(t), { memoryBytesMax, segmentBytesMax: 20_000 });
  for (let n = 0; n < 600; n++) {
    const ms = START_MS + n * 1000;
    const write = Array.from({ length: 60 }, (_, i) => seriesOf(labels("m", { i: String(i) }), [[ms, n / 7 + i]]));
    await metrics.appendSeries(write);
    assert.ok(metrics.stats().memoryBytes < 1.3 * memoryBytesMax, `${metrics.stats().memoryBytes}`);
  }
  assert.ok(metrics.stats().seals > 1);
  const lines = await allOf(metrics);
  assert.equal(lines.length, 60);
  for (const line of lines) assert.equal(line.split("@").length, 601);
  await metrics.close();
});

test("memory that is full of series refuses writes until it is not", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), { memoryBytesMax: 20_000, seriesMax: 1000 });
  const write = (from: number) =>
    Array.from({ length: 80 }, (_, i) => seriesOf(labels("m", { i: String(from + i) }), [[START_MS, 1]]));
  await metrics.appendSeries(write(0));
  await assert.rejects(metrics.appendSeries(write(80)), { code: "store_unavailable" });
  await metrics.close();
});

test("beyond the size of all blocks the oldest go by themselves, the newest stays", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { retentionMs: 1e12, blockBytesMax: 1 });
  for (let i = 0; i < 3; i++) {
    await metrics.appendSeries([seriesOf(M, [[START_MS + i, i]])]);
    await metrics.sealAll();
  }
  assert.deepEqual(
    metrics.status(1).blocks.map(({ minMs, samples }) => [minMs - START_MS, samples]),
    [
      [0, 1],
      [1, 1],
      [2, 1],
    ],
  );
  assert.equal(await metrics.enforceRetention(), 2);
  assert.equal(await valuesOf(metrics), `${START_MS + 2}:2`);
  await metrics.close();
});

test("a log that grows long is sealed but for the last ten minutes, or wholly where those are too much", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { logBytesMax: 20_000, segmentBytesMax: 4_000 });
  const many = Array.from({ length: 10 }, (_, i) => labels(`m${i}`));
  const write = async (from: number, to: number, stepMs: number) => {
    for (let step = from; step < to; step++) {
      await metrics.appendSeries(many.map((one) => seriesOf(one, [[START_MS + step * stepMs, step + 0.1]])));
      await sleep(0);
    }
    while (metrics.stats().seals < 1) await sleep(5);
  };
  await write(0, 400, 15_000);
  const [first] = metrics.status(1).blocks;
  assert.ok((first?.maxMs ?? 0) <= START_MS + 400 * 15_000 - 600_000, "what is young stays in memory");
  await write(400 * 15_000, 400 * 15_000 + 1_000, 1);
  while (metrics.stats().logBytes > 60_000) await sleep(5);
  const found = await metrics.reader.select(EVERYTHING, 0, 2 ** 50);
  assert.deepEqual(
    found.map(({ values }) => values.length),
    many.map(() => 1_400),
  );
  await metrics.close();
});

test("a log that is long of the last ten minutes alone is not sealed at each write", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), { logBytesMax: 20_000, segmentBytesMax: 4_000 });
  const many = Array.from({ length: 50 }, (_, i) => labels(`m${i}`));
  for (let step = 0; step < 300; step++) {
    await metrics.appendSeries(many.map((one) => seriesOf(one, [[START_MS + step * 10_000, step + 0.1]])));
    await sleep(1);
  }
  const { seals } = metrics.stats();
  assert.ok(seals >= 3 && seals <= 8, `${seals} seals in fifty minutes`);
  await metrics.close();
});

test("a store that is closed with much in its log is opened from a block", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  const many = Array.from({ length: 1_000 }, (_, i) => labels(`m${i}`));
  for (let step = 0; step < 400; step++) {
    const ms = START_MS + step * 15_000;
    await metrics.appendSeries(many.map((each, i) => seriesOf(each, [[ms, i / 7 + step + 0.1]])));
  }
  const read = async (from: MetricStore) => {
    const found = await from.reader.select(EVERYTHING, 0, 2 ** 50, { samplesMax: 1e9, seriesMax: 1e6 });
    const lines = found.map(
      (one) => `${one.labels} ${one.timestampsMs.join()} ${Buffer.from(one.values.slice().buffer).toString("hex")}`,
    );
    return createHash("sha1").update(lines.sort().join()).digest("hex");
  };
  const before = await read(metrics);
  assert.equal(metrics.stats().blocks, 0);
  await metrics.close();
  const again = await openMetrics(directory);
  assert.equal(again.stats().blocks, 1);
  assert.equal(again.stats().logBytes < 1e6, true);
  assert.equal(await read(again), before);
  const late = await again.appendSeries([seriesOf(labels("m7"), [[START_MS, 1]])]);
  assert.equal(late.refused.get("out_of_order"), 1, "its newest sample is known");
  await again.close();
});

test("retention counts from the newest block: 1970 stays until there is something newer, then goes a day a call", async (t) => {
  const clock = new TestClock();
  const day = 24 * HOUR_MS;
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { clock, retentionMs: 2 * day });
  for (const days of [0, 0.5, 3]) {
    await metrics.appendSeries([seriesOf(labels(`m${days * 2}`), [[days * day, 1]])]);
    await metrics.sealAll();
  }
  assert.equal(await metrics.enforceRetention(), 2);
  assert.deepEqual(await metrics.reader.finder.series([], 0, START_MS), [labels("m6")]);
  for (const days of [4, 5, 6]) {
    await metrics.appendSeries([seriesOf(M, [[days * day, 1]])]);
    await metrics.sealAll();
  }
  await metrics.appendSeries([seriesOf(M, [[START_MS, 1]])]);
  await metrics.sealAll();
  assert.equal(await metrics.enforceRetention(), 2, "a day of what is oldest");
  assert.equal(await metrics.enforceRetention(), 2);
  assert.equal(await metrics.enforceRetention(), 0);
  assert.equal(await valuesOf(metrics), `${START_MS}:1`);
  await metrics.close();
  const again = await openMetrics(directory, { clock });
  assert.equal(again.stats().series, 1);
  await again.close();
});

test("a clock that jumps ahead costs nothing while the program runs", async (t) => {
  const clock = new TestClock();
  const jumped = { nowMs: () => clock.ms + 3650 * 24 * HOUR_MS, nowUnixNano: () => 0n, monotonicMs: () => 0 };
  const jumping = { ...jumped, nowMs: () => (isJumped ? jumped.nowMs() : clock.ms) };
  let isJumped = false;
  const metrics = await openMetrics(await metricDirectory(t), { clock: jumping, retentionMs: 24 * HOUR_MS });
  await metrics.appendSeries([seriesOf(M, [[clock.ms, 1]])]);
  await metrics.sealAll();
  isJumped = true;
  await metrics.appendSeries([seriesOf(M, [[jumping.nowMs(), 2]])]);
  await metrics.sealAll();
  assert.equal(await metrics.enforceRetention(), 0);
  await metrics.close();
});

test("a damaged block costs what the damage hit: a series, or the file, which is set aside", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  const names = ["a", "b", "c", "d"];
  await metrics.appendSeries(
    names.map((name) =>
      seriesOf(
        labels(name),
        [...Array(200).keys()].map((i) => [START_MS + 1000 * i, i / 7] as const),
      ),
    ),
  );
  await metrics.sealAll();
  await metrics.appendSeries([seriesOf(labels("a"), [[START_MS + HOUR_MS, 1]])]);
  const before = await allOf(metrics);
  await metrics.close();
  const name = (await readdir(join(directory, "blocks")))[0] ?? "";
  const whole = await readFile(join(directory, "blocks", name));
  const pick = random(6);
  const seen = { series: 0, file: 0 };
  for (let round = 0; round < 80; round++) {
    const at = pick(whole.length);
    const flipped = round % 5 === 4 ? whole.subarray(0, at) : Buffer.from(whole);
    if (round % 5 !== 4) flipped[at] = (flipped[at] ?? 0) ^ (1 << pick(8));
    const image = await metricDirectory(t);
    await cp(join(directory, "wal"), join(image, "wal"), { recursive: true });
    await mkdir(join(image, "blocks"));
    await writeFile(join(image, "blocks", name), flipped);
    const damage: ThalwegError[] = [];
    const opened = await openMetrics(image, { onDamage: (found) => damage.push(found) });
    const left = await allOf(opened);
    assert.deepEqual(await allOf(opened), left);
    assert.ok(damage.length <= 1, "damage is reported once");
    if (damage.length === 0) {
      assert.deepEqual(left, before, `flip at ${at} was not seen`);
    } else if (opened.stats().blocks === 1) {
      seen.series++;
      assert.ok(left.filter((line) => before.includes(line)).length >= 3, `flip at ${at}`);
    } else {
      seen.file++;
      assert.deepEqual(await readFile(String(damage[0]?.values["quarantine"])), flipped);
      assert.equal(left.length, 1);
    }
    // Life goes on, and no segment gets a number that the lost block covered.
    await opened.appendSeries([seriesOf(labels("a"), [[START_MS + 2 * HOUR_MS, 2]])]);
    const after = await allOf(opened);
    await opened.close();
    const again = await openMetrics(image, { onDamage: () => undefined });
    assert.deepEqual(await allOf(again), after);
    await again.close();
  }
  assert.ok(seen.series > 5 && seen.file > 5, JSON.stringify(seen));
});
