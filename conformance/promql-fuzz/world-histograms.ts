/** Native histograms that grow, shrink and change their shape at random. */

import { CUSTOM_BUCKETS_SCHEMA } from "../../server/model/histogram.ts";
import { emptyHistogram, type TestHistogram } from "../promql/test-histogram.ts";
import type { Random } from "./random.ts";

/** The shape of a series of histograms; what is absent is not there. */
export interface HistogramKind {
  /** The schema moves along this list, and begins again at its end. */
  readonly schemas: readonly [number, ...number[]];
  /** Counts with fractions. */
  readonly floats: boolean;
  readonly gauge?: boolean;
  readonly negative?: boolean;
  /** Buckets far from each other, at the ends of what the schema reaches. */
  readonly wide?: boolean;
  /** Written buckets without observations. */
  readonly holes?: boolean;
  readonly nanObservations?: boolean;
  readonly infiniteSum?: boolean;
  /** Often without any observation. */
  readonly empty?: boolean;
  readonly zeroThresholds?: readonly [number, ...number[]];
  readonly changingBounds?: boolean;
  readonly negativeBounds?: boolean;
}

const BOUNDS: readonly (readonly number[])[] = [
  [0.1, 0.5, 1, 2.5, 10],
  [0.1, 1, 2.5, 5, 10],
  [1, 10],
  [0.25, 0.5, 1, 2.5, 10, 100],
];
const NEGATIVE_BOUNDS: readonly number[] = [-10, -1, 0, 1, 10];

/** One histogram after the other; a reset begins again from nothing. */
export function histogramWalk(kind: HistogramKind): (random: Random) => (index: number) => TestHistogram {
  return (random) => {
    let histogram = begin(kind, random, 0);
    return () => {
      if (random.chance(0.02)) histogram = begin(kind, random, random.whole(0, kind.schemas.length - 1));
      else if (kind.empty === true && random.chance(0.3)) histogram = begin({ ...kind, empty: true }, random, 0);
      else histogram = observe(histogram, kind, random);
      return { ...histogram, positive: new Map(histogram.positive), negative: new Map(histogram.negative) };
    };
  };
}

function begin(kind: HistogramKind, random: Random, shape: number): TestHistogram {
  const histogram = emptyHistogram();
  histogram.schema = kind.schemas[shape] ?? kind.schemas[0];
  histogram.integer = !kind.floats;
  if (kind.gauge === true) histogram.hint = "gauge";
  if (histogram.schema === CUSTOM_BUCKETS_SCHEMA) {
    const bounds = kind.changingBounds === true ? BOUNDS[random.whole(0, BOUNDS.length - 1)] : BOUNDS[0];
    histogram.customValues = (kind.negativeBounds === true ? NEGATIVE_BOUNDS : bounds) ?? [];
  } else histogram.zeroThreshold = random.pick(kind.zeroThresholds ?? [kind.floats ? 0 : 2 ** -128]);
  if (kind.empty === true) return random.chance(0.6) ? histogram : observe(histogram, kind, random);
  // Which side has buckets at all changes what the zero bucket means, and Prometheus' chunks spell out the buckets that a
  // later histogram needs: each side has some from the start.
  const isCustom = histogram.schema === CUSTOM_BUCKETS_SCHEMA;
  for (const side of kind.negative === true ? [histogram.positive, histogram.negative] : [histogram.positive])
    side.set(isCustom ? 0 : bucketIndex(kind, histogram.schema, random), random.whole(1, 3));
  return observe(histogram, kind, random);
}

function observe(before: TestHistogram, kind: HistogramKind, random: Random): TestHistogram {
  const histogram: TestHistogram = {
    ...before,
    positive: new Map(before.positive),
    negative: new Map(before.negative),
  };
  if (random.chance(0.04)) changeSchema(histogram, random.pick(kind.schemas));
  const isCustom = histogram.schema === CUSTOM_BUCKETS_SCHEMA;
  const falls = kind.gauge === true && random.chance(0.4);
  for (let i = random.whole(0, 4); i > 0; i--) {
    const index = isCustom
      ? random.whole(0, histogram.customValues.length)
      : bucketIndex(kind, histogram.schema, random);
    const by = kind.floats ? random.whole(1, 40) / 8 : random.whole(1, 9);
    const side = kind.negative === true && random.chance(0.4) ? histogram.negative : histogram.positive;
    const has = side.get(index) ?? 0;
    side.set(index, falls ? Math.max(0, has - by) : has + by);
    histogram.sum += (falls ? -by : by) * (side === histogram.negative ? -1 : 1) * (random.whole(1, 1000) / 64);
  }
  if (kind.holes === true) {
    const hole = random.whole(-3, 12);
    if (!histogram.positive.has(hole)) histogram.positive.set(hole, 0);
  }
  if (!isCustom && random.chance(0.3)) histogram.zeroCount += falls ? 0 : kind.floats ? 1.5 : 1;
  if (kind.infiniteSum === true && random.chance(0.1))
    histogram.sum = random.pick([Number.POSITIVE_INFINITY, Number.NaN]);
  histogram.count = histogram.zeroCount;
  for (const count of [...histogram.positive.values(), ...histogram.negative.values()]) histogram.count += count;
  if (kind.nanObservations === true && random.chance(0.5)) {
    histogram.count += random.whole(1, 5);
    histogram.sum = Number.NaN;
  }
  return histogram;
}

/** To coarser buckets as a client that runs out of them does; to finer ones what was counted stays where the index says. */
function changeSchema(histogram: TestHistogram, schema: number): void {
  if (schema === CUSTOM_BUCKETS_SCHEMA || histogram.schema === CUSTOM_BUCKETS_SCHEMA) return;
  const shift = histogram.schema - schema;
  histogram.schema = schema;
  if (shift <= 0) return;
  for (const side of ["positive", "negative"] as const) {
    const merged = new Map<number, number>();
    for (const [index, count] of histogram[side]) {
      const target = Math.ceil(index / 2 ** shift);
      merged.set(target, (merged.get(target) ?? 0) + count);
    }
    histogram[side] = merged;
  }
}

function bucketIndex(kind: HistogramKind, schema: number, random: Random): number {
  if (kind.wide === true) return random.pick([-30, -3, 0, 1, 2, 40]);
  return random.whole(-3, 6) + (schema > 4 ? 100 : 0);
}
