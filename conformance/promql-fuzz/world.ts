/** Random series of every kind that PromQL tells apart, repeated by a seed. */

import { CUSTOM_BUCKETS_SCHEMA } from "../../server/model/histogram.ts";
import type { Labels } from "../../server/model/series.ts";
import { compareLabels } from "../../server/query/promql/series-labels.ts";
import type { LoadedSample, LoadedSeries, TestValue } from "../promql/series-notation.ts";
import { Random } from "./random.ts";
import { type HistogramKind, histogramWalk } from "./world-histograms.ts";

/** What the generator of expressions has to know of a metric. */
export interface Family {
  readonly name: string;
  readonly kind: "gauge" | "counter" | "native" | "classic" | "mixed" | "info";
  /** Names of labels, without the metric's, and every value each has. */
  readonly labels: Readonly<Record<string, readonly string[]>>;
}

/** Series over one span of time. */
export interface World {
  readonly seed: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly families: readonly Family[];
  /** Sorted by labels: a store that numbers series as they come then has them in this order. */
  readonly series: readonly LoadedSeries[];
}

/** Samples lie within an hour, so that a store without an out-of-order window takes the series in any order. */
const SPAN_MS = 56 * 60_000;
const STEP_MS = 15_000;

type Walk = (random: Random) => (index: number) => TestValue | undefined;

interface Plan {
  readonly family: Family;
  readonly labels: Readonly<Record<string, string>>;
  readonly walk: Walk;
  readonly starts: boolean;
}

/**
 * Makes a world.
 *
 * @param startMs Unix milliseconds of the first sample; 0 lies in 1970.
 */
export function makeWorld(seed: number, startMs: number): World {
  const random = new Random(seed);
  const plans = [...floats(), ...specials(), ...classics(), ...natives(), ...infos()];
  const families = [...new Map(plans.map(({ family }) => [family.name, family])).values()];
  const series = plans.map((plan) => ({
    labels: labelsOf(plan),
    samples: samplesOf(plan, startMs, new Random(random.whole(0, 2 ** 32 - 1))),
  }));
  series.sort((a, b) => compareLabels(a.labels, b.labels));
  return { seed, startMs, endMs: startMs + SPAN_MS, families, series };
}

function labelsOf({ family, labels }: Plan): Labels {
  return Object.entries({ __name__: family.name, ...labels })
    .filter(([, value]) => value !== "")
    .sort(([a], [b]) => (a < b ? -1 : 1));
}

function samplesOf({ walk, starts, family }: Plan, startMs: number, random: Random): LoadedSample[] {
  const values = walk(random);
  const samples: LoadedSample[] = [];
  // Some series keep time like a scraper, others come when they like; a few are seldom written.
  const jitterMs = random.pick([0, 0, 0, 1, 700, 7000]);
  const stride = random.pick([1, 1, 1, 1, 2, 4]);
  let gapUntil = -1;
  let sinceMs = startMs - random.whole(0, 600) * 1000;
  for (let index = 0; index * STEP_MS < SPAN_MS; index += stride) {
    const timestampMs = startMs + index * STEP_MS + (jitterMs > 0 ? random.whole(0, jitterMs) : 0);
    const value = values(index);
    if (random.chance(0.012)) gapUntil = index + random.whole(2, 30);
    if (value === undefined || index < gapUntil) continue;
    if (random.chance(0.006)) {
      samples.push({ timestampMs, startMs: 0, value: "stale" });
      gapUntil = index + random.whole(1, 25);
      continue;
    }
    const last = samples.at(-1)?.timestampMs ?? startMs;
    if (random.chance(0.05)) sinceMs = last + random.whole(0, timestampMs - last);
    const known = starts && family.kind !== "gauge" && random.chance(0.95);
    samples.push({ timestampMs, startMs: known ? Math.min(sinceMs, timestampMs) : 0, value });
  }
  return samples;
}

const JOBS = ["api", "db", "web"] as const;
const INSTANCES = ["a:1", "b:1", "c:1"] as const;

function family(name: string, kind: Family["kind"], labels: Family["labels"]): Family {
  return { name, kind, labels };
}

/** Gauges and counters whose labels overlap, so that operators find one, no or several partners. */
function floats(): Plan[] {
  const both = { job: JOBS, instance: INSTANCES };
  const size = family("queue_size", "gauge", both);
  const limit = family("queue_limit", "gauge", { job: JOBS });
  const heat = family("heat", "gauge", { ...both, place: ["hall", "roof"] });
  const requests = family("requests_total", "counter", { ...both, code: ["200", "404", "500"] });
  const errors = family("errors_total", "counter", both);
  const bytes = family("bytes", "counter", { ...both, __type__: ["counter"], __unit__: ["bytes"] });
  const dotted = family("http.requests", "gauge", { "service.name": ["a.b", "ü"], job: JOBS });
  const script = family("温度", "gauge", { 場所: ["東京", '京都\n"2"'], job: JOBS });
  const plans: Plan[] = [];
  const add = (of: Family, labels: Record<string, string>, walk: Walk, starts = false) =>
    plans.push({ family: of, labels, walk, starts });
  for (const [j, job] of JOBS.entries()) {
    add(limit, { job }, constant([10, 1000, -3][j] ?? 0));
    add(dotted, { job, "service.name": j === 1 ? "ü" : "a.b" }, gauge(1));
    add(script, { job, 場所: j === 0 ? "東京" : '京都\n"2"' }, gauge(30));
    for (const [i, instance] of INSTANCES.entries()) {
      if (i + j < 4) add(size, { job, instance }, gauge(10 ** (i + j)));
      if (i !== j) add(errors, { job, instance }, counter(0.2 * i + 0.1), j === 1);
      if (i === 0) add(bytes, { job, instance, __type__: "counter", __unit__: "bytes" }, counter(1e6), j !== 1);
      if (i < 2) add(heat, { job, instance, place: i === 0 ? "hall" : "roof" }, gauge(0.001));
      if (i === 1) add(heat, { job, instance, place: "hall" }, gauge(1e9));
      for (const code of ["200", "404", "500"]) {
        if (code !== "404" || i === 0) add(requests, { job, instance, code }, counter(i * 3 + 1), code === "500");
      }
    }
  }
  return plans;
}

/** Values at the edges of what a double holds, and series with hardly any. */
function specials(): Plan[] {
  const walks: Readonly<Record<string, Walk>> = {
    nan: (random) => () => (random.chance(0.3) ? Number.NaN : random.whole(-5, 5)),
    infinite: (random) => () => random.pick([Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1, 2, 3]),
    positive: (random) => () => (random.chance(0.2) ? Number.POSITIVE_INFINITY : random.next()),
    huge: (random) => () => random.pick([1e308, -1e308, 1.7e308, 1e300, 1]),
    tiny: (random) => () => random.pick([5e-324, -5e-324, 2.2e-308, 1e-300, 0]),
    zero: (random) => () => random.pick([0, -0]),
    cancel: (random) => () => random.pick([1e100, -1e100, 1, 2, 1e16]),
    constant: constant(7),
    single: () => (index) => (index === 97 ? 42 : undefined),
    pair: () => (index) => (index === 97 || index === 98 ? index : undefined),
    late: () => (index) => (index > 200 ? index : undefined),
    early: () => (index) => (index < 40 ? 40 - index : undefined),
    small: (random) => () => random.whole(0, 2),
    precise: (random) => () => random.whole(-1e9, 1e9) / 7 ** random.whole(0, 9),
  };
  const of = family("odd", "gauge", { kind: Object.keys(walks) });
  return Object.entries(walks).map(([kind, walk]) => ({ family: of, labels: { kind }, walk, starts: false }));
}

/** Classic histograms, most of them sound. */
function classics(): Plan[] {
  const bounds = ["0.1", "0.5", "1", "2.5", "1e1", "+Inf"];
  const both = { job: JOBS, instance: INSTANCES };
  const buckets = family("latency_bucket", "classic", { ...both, le: [...bounds, "", "many"] });
  const counts = family("latency_count", "counter", both);
  const sums = family("latency_sum", "counter", both);
  const plans: Plan[] = [];
  for (const [j, job] of JOBS.entries()) {
    for (const [i, instance] of INSTANCES.slice(0, 2).entries()) {
      for (const [at, le] of bounds.entries()) {
        if (le === "+Inf" && i === 1 && j === 2) continue;
        // Rates that do not grow with the bound make buckets that have to be mended.
        const rate = i === 1 && j === 1 && at === 2 ? 0.5 : at ** (j + 1);
        plans.push({ family: buckets, labels: { job, instance, le }, walk: counter(rate), starts: j === 0 });
      }
      plans.push({ family: counts, labels: { job, instance }, walk: counter(5 ** (j + 1)), starts: j === 0 });
      plans.push({ family: sums, labels: { job, instance }, walk: counter(3.7), starts: j === 0 });
    }
  }
  for (const le of ["", "many", "NaN"])
    plans.push({ family: buckets, labels: { job: "db", instance: "c:1", le }, walk: counter(1), starts: false });
  // Beside the native histogram of the same name and labels.
  const twin = family("twin_bucket", "classic", { job: JOBS, le: bounds });
  for (const le of bounds) plans.push({ family: twin, labels: { job: "api", le }, walk: counter(1), starts: false });
  return plans;
}

/** Native histograms of every schema, and series that are histograms at one time and floats at another. */
function natives(): Plan[] {
  const plans: Plan[] = [];
  const kinds: readonly (readonly [string, HistogramKind])[] = [
    ["exp_float", { schemas: [0], floats: true }],
    ["exp_whole", { schemas: [3], floats: false }],
    ["exp_schemas", { schemas: [0, 1, 2, 0, 3], floats: true, zeroThresholds: [0, 0.001, 0.5] }],
    ["exp_coarse", { schemas: [-4, -1], floats: false, wide: true }],
    ["exp_fine", { schemas: [8, 7], floats: true }],
    ["exp_negative", { schemas: [1], floats: true, negative: true, zeroThresholds: [0.01] }],
    ["exp_gauge", { schemas: [0, 2], floats: true, gauge: true, negative: true }],
    ["exp_holes", { schemas: [2], floats: false, holes: true }],
    ["exp_nan", { schemas: [0], floats: true, nanObservations: true }],
    ["exp_infinite", { schemas: [0], floats: true, infiniteSum: true }],
    ["exp_empty", { schemas: [0], floats: true, empty: true }],
    ["custom", { schemas: [CUSTOM_BUCKETS_SCHEMA], floats: true }],
    ["custom_whole", { schemas: [CUSTOM_BUCKETS_SCHEMA], floats: false }],
    ["custom_bounds", { schemas: [CUSTOM_BUCKETS_SCHEMA], floats: true, changingBounds: true }],
    ["custom_gauge", { schemas: [CUSTOM_BUCKETS_SCHEMA], floats: true, gauge: true, negativeBounds: true }],
    ["both", { schemas: [0, CUSTOM_BUCKETS_SCHEMA], floats: true }],
  ];
  const size = family("size", "native", { job: JOBS, kind: kinds.map(([name]) => name) });
  for (const [at, [kind, shape]] of kinds.entries()) {
    const job = JOBS[at % 3] ?? "api";
    plans.push({ family: size, labels: { job, kind }, walk: histogramWalk(shape), starts: at % 2 === 0 });
  }
  const spread = family("spread", "native", { job: JOBS, instance: INSTANCES });
  for (const job of JOBS) {
    for (const instance of INSTANCES.slice(0, 2))
      plans.push({
        family: spread,
        labels: { job, instance },
        walk: histogramWalk({ schemas: [job === "web" ? 1 : 0], floats: job !== "db" }),
        starts: job === "api",
      });
  }
  const bounded = family("bounded", "native", { job: JOBS });
  for (const job of JOBS)
    plans.push({
      family: bounded,
      labels: { job },
      walk: histogramWalk({ schemas: [CUSTOM_BUCKETS_SCHEMA], floats: true, changingBounds: job === "web" }),
      starts: false,
    });
  const twin = family("twin", "native", { job: JOBS });
  plans.push({
    family: twin,
    labels: { job: "api" },
    walk: histogramWalk({ schemas: [0], floats: true }),
    starts: false,
  });
  const mixed = family("mixed", "mixed", { job: JOBS, instance: INSTANCES });
  for (const [at, job] of JOBS.entries()) {
    plans.push({ family: mixed, labels: { job, instance: "a:1" }, walk: alternating(at + 3), starts: at === 1 });
    plans.push({
      family: mixed,
      labels: { job, instance: "b:1" },
      walk: at === 0 ? counter(3) : alternating(60),
      starts: false,
    });
  }
  return plans;
}

/** Series that lend their labels. */
function infos(): Plan[] {
  const target = family("target_info", "info", { job: JOBS, instance: INSTANCES, version: ["1", "2"], region: ["eu"] });
  const build = family("build_info", "info", { job: JOBS, instance: INSTANCES, revision: ["x", "y"] });
  const plans: Plan[] = [];
  for (const job of JOBS) {
    for (const instance of INSTANCES.slice(0, 2)) {
      // The version changes in the middle: one series ends, another begins.
      plans.push({
        family: target,
        labels: { job, instance, version: "1", region: "eu" },
        walk: until(110),
        starts: false,
      });
      plans.push({ family: target, labels: { job, instance, version: "2" }, walk: since(111), starts: false });
    }
    plans.push({
      family: build,
      labels: { job, instance: "a:1", revision: job === "db" ? "y" : "x" },
      walk: constant(1),
      starts: false,
    });
  }
  return plans;
}

function constant(value: number): Walk {
  return () => () => value;
}

function until(last: number): Walk {
  return () => (index) => (index <= last ? 1 : undefined);
}

function since(first: number): Walk {
  return () => (index) => (index >= first ? 1 : undefined);
}

function gauge(scale: number): Walk {
  return (random) => {
    let value = scale * random.next();
    const digits = random.whole(0, 3);
    return () => {
      value += scale * (random.next() - 0.5);
      return digits === 0 ? value : Math.round((value / scale) * 10 ** digits) / 10 ** digits;
    };
  };
}

function counter(perStep: number): Walk {
  return (random) => {
    let value = random.chance(0.5) ? 0 : Math.floor(perStep * random.whole(0, 1000));
    const isWhole = random.chance(0.7);
    return () => {
      if (random.chance(0.02)) value = random.chance(0.5) ? 0 : value * random.next();
      else if (!random.chance(0.2)) value += perStep * random.next() * 2;
      return isWhole ? Math.floor(value) : value;
    };
  };
}

/** Histograms and floats in turn, `run` of them at a time on average. */
function alternating(run: number): Walk {
  return (random) => {
    const ofFloats = counter(4)(random);
    const ofHistograms = histogramWalk({ schemas: [0, 1], floats: true })(random);
    let isFloat = random.chance(0.5);
    return (index) => {
      if (random.chance(1 / run)) isFloat = !isFloat;
      return isFloat ? ofFloats(index) : ofHistograms(index);
    };
  };
}
