import assert from "node:assert/strict";
import { mkdir, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { ThalwegError } from "../model/errors.ts";
import type { Labels, Matcher, SampleToAppend, SeriesSamples } from "../model/series.ts";
import {
  allOf,
  anyHistogram,
  EVERYTHING,
  grown,
  labels,
  linesOf,
  metricDirectory,
  openMetrics,
  random,
  START_MS,
  seriesOf,
  valuesOf,
} from "./metric-fixture.ts";
import { readStretches } from "./metric-log-record.ts";

const H = labels("h");
const N: Matcher[] = [{ name: "__name__", kind: "=", value: "n" }];

test("select agrees with a naive model, before and after a restart", async (t) => {
  const directory = await metricDirectory(t);
  const pick = random(7);
  const model = new Map<string, { labels: Labels; samples: [number, number][] }>();
  const known = Array.from({ length: 40 }, (_, i) =>
    labels(`m${i % 5}`, { job: `j${i % 3}`, ...(i % 2 === 0 ? { le: String(i / 8) } : {}), i: String(i) }),
  );
  let metrics = await openMetrics(directory, { segmentBytesMax: 4096 });
  for (let round = 0; round < 150; round++) {
    const batch: SampleToAppend[] = [];
    for (let n = pick(30); n >= 0; n--) {
      const picked = known[pick(known.length)] ?? [];
      const timestampMs = START_MS + round * 5000 + pick(3) - pick(2) * 20_000;
      const value = [pick(1000), pick(1000) / 7, -pick(5), Number.NaN, 2 ** 52 + pick(9)][pick(5)] ?? 0;
      batch.push({ labels: picked, timestampMs, value });
      const key = JSON.stringify(picked);
      const series = model.get(key) ?? { labels: picked, samples: [] };
      model.set(key, series);
      const last = series.samples[series.samples.length - 1];
      if (last === undefined || timestampMs > last[0]) series.samples.push([timestampMs, value]);
    }
    await metrics.append(batch);
    if (round % 40 === 39) {
      await metrics.close();
      metrics = await openMetrics(directory, { segmentBytesMax: 4096 });
    }
  }
  const matches = (value: string, { kind, value: want }: Matcher) => {
    const regex = new RegExp(`^(?:${want})$`, "s");
    return { "=": value === want, "!=": value !== want, "=~": regex.test(value), "!~": !regex.test(value) }[kind];
  };
  const selectors: (readonly Matcher[])[] = [
    EVERYTHING,
    [{ name: "__name__", kind: "=", value: "m1" }],
    [{ name: "__name__", kind: "=~", value: "m1|m3" }],
    [{ name: "__name__", kind: "!=", value: "m2" }],
    [{ name: "job", kind: "!~", value: "j[01]" }],
    [{ name: "le", kind: "=", value: "" }],
    [{ name: "le", kind: "!=", value: "" }],
    [{ name: "le", kind: "=~", value: "0.*|" }],
    [{ name: "absent", kind: "=", value: "" }],
    [{ name: "absent", kind: "=", value: "x" }],
    [
      { name: "__name__", kind: "=~", value: "m.?" },
      { name: "job", kind: "=", value: "j2" },
      { name: "i", kind: "!~", value: ".*5" },
    ],
  ];
  for (const selector of selectors) {
    for (const [minMs, maxMs] of [
      [0, Number.MAX_SAFE_INTEGER],
      [START_MS + 100_000, START_MS + 300_000],
      [START_MS + 5001, START_MS + 5001],
    ] as const) {
      const want: SeriesSamples[] = [];
      for (const { labels: l, samples } of model.values()) {
        const value = (name: string) => l.find(([n]) => n === name)?.[1] ?? "";
        if (!selector.every((matcher) => matches(value(matcher.name), matcher))) continue;
        const inside = samples.filter(([ms]) => ms >= minMs && ms <= maxMs);
        if (inside.length === 0) continue;
        want.push({
          labels: l,
          timestampsMs: Float64Array.from(inside, ([ms]) => ms),
          values: Float64Array.from(inside, ([, v]) => v),
        });
      }
      const found = await metrics.reader.select(selector, minMs, maxMs);
      assert.deepEqual(linesOf(found), linesOf(want), JSON.stringify(selector));
      const series = await metrics.reader.finder.series(selector, minMs, maxMs);
      assert.deepEqual(
        series.map((l) => JSON.stringify(l)).sort(),
        want.map(({ labels: l }) => JSON.stringify(l)).sort(),
      );
    }
  }
  await metrics.close();
});

test("out-of-order and conflicting samples are left out and counted, a repeat is not", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t));
  const m = labels("m");
  await metrics.append([{ labels: m, timestampMs: START_MS, value: 1 }]);
  await Promise.all([
    metrics.append([{ labels: m, timestampMs: START_MS, value: 1 }]),
    metrics.append([{ labels: m, timestampMs: START_MS, value: 2 }]),
    metrics.append([{ labels: m, timestampMs: START_MS - 1, value: 0 }]),
    metrics.append([{ labels: m, timestampMs: START_MS + 0.5, value: 0 }]),
  ]);
  assert.deepEqual(Object.fromEntries(metrics.stats().leftOut), { out_of_order: 1, duplicate: 1, timestamp: 1 });
  assert.equal(await valuesOf(metrics), `${START_MS}:1`);
  await metrics.close();
  await assert.rejects(metrics.append([{ labels: m, timestampMs: START_MS + 1, value: 1 }]), {
    code: "store_unavailable",
  });
});

test("series_max refuses further series", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), { seriesMax: 2 });
  await metrics.append(["a", "b", "c"].map((name) => ({ labels: labels(name), timestampMs: START_MS, value: 1 })));
  assert.equal(metrics.stats().series, 2);
  assert.equal(metrics.stats().leftOut.get("series_max"), 1);
  await metrics.close();
});

test("series_max names the metric and the label that fill it", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), { seriesMax: 4 });
  const flood = (id: number) => seriesOf(labels("requests", { user_id: String(id) }), [[START_MS, 1]]);
  const write = [seriesOf(labels("up", { job: "a" }), [[START_MS, 1]]), ...[1, 2, 3, 4, 5].map(flood)];
  const { refused, refusals } = await metrics.appendSeries(write);
  assert.deepEqual([...refused], [["series_max", 2]]);
  const want =
    'the limit of 4 series is reached; 3 of them are of the metric "requests", the label "user_id" has 3 values ' +
    'for series {__name__="requests", user_id="4"}';
  assert.deepEqual(refusals, [{ of: "samples", text: want, more: 1 }]);
  const again = await metrics.appendSeries([seriesOf(labels("up", { job: "a" }), [[START_MS + 1, 1]])]);
  assert.equal(again.samples, 1, "series that were there go on");
  await metrics.close();
});

test("a series is told to find no room once there are as many as may be, and those that are there to be taken", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), { seriesMax: 2 });
  const write = (name: string) => metrics.appendSeries([seriesOf(labels(name), [[START_MS, 1]])]);
  await write("a");
  assert.equal(metrics.seriesRefusal(labels("c")), undefined);
  await write("b");
  assert.match(metrics.seriesRefusal(labels("c")) ?? "", /^the limit of 2 series is reached; 1 of them /);
  assert.equal(metrics.seriesRefusal(labels("a")), undefined);
  await metrics.deleteSeries([{ name: "__name__", kind: "=", value: "a" }], START_MS, START_MS);
  assert.equal(metrics.seriesRefusal(labels("c")), undefined);
  await metrics.close();
});

test("a log of very many series is not made of declarations", async (t) => {
  const metrics = await openMetrics(await metricDirectory(t), { segmentBytesMax: 16_384 });
  const names = Array.from({ length: 1000 }, (_, i) => labels(`a_metric_with_a_long_name_${i}`));
  for (let step = 0; step < 60; step++) {
    await metrics.append(names.map((each) => ({ labels: each, timestampMs: START_MS + step, value: step / 7 })));
  }
  // A step is 11 kB of samples, and 40 kB of declarations in a new segment.
  const { logBytes, logSegments } = metrics.stats();
  assert.ok(logBytes < 1_200_000, `${logBytes} bytes`);
  assert.ok(logSegments > 3, `${logSegments} segments`);
  await metrics.close();
});

/** A directory whose log is these bytes. */
async function withLog(t: TestContext, name: string, bytes: Uint8Array): Promise<string> {
  const directory = await metricDirectory(t);
  await mkdir(join(directory, "wal"));
  await writeFile(join(directory, "wal", name), bytes);
  return directory;
}

test("a log cut at any byte loses no whole record before the cut", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  const ends: number[] = [];
  for (let i = 0; i < 6; i++) {
    await metrics.append([
      { labels: labels("m", { i: String(i % 2) }), timestampMs: START_MS + i, value: i },
      { labels: labels("n"), timestampMs: START_MS + i, value: i / 3 },
    ]);
    ends.push(metrics.stats().logBytes);
  }
  await metrics.close();
  const name = (await readdir(join(directory, "wal")))[0] ?? "";
  const whole = await readFile(join(directory, "wal", name));
  assert.equal(whole.length, ends[ends.length - 1]);
  const isWholeAt = (end: number) => [...readStretches(whole.subarray(0, end))].every(({ kind }) => kind === "payload");
  for (let cut = 0; cut <= whole.length; cut++) {
    const tail = cut % 3 === 0 ? Buffer.alloc(50) : Buffer.alloc(0); // a power cut can leave zeros behind
    const image = await withLog(t, name, Buffer.concat([whole.subarray(0, cut), tail]));
    const damage: ThalwegError[] = [];
    const opened = await openMetrics(image, { onDamage: (found) => damage.push(found) });
    const [n] = await opened.reader.select(N, 0, Number.MAX_SAFE_INTEGER);
    // A cut inside a record's own last zeros is none once zeros follow it.
    const whole0 = (end: number) => tail.length > 0 && whole.subarray(cut, end).every((byte) => byte === 0);
    const kept = ends.filter((end) => end <= cut || whole0(end)).length;
    assert.equal(n?.values.length ?? 0, kept, `cut at ${cut}`);
    if (tail.length === 0) {
      const [torn] = damage;
      const end = whole.subarray(Number(torn?.values["offset"] ?? cut), cut);
      assert.equal(damage.length, end.length === 0 ? 0 : 1, `cut at ${cut} is told where it cuts a record`);
      if (torn !== undefined) assert.deepEqual(await readFile(String(torn.values["quarantine"])), end);
      else assert.ok(isWholeAt(cut), `cut at ${cut} is not told`);
    }
    await opened.append([{ labels: labels("n"), timestampMs: START_MS + 100, value: 100 }]);
    const before = await allOf(opened);
    await opened.close();
    const again = await openMetrics(image);
    assert.deepEqual(await allOf(again), before);
    await again.close();
  }
});

test("a flipped bit costs at most its own record, is reported, and the file is kept", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory);
  const series = Array.from({ length: 3 }, (_, i) => labels("m", { i: String(i) }));
  const histogram = anyHistogram(random(2));
  for (let n = 0; n < 5; n++) {
    await metrics.appendSeries([
      ...series.map((l) => seriesOf(l, [[START_MS + n, n]])),
      {
        ...seriesOf(H, [[START_MS + n, grown(histogram, n), 5]]),
        exemplars: [{ labels: H, timestampMs: n, value: n }],
      },
    ]);
  }
  await metrics.close();
  const name = (await readdir(join(directory, "wal")))[0] ?? "";
  const whole = await readFile(join(directory, "wal", name));
  const pick = random(11);
  for (let round = 0; round < 60; round++) {
    const at = pick(whole.length);
    const flipped = Buffer.from(whole);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << pick(8));
    const image = await withLog(t, name, flipped);
    const damage: ThalwegError[] = [];
    const opened = await openMetrics(image, { onDamage: (found) => damage.push(found) });
    assert.equal(damage.length, 1, `flip at ${at} is reported once`);
    const { offset = 0, bytes = 0, quarantine = "" } = damage[0]?.values ?? {};
    assert.ok(Number(offset) <= at && at < Number(offset) + Number(bytes), `flip at ${at} lies in what is reported`);
    assert.deepEqual(await readFile(String(quarantine)), flipped);
    const [histograms] = await opened.reader.select([{ name: "__name__", kind: "=", value: "h" }], 0, 2 ** 52);
    for (const [n, found] of [...(histograms?.timestampsMs ?? [])].map((ms, i) => [ms - START_MS, i] as const)) {
      const { resetHint, ...read } = histograms?.histograms?.[found] ?? histogram;
      const { resetHint: _, ...sent } = grown(histogram, n);
      assert.deepEqual(read, sent, `${resetHint}`);
    }
    const found = await opened.reader.select([{ name: "__name__", kind: "=", value: "m" }], 0, 2 ** 52);
    const counts = found.map(({ values }) => [...values]);
    const firstRecord = counts.length === 0; // the declaration was hit, so samples have no name
    if (!firstRecord) for (const values of counts) assert.ok(values.length >= 4, `flip at ${at}: ${values}`);
    for (const values of counts) assert.ok(values.every((v) => Number.isInteger(v) && v >= 0 && v < 5));
    const before = await allOf(opened);
    await opened.close();
    const again = await openMetrics(image, { onDamage: () => assert.fail("the salvaged file is whole") });
    assert.deepEqual(await allOf(again), before);
    await again.close();
  }
});

test("a failed write keeps nothing, and the next one goes to a new segment", async (t) => {
  const directory = await metricDirectory(t);
  const metrics = await openMetrics(directory, { segmentBytesMax: 1 });
  const m = labels("m");
  // More than a segment of this size holds, its declaration included.
  const first = Array.from({ length: 100 }, (_, at) => ({ labels: m, timestampMs: START_MS - 99 + at, value: at }));
  await metrics.append(first);
  const stored = await valuesOf(metrics);
  // The next segment's name is taken, so it cannot be made: a real error of the file system.
  const blocker = join(directory, "wal", "metrics-00000002.log");
  await writeFile(blocker, "");
  await assert.rejects(metrics.append([{ labels: m, timestampMs: START_MS + 1, value: 2 }]), {
    code: "store_unavailable",
  });
  assert.equal(await valuesOf(metrics), stored);
  await rm(blocker);
  await metrics.append([{ labels: m, timestampMs: START_MS + 1, value: 3 }]);
  await metrics.close();
  const again = await openMetrics(directory);
  assert.equal(await valuesOf(again), `${stored} ${START_MS + 1}:3`);
  await again.close();
});

test("durability: always syncs before each answer, interval once for many, and both keep all over a restart", async (t) => {
  for (const durability of ["always", "interval"] as const) {
    const directory = await metricDirectory(t);
    const metrics = await openMetrics(directory, { durability });
    for (let i = 0; i < 20; i++) {
      await metrics.append([{ labels: labels("a"), timestampMs: START_MS + i, value: i }]);
    }
    assert.equal(metrics.stats().logSyncs, durability === "always" ? 20 : 0);
    const before = await allOf(metrics);
    await metrics.close();
    assert.equal(metrics.stats().logSyncs, durability === "always" ? 20 : 1);
    const again = await openMetrics(directory);
    assert.deepEqual(await allOf(again), before);
    await again.close();
  }
});
