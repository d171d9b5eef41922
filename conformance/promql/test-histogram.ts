/** Native histograms as the promqltest language writes them: buckets by index, all counts absolute. */

import {
  type BucketSpan,
  type CounterResetHint,
  CUSTOM_BUCKETS_SCHEMA,
  type NativeHistogram,
} from "../../server/model/histogram.ts";

/** A histogram of a test file. Maps go from bucket index to population and are never shared between two of them. */
export interface TestHistogram {
  schema: number;
  sum: number;
  count: number;
  zeroCount: number;
  zeroThreshold: number;
  positive: Map<number, number>;
  negative: Map<number, number>;
  customValues: readonly number[];
  hint: CounterResetHint;
  /** The hint was written in the file, so that a comparison looks at it. */
  hintWritten: boolean;
  /** Whether it is sent with whole counts; files have no word for it. */
  integer: boolean;
}

/** A histogram without observations. */
export function emptyHistogram(): TestHistogram {
  return {
    schema: 0,
    sum: 0,
    count: 0,
    zeroCount: 0,
    zeroThreshold: 0,
    positive: new Map(),
    negative: new Map(),
    customValues: [],
    hint: "unknown",
    hintWritten: false,
    integer: false,
  };
}

/** A copy whose buckets may be changed. */
function copyHistogram(histogram: TestHistogram): TestHistogram {
  return { ...histogram, positive: new Map(histogram.positive), negative: new Map(histogram.negative) };
}

/**
 * PromQL's addition (`sign` 1) or subtraction (`sign` -1), as a progression of the language uses it.
 *
 * @throws Error where exponential and custom buckets, or different custom bounds, would meet, or where `step` is coarser.
 */
export function addHistograms(histogram: TestHistogram, step: TestHistogram, sign: 1 | -1): TestHistogram {
  const sum = copyHistogram(histogram);
  const other = copyHistogram(step);
  if ((sum.schema === CUSTOM_BUCKETS_SCHEMA) !== (other.schema === CUSTOM_BUCKETS_SCHEMA))
    throw new Error("a progression mixes exponential and custom buckets");
  if (sum.schema === CUSTOM_BUCKETS_SCHEMA) {
    if (sum.customValues.join() !== other.customValues.join()) throw new Error("a progression changes custom bounds");
  } else alignExponential(sum, other);
  if (sum.hint !== other.hint) sum.hint = sum.hint === "gauge" || other.hint === "gauge" ? "gauge" : "unknown";
  sum.hintWritten = other.hintWritten;
  sum.zeroCount += sign * other.zeroCount;
  sum.count += sign * other.count;
  sum.sum += sign * other.sum;
  for (const [into, from] of [
    [sum.positive, other.positive],
    [sum.negative, other.negative],
  ] as const) {
    for (const [index, count] of from) into.set(index, (into.get(index) ?? 0) + sign * count);
  }
  return sum;
}

/** Brings two histograms with exponential buckets to one schema and one zero threshold. */
function alignExponential(histogram: TestHistogram, step: TestHistogram): void {
  if (step.schema < histogram.schema) throw new Error("the step of a progression has a lower schema");
  if (step.schema > histogram.schema) {
    const shift = step.schema - histogram.schema;
    step.positive = coarser(step.positive, shift);
    step.negative = coarser(step.negative, shift);
    step.schema = histogram.schema;
  }
  while (histogram.zeroThreshold !== step.zeroThreshold) {
    if (histogram.zeroThreshold < step.zeroThreshold) widenZeroBucket(histogram, step.zeroThreshold);
    else widenZeroBucket(step, histogram.zeroThreshold);
  }
}

function coarser(buckets: ReadonlyMap<number, number>, shift: number): Map<number, number> {
  const out = new Map<number, number>();
  for (const [index, count] of buckets) {
    const target = Math.ceil(index / 2 ** shift);
    out.set(target, (out.get(target) ?? 0) + count);
  }
  return out;
}

/** Moves buckets into the zero bucket until its threshold is `threshold`, or the end of a populated bucket beyond. */
function widenZeroBucket(histogram: TestHistogram, threshold: number): void {
  let reached = threshold;
  for (let again = true; again; ) {
    again = false;
    for (const buckets of [histogram.positive, histogram.negative]) {
      for (const [index, count] of [...buckets].sort(([a], [b]) => a - b)) {
        if (upperBound(index - 1, histogram.schema) >= reached) break;
        buckets.delete(index);
        if (count === 0) continue;
        histogram.zeroCount += count;
        const upper = upperBound(index, histogram.schema);
        if (upper > reached) {
          reached = upper;
          again = true;
        }
      }
    }
  }
  histogram.zeroThreshold = reached;
}

function upperBound(index: number, schema: number): number {
  return 2 ** (index * 2 ** -schema);
}

/** The form in which the store takes it: one run of buckets a side, zeros inside kept. */
export function toNative(histogram: TestHistogram): NativeHistogram {
  const positive = toSpans(histogram.positive);
  const negative = toSpans(histogram.negative);
  return {
    schema: histogram.schema,
    zeroThreshold: histogram.zeroThreshold,
    zeroCount: histogram.zeroCount,
    count: histogram.count,
    sum: histogram.sum,
    positiveSpans: positive.spans,
    positiveCounts: positive.counts,
    negativeSpans: negative.spans,
    negativeCounts: negative.counts,
    customValues: Float64Array.from(histogram.customValues),
    resetHint: histogram.hint,
    integer: histogram.integer,
  };
}

function toSpans(buckets: ReadonlyMap<number, number>): { spans: BucketSpan[]; counts: Float64Array } {
  const sorted = [...buckets].sort(([a], [b]) => a - b);
  const spans: { offset: number; length: number }[] = [];
  let next = 0;
  for (const [index] of sorted) {
    const last = spans.at(-1);
    if (last !== undefined && index === next) last.length++;
    else spans.push({ offset: index - next, length: 1 });
    next = index + 1;
  }
  return { spans, counts: Float64Array.from(sorted, ([, count]) => count) };
}

/** The form in which results are compared and shown. */
export function fromNative(native: NativeHistogram): TestHistogram {
  return {
    schema: native.schema,
    sum: native.sum,
    count: native.count,
    zeroCount: native.zeroCount,
    zeroThreshold: native.zeroThreshold,
    positive: fromSpans(native.positiveSpans, native.positiveCounts),
    negative: fromSpans(native.negativeSpans, native.negativeCounts),
    customValues: [...native.customValues],
    hint: native.resetHint,
    hintWritten: true,
    integer: native.integer,
  };
}

function fromSpans(spans: readonly BucketSpan[], counts: Float64Array): Map<number, number> {
  const buckets = new Map<number, number>();
  let at = 0;
  let index = 0;
  for (const { offset, length } of spans) {
    index += offset;
    for (let i = 0; i < length; i++) buckets.set(index++, counts[at++] ?? Number.NaN);
  }
  return buckets;
}

/** `{{…}}` with the populated buckets; holes are written as 0. */
export function printHistogram(histogram: TestHistogram): string {
  const { schema, count, sum, zeroCount, zeroThreshold, customValues, hint } = histogram;
  const parts: string[] = [];
  if (schema !== 0) parts.push(`schema:${schema}`);
  parts.push(`count:${count}`, `sum:${sum}`);
  if (zeroCount !== 0) parts.push(`z_bucket:${zeroCount}`);
  if (zeroThreshold !== 0) parts.push(`z_bucket_w:${zeroThreshold}`);
  if (customValues.length > 0) parts.push(`custom_values:[${customValues.join(" ")}]`);
  for (const [buckets, sign] of [
    [histogram.positive, ""],
    [histogram.negative, "n_"],
  ] as const) {
    const populated = [...buckets].filter(([, population]) => population !== 0).map(([index]) => index);
    if (populated.length === 0) continue;
    const first = Math.min(...populated);
    const last = Math.max(...populated);
    if (last - first > 1000) parts.push(`${sign}buckets:${JSON.stringify([...buckets])}`);
    else {
      const counts = Array.from({ length: last - first + 1 }, (_, i) => buckets.get(first + i) ?? 0);
      if (first !== 0) parts.push(`${sign}offset:${first}`);
      parts.push(`${sign}buckets:[${counts.join(" ")}]`);
    }
  }
  if (histogram.hintWritten && hint !== "unknown") parts.push(`counter_reset_hint:${hint}`);
  return `{{${parts.join(" ")}}}`;
}
