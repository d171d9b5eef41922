/** A case of series notation: a metric with values, through the reader of test files. */

import { isDeepStrictEqual } from "node:util";
import { parseMetric, parseValues } from "../promql/series-notation.ts";
import type { TestHistogram } from "../promql/test-histogram.ts";

/** What a case expects; the histograms' fields have the reference's names. */
interface SeriesCase {
  readonly fail?: boolean;
  readonly labels?: Readonly<Record<string, string>>;
  readonly values?: readonly (number | string | null)[];
  readonly histograms?: readonly ReferenceHistogram[];
}

interface ReferenceHistogram {
  readonly schema?: number;
  readonly sum?: number | string;
  readonly count?: number | string;
  readonly zero_count?: number;
  readonly zero_threshold?: number;
  readonly positive_buckets?: readonly number[];
  readonly positive_spans?: readonly { readonly offset: number; readonly length: number }[];
  readonly negative_buckets?: readonly number[];
  readonly negative_spans?: readonly { readonly offset: number; readonly length: number }[];
  readonly custom_values?: readonly (number | string)[];
  readonly counter_reset_hint?: string;
}

/** Why a case fails; empty where it passes. */
export function judgeSeries(one: SeriesCase, text: string): string {
  let got: { readonly labels: unknown; readonly values: readonly unknown[] };
  try {
    const { labels, end } = parseMetric(text);
    if (text[end] !== undefined && !/\s/.test(text[end] ?? ""))
      throw new Error(`a space expected at column ${end + 1}`);
    got = { labels: Object.fromEntries(labels), values: parseValues(text.slice(end)).map(comparable) };
  } catch (error) {
    return one.fail === true ? "" : `refused: ${error instanceof Error ? error.message : String(error)}`;
  }
  if (one.fail === true) return "accepted, must be refused";
  const want = one.histograms?.map(expectedHistogram) ?? one.values?.map((value) => value ?? "omitted") ?? [];
  const labels = one.labels ?? got.labels;
  if (isDeepStrictEqual(got, { labels, values: want.map(asText) })) return "";
  return `got      ${JSON.stringify(got)}\nexpected ${JSON.stringify({ labels, values: want.map(asText) })}`;
}

function comparable(value: number | "stale" | TestHistogram | undefined): string {
  if (value === undefined) return "omitted";
  if (typeof value !== "object") return asText(value);
  const buckets = (counts: ReadonlyMap<number, number>) => [...counts].sort(([a], [b]) => a - b);
  return asText({
    schema: value.schema,
    sum: value.sum,
    count: value.count,
    zeroCount: value.zeroCount,
    zeroThreshold: value.zeroThreshold,
    positive: buckets(value.positive),
    negative: buckets(value.negative),
    customValues: value.customValues,
    hint: value.hint,
  });
}

function expectedHistogram(want: ReferenceHistogram): object {
  const buckets = (counts: readonly number[] = [], spans: ReferenceHistogram["positive_spans"] = []) => {
    let at = 0;
    let next = 0;
    return spans.flatMap(({ offset, length }) => {
      at += offset;
      return Array.from({ length }, () => [at++, counts[next++] ?? 0]);
    });
  };
  return {
    schema: want.schema ?? 0,
    sum: want.sum ?? 0,
    count: want.count ?? 0,
    zeroCount: want.zero_count ?? 0,
    zeroThreshold: want.zero_threshold ?? 0,
    positive: buckets(want.positive_buckets, want.positive_spans),
    negative: buckets(want.negative_buckets, want.negative_spans),
    customValues: want.custom_values ?? [],
    hint: want.counter_reset_hint ?? "unknown",
  };
}

function asText(value: unknown): string {
  return typeof value === "string"
    ? value
    : JSON.stringify(value, (_, part) => (typeof part === "number" && !Number.isFinite(part) ? String(part) : part));
}
