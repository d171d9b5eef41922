import assert from "node:assert/strict";
import { mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { Clock } from "../model/clock.ts";
import type { Labels, Matcher, SampleToAppend, SeriesSamples } from "../model/series.ts";
import { type MetricHead, type MetricHeadOptions, openMetricHead } from "./metric-head.ts";

const START_MS = 1_768_478_400_000;

async function temporaryDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "thalweg-head-"));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

function testClock(): Clock & { advance(ms: number): void } {
  let ms = START_MS;
  return {
    nowMs: () => ms,
    nowUnixNano: () => BigInt(ms) * 1_000_000n,
    monotonicMs: () => ms - START_MS,
    advance: (by) => {
      ms += by;
    },
  };
}

function open(directory: string, more: Partial<MetricHeadOptions> = {}): Promise<MetricHead> {
  return openMetricHead({ directory, clock: testClock(), retentionMs: 86_400_000, ...more });
}

/** A small generator with a seed, so that a failure can be played again. */
function random(seed: number): (below: number) => number {
  let state = seed >>> 0;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

function labels(name: string, more: Record<string, string> = {}): Labels {
  return Object.entries({ __name__: name, ...more }).sort(([a], [b]) => (a < b ? -1 : 1));
}

function plain(found: readonly SeriesSamples[]): string[] {
  return found
    .map(
      ({ labels: l, timestampsMs, values }) => `${JSON.stringify(l)} ${[...timestampsMs].join()} ${[...values].join()}`,
    )
    .sort();
}

const everything: Matcher[] = [{ name: "__name__", kind: "=~", value: ".+" }];
const all = (head: MetricHead) => plain(head.select(everything, 0, Number.MAX_SAFE_INTEGER));

test("select agrees with a naive model, before and after a restart", async (t) => {
  const directory = await temporaryDirectory(t);
  const pick = random(7);
  const model = new Map<string, { labels: Labels; samples: [number, number][] }>();
  const known = Array.from({ length: 40 }, (_, i) =>
    labels(`m${i % 5}`, { job: `j${i % 3}`, ...(i % 2 === 0 ? { le: String(i / 8) } : {}), i: String(i) }),
  );
  let head = await open(directory, { segmentBytesMax: 4096 });
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
    await head.append(batch);
    if (round % 40 === 39) {
      await head.close();
      head = await open(directory, { segmentBytesMax: 4096 });
    }
  }
  const matches = (value: string, { kind, value: want }: Matcher) => {
    const regex = new RegExp(`^(?:${want})$`, "s");
    return { "=": value === want, "!=": value !== want, "=~": regex.test(value), "!~": !regex.test(value) }[kind];
  };
  const selectors: Matcher[][] = [
    everything,
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
      assert.deepEqual(plain(head.select(selector, minMs, maxMs)), plain(want), JSON.stringify(selector));
      assert.deepEqual(
        head
          .series(selector, minMs, maxMs)
          .map((l) => JSON.stringify(l))
          .sort(),
        want.map(({ labels: l }) => JSON.stringify(l)).sort(),
      );
    }
  }
  await head.close();
});

test("out-of-order and conflicting samples are left out and counted, a repeat is not", async (t) => {
  const head = await open(await temporaryDirectory(t));
  const m = labels("m");
  await head.append([{ labels: m, timestampMs: START_MS, value: 1 }]);
  await Promise.all([
    head.append([{ labels: m, timestampMs: START_MS, value: 1 }]),
    head.append([{ labels: m, timestampMs: START_MS, value: 2 }]),
    head.append([{ labels: m, timestampMs: START_MS - 1, value: 0 }]),
    head.append([{ labels: m, timestampMs: START_MS + 0.5, value: 0 }]),
  ]);
  assert.deepEqual(Object.fromEntries(head.stats().leftOut), { out_of_order: 1, duplicate: 1, timestamp: 1 });
  assert.deepEqual([...(head.select(everything, 0, START_MS)[0]?.values ?? [])], [1]);
  await head.close();
  await assert.rejects(head.append([{ labels: m, timestampMs: START_MS + 1, value: 1 }]), {
    code: "store_unavailable",
  });
});

test("series_max refuses further series", async (t) => {
  const head = await open(await temporaryDirectory(t), { seriesMax: 2 });
  await head.append(["a", "b", "c"].map((name) => ({ labels: labels(name), timestampMs: START_MS, value: 1 })));
  assert.equal(head.stats().series, 2);
  assert.equal(head.stats().leftOut.get("series_max"), 1);
  await head.close();
});

test("a log cut at any byte loses no whole record before the cut", async (t) => {
  const directory = await temporaryDirectory(t);
  const head = await open(directory);
  const ends: number[] = [];
  for (let i = 0; i < 6; i++) {
    await head.append([
      { labels: labels("m", { i: String(i % 2) }), timestampMs: START_MS + i, value: i },
      { labels: labels("n"), timestampMs: START_MS + i, value: i / 3 },
    ]);
    ends.push(head.stats().logBytes);
  }
  await head.close();
  const name = (await readdir(directory))[0] ?? "";
  const whole = await readFile(join(directory, name));
  assert.equal(whole.length, ends[ends.length - 1]);
  for (let cut = 0; cut <= whole.length; cut++) {
    const tail = cut % 3 === 0 ? Buffer.alloc(50) : Buffer.alloc(0); // a power cut can leave zeros behind
    const image = await temporaryDirectory(t);
    await writeFile(join(image, name), Buffer.concat([whole.subarray(0, cut), tail]));
    const damage: unknown[] = [];
    const opened = await open(image, { onDamage: (found) => damage.push(found) });
    const n = opened.select([{ name: "__name__", kind: "=", value: "n" }], 0, Number.MAX_SAFE_INTEGER)[0];
    // A cut inside a record's own last zeros is none once zeros follow it.
    const whole0 = (end: number) => tail.length > 0 && whole.subarray(cut, end).every((byte) => byte === 0);
    const kept = ends.filter((end) => end <= cut || whole0(end)).length;
    assert.equal(n?.values.length ?? 0, kept, `cut at ${cut}`);
    if (tail.length === 0) assert.deepEqual(damage, [], `cut at ${cut} is no damage`);
    await opened.append([{ labels: labels("n"), timestampMs: START_MS + 100, value: 100 }]);
    const before = all(opened);
    await opened.close();
    const again = await open(image);
    assert.deepEqual(all(again), before);
    await again.close();
  }
});

test("a flipped bit costs at most its own record, is reported, and the file is kept", async (t) => {
  const directory = await temporaryDirectory(t);
  const head = await open(directory);
  const series = Array.from({ length: 3 }, (_, i) => labels("m", { i: String(i) }));
  for (let n = 0; n < 5; n++) {
    await head.append(series.map((l) => ({ labels: l, timestampMs: START_MS + n, value: n })));
  }
  await head.close();
  const name = (await readdir(directory))[0] ?? "";
  const whole = await readFile(join(directory, name));
  const pick = random(11);
  for (let round = 0; round < 60; round++) {
    const at = pick(whole.length);
    const flipped = Buffer.from(whole);
    flipped[at] = (flipped[at] ?? 0) ^ (1 << pick(8));
    const image = await temporaryDirectory(t);
    await writeFile(join(image, name), flipped);
    const damage: { offset: number; bytes: number; file: string; quarantine: string }[] = [];
    const opened = await open(image, { onDamage: (found) => damage.push(found) });
    const [found] = damage;
    assert.ok(found !== undefined && damage.length === 1, `flip at ${at} is reported once`);
    assert.ok(found.offset <= at && at < found.offset + found.bytes, `flip at ${at} lies in what is reported`);
    assert.deepEqual(await readFile(found.quarantine), flipped);
    const counts = opened.select(everything, 0, Number.MAX_SAFE_INTEGER).map(({ values }) => [...values]);
    const firstRecord = counts.length === 0; // the declaration was hit, so samples have no name
    if (!firstRecord) for (const values of counts) assert.ok(values.length >= 4, `flip at ${at}: ${values}`);
    for (const values of counts) assert.ok(values.every((v) => Number.isInteger(v) && v >= 0 && v < 5));
    const before = all(opened);
    await opened.close();
    const again = await open(image, { onDamage: () => assert.fail("the salvaged file is whole") });
    assert.deepEqual(all(again), before);
    await again.close();
  }
});

test("retention forgets samples, series and segments", async (t) => {
  const directory = await temporaryDirectory(t);
  const clock = testClock();
  const head = await openMetricHead({ directory, clock, retentionMs: 3_600_000, segmentBytesMax: 2000 });
  for (let n = 0; n < 1000; n++) {
    await head.append([{ labels: labels(n < 10 ? "gone" : "stays"), timestampMs: clock.nowMs(), value: n }]);
    clock.advance(15_000);
  }
  const stays = head.select(everything, 0, Number.MAX_SAFE_INTEGER);
  assert.deepEqual(
    stays.map(({ labels: l }) => l[0]?.[1]),
    ["stays"],
  );
  const count = stays[0]?.values.length ?? 0;
  assert.ok(count >= 240 && count < 240 + 130, `${count} samples of an hour, and at most one chunk more`);
  assert.ok(head.stats().logSegments < 8);
  await head.close();
});

test("full memory forgets the oldest segment first", async (t) => {
  const head = await open(await temporaryDirectory(t), { segmentBytesMax: 4000, memoryBytesMax: 15_000 });
  for (let n = 0; n < 2000; n++) {
    await head.append([{ labels: labels(`m${n % 3}`), timestampMs: START_MS + n * 1000, value: n / 3 }]);
  }
  const stats = head.stats();
  assert.ok(stats.forgottenEarly > 0);
  assert.ok(stats.memoryBytes <= 16_000, `${stats.memoryBytes}`);
  const newest = head.select(everything, START_MS + 1_999_000, START_MS + 1_999_000);
  assert.equal(newest.length, 1);
  await head.close();
});

test("a failed write keeps nothing, and the next one goes to a new segment", async (t) => {
  const directory = await temporaryDirectory(t);
  const head = await open(directory, { segmentBytesMax: 1 });
  const m = labels("m");
  await head.append([{ labels: m, timestampMs: START_MS, value: 1 }]);
  // The next segment's name is taken, so it cannot be made: a real error of the file system.
  const blocker = join(directory, "metrics-00000002.log");
  await writeFile(blocker, "");
  await assert.rejects(head.append([{ labels: m, timestampMs: START_MS + 1, value: 2 }]), {
    code: "store_unavailable",
  });
  assert.equal(head.select(everything, 0, Number.MAX_SAFE_INTEGER)[0]?.values.length, 1);
  await rm(blocker);
  await head.append([{ labels: m, timestampMs: START_MS + 1, value: 3 }]);
  await head.close();
  const again = await open(directory);
  assert.deepEqual([...(again.select(everything, 0, Number.MAX_SAFE_INTEGER)[0]?.values ?? [])], [1, 3]);
  await again.close();
});

test("the bits of a stale marker survive sealing and a restart", async (t) => {
  const directory = await temporaryDirectory(t);
  const stale = new Float64Array(new BigUint64Array([0x7ff0_0000_0000_0002n]).buffer)[0] ?? 0;
  const head = await open(directory);
  await head.append(
    Array.from({ length: 200 }, (_, i) => ({
      labels: labels("m"),
      timestampMs: START_MS + i,
      value: i === 50 ? stale : i,
    })),
  );
  await head.close();
  const again = await open(directory);
  const values = again.select(everything, 0, Number.MAX_SAFE_INTEGER)[0]?.values;
  assert.equal(new BigUint64Array(values?.buffer ?? new ArrayBuffer(0))[50], 0x7ff0_0000_0000_0002n);
  await again.close();
});

test("durability: always syncs before each answer, interval once for many, and both keep all over a restart", async (t) => {
  for (const durability of ["always", "interval"] as const) {
    const directory = await temporaryDirectory(t);
    const head = await open(directory, { durability });
    for (let i = 0; i < 20; i++) await head.append([{ labels: labels("a"), timestampMs: START_MS + i, value: i }]);
    assert.equal(head.stats().logSyncs, durability === "always" ? 20 : 0);
    const before = all(head);
    await head.close();
    assert.equal(head.stats().logSyncs, durability === "always" ? 20 : 1);
    const again = await open(directory);
    assert.deepEqual(all(again), before);
    await again.close();
  }
});
