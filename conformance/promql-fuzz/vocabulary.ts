/** What PromQL offers, by the types it takes: read off Prometheus 3.16's documentation, not off our own tables. */

/** Functions of one instant vector of floats. */
export const VECTOR_FUNCTIONS = [
  "abs",
  "absent",
  "acos",
  "acosh",
  "asin",
  "asinh",
  "atan",
  "atanh",
  "ceil",
  "cos",
  "cosh",
  "deg",
  "exp",
  "floor",
  "ln",
  "log10",
  "log2",
  "rad",
  "sgn",
  "sin",
  "sinh",
  "sort",
  "sort_desc",
  "sqrt",
  "tan",
  "tanh",
  "timestamp",
  "start_timestamp",
] as const;

/** Functions of the date, whose argument may be left out. */
export const DATE_FUNCTIONS = [
  "day_of_month",
  "day_of_week",
  "day_of_year",
  "days_in_month",
  "hour",
  "minute",
  "month",
  "year",
] as const;

/** Functions of one instant vector of native histograms. */
export const HISTOGRAM_FUNCTIONS = [
  "histogram_avg",
  "histogram_count",
  "histogram_stddev",
  "histogram_stdvar",
  "histogram_sum",
] as const;

/** Functions of one range vector. */
export const RANGE_FUNCTIONS = [
  "absent_over_time",
  "avg_over_time",
  "changes",
  "count_over_time",
  "delta",
  "deriv",
  "first_over_time",
  "idelta",
  "increase",
  "irate",
  "last_over_time",
  "mad_over_time",
  "max_over_time",
  "min_over_time",
  "present_over_time",
  "rate",
  "resets",
  "stddev_over_time",
  "stdvar_over_time",
  "sum_over_time",
  "ts_of_first_over_time",
  "ts_of_last_over_time",
  "ts_of_max_over_time",
  "ts_of_min_over_time",
  "integral",
] as const;

/** Functions whose arguments are of several types; the generator knows each by name. */
export const OTHER_FUNCTIONS = [
  "clamp",
  "clamp_max",
  "clamp_min",
  "double_exponential_smoothing",
  "histogram_fraction",
  "histogram_quantile",
  "histogram_quantiles",
  "info",
  "label_join",
  "label_replace",
  "predict_linear",
  "quantile_over_time",
  "round",
  "sort_by_label",
  "sort_by_label_desc",
  "vector",
] as const;

/** Functions that give a scalar. */
export const SCALAR_FUNCTIONS = ["end", "max_of", "min_of", "pi", "range", "scalar", "start", "step", "time"] as const;

/** Range functions that may stand over `anchored` ranges, and those over `smoothed` ones. */
export const ANCHORED_FUNCTIONS = ["changes", "delta", "increase", "rate", "resets"] as const;
/** @see ANCHORED_FUNCTIONS */
export const SMOOTHED_FUNCTIONS = ["delta", "increase", "rate"] as const;

/** Aggregations without a parameter. */
export const PLAIN_AGGREGATIONS = ["avg", "count", "group", "max", "min", "stddev", "stdvar", "sum"] as const;
/** Aggregations with a parameter. */
export const PARAMETER_AGGREGATIONS = ["bottomk", "count_values", "limit_ratio", "limitk", "quantile", "topk"] as const;

/** Operators of arithmetic. */
export const ARITHMETIC = ["+", "-", "*", "/", "%", "^", "atan2"] as const;
/** Operators that compare. */
export const COMPARISONS = ["==", "!=", "<", ">", "<=", ">="] as const;
/** Operators that cut histograms off at a number. */
export const TRIMS = ["</", ">/"] as const;
/** Operators over sets of series. */
export const SET_OPERATORS = ["and", "or", "unless"] as const;
