/** Names, arguments and results of PromQL's functions, as Prometheus 3.16 declares them. */

import type { PromqlType } from "./promql-tree.ts";

/** A function's signature. */
export interface PromqlFunction {
  readonly name: string;
  readonly args: readonly PromqlType[];
  /** 0 where every argument is needed; else how many may stand from the last one on (none included), or `many`. */
  readonly optional: number | "many";
  readonly returns: PromqlType;
  /** Behind Prometheus' switch promql-experimental-functions. */
  readonly experimental: boolean;
}

const OF_RANGE = [
  "absent_over_time avg_over_time changes count_over_time delta deriv first_over_time idelta increase irate",
  "last_over_time max_over_time min_over_time present_over_time rate resets stddev_over_time stdvar_over_time",
  "sum_over_time",
].join(" ");
const OF_RANGE_EXPERIMENTAL =
  "mad_over_time ts_of_first_over_time ts_of_last_over_time ts_of_max_over_time ts_of_min_over_time";
const OF_VECTOR = [
  "abs absent acos acosh asin asinh atan atanh ceil cos cosh deg exp floor histogram_avg histogram_count",
  "histogram_stddev histogram_stdvar histogram_sum ln log10 log2 rad sgn sin sinh sort sort_desc sqrt tan tanh",
  "timestamp",
].join(" ");
const OF_DATE = "day_of_month day_of_week day_of_year days_in_month hour minute month year";

const FUNCTIONS: ReadonlyMap<string, PromqlFunction> = new Map(
  [
    ...each(OF_RANGE, ["matrix"], "vector"),
    ...each(OF_RANGE_EXPERIMENTAL, ["matrix"], "vector", { experimental: true }),
    ...each(OF_VECTOR, ["vector"], "vector"),
    ...each(OF_DATE, ["vector"], "vector", { optional: 1 }),
    ...each("clamp", ["vector", "scalar", "scalar"], "vector"),
    ...each("clamp_max clamp_min", ["vector", "scalar"], "vector"),
    ...each("double_exponential_smoothing", ["matrix", "scalar", "scalar"], "vector", { experimental: true }),
    ...each("histogram_fraction", ["scalar", "scalar", "vector"], "vector"),
    ...each("histogram_quantile", ["scalar", "vector"], "vector"),
    ...each("histogram_quantiles", ["vector", "string", "scalar", "scalar"], "vector", {
      optional: 9,
      experimental: true,
    }),
    ...each("info", ["vector", "vector"], "vector", { optional: 1, experimental: true }),
    ...each("integral", ["matrix", "scalar"], "vector", { optional: 1, experimental: true }),
    ...each("label_join", ["vector", "string", "string", "string"], "vector", { optional: "many" }),
    ...each("label_replace", ["vector", "string", "string", "string", "string"], "vector"),
    ...each("pi time", [], "scalar"),
    ...each("start end step range", [], "scalar", { experimental: true }),
    ...each("max_of min_of", ["scalar", "scalar"], "scalar", { experimental: true }),
    ...each("predict_linear", ["matrix", "scalar"], "vector"),
    ...each("quantile_over_time", ["scalar", "matrix"], "vector"),
    ...each("round", ["vector", "scalar"], "vector", { optional: 1 }),
    ...each("scalar", ["vector"], "scalar"),
    ...each("sort_by_label sort_by_label_desc", ["vector", "string"], "vector", {
      optional: "many",
      experimental: true,
    }),
    ...each("start_timestamp", ["vector"], "vector", { experimental: true }),
    ...each("vector", ["scalar"], "vector"),
  ].map((entry): [string, PromqlFunction] => [entry.name, entry]),
);

/** The function of that name; names are matched as written. */
export function promqlFunction(name: string): PromqlFunction | undefined {
  return FUNCTIONS.get(name);
}

/** All functions. */
export function promqlFunctions(): Iterable<PromqlFunction> {
  return FUNCTIONS.values();
}

function each(
  names: string,
  args: readonly PromqlType[],
  returns: PromqlType,
  more: { readonly optional?: number | "many"; readonly experimental?: boolean } = {},
): PromqlFunction[] {
  return names.split(" ").map((name) => ({
    name,
    args,
    returns,
    optional: more.optional ?? 0,
    experimental: more.experimental ?? false,
  }));
}
