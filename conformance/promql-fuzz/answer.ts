/** Answers of the query API, and where two of them differ. */

/** A histogram of the API. */
interface ApiHistogram {
  readonly count: string;
  readonly sum: string;
  readonly buckets?: readonly (readonly [rule: number, lower: string, upper: string, count: string])[];
}

/** A series of a vector or matrix. */
interface ApiSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly value?: readonly [number, string];
  readonly histogram?: readonly [number, ApiHistogram];
  readonly values?: readonly (readonly [number, string])[];
  readonly histograms?: readonly (readonly [number, ApiHistogram])[];
}

/** Data of a successful answer. */
type ApiData =
  | { readonly resultType: "scalar" | "string"; readonly result: readonly [number, string] }
  | { readonly resultType: "vector" | "matrix"; readonly result: readonly ApiSeries[] };

/** An answer with its HTTP status. */
export interface ApiAnswer {
  readonly code: number;
  readonly status: string;
  readonly data?: ApiData;
  readonly errorType?: string;
  readonly error?: string;
  readonly warnings?: readonly string[];
  readonly infos?: readonly string[];
}

/** Differences that mean something; the first that is found is told. */
type Harm = "status" | "annotations" | "shape" | "value" | "order";

/**
 * Differences that do not.
 *
 * - `last digits`: exp, log, pow, sin and their like. Go's differ from V8's in the last bit or two, and from themselves on
 *   another processor: its exp uses fused multiplication where there is one.
 * - `subnormal`: Go's logarithm on amd64 takes subnormal numbers for ones near 2 ** -1022.
 * - `layout`: Prometheus' chunks spell out the empty buckets that a neighbour in the chunk needs, and times NaN or Inf
 *   these are NaN; with negative counts they end the search for a quantile.
 * - `unprintable`: a histogram with custom buckets times NaN or Inf has a zero bucket in Prometheus, for which its
 *   `count_values` then finds no text.
 * - `wording`: of an error whose type and status are the same.
 * - `unsettled`: asked again, the reference says something else itself, since what it computes has no order there.
 * - `no samples`: where a query reaches no stored time, Prometheus' index has not put the conditions of `absent(…)` in
 *   another order, so that a label that is asked for after it was excluded is told.
 * - `follows`: a part of the query differs in one of these ways, and the rest makes more of it.
 */
export type Explained =
  | "last digits"
  | "subnormal"
  | "layout"
  | "unprintable"
  | "wording"
  | "unsettled"
  | "no samples"
  | "follows";

/** A difference of two answers. */
export interface Difference {
  readonly kind: Harm | Explained;
  readonly text: string;
}

const HARMS: ReadonlySet<string> = new Set<Harm>(["status", "annotations", "shape", "value", "order"]);

/** Whether a difference is none that can be explained. */
export function isHarm({ kind }: Difference): boolean {
  return HARMS.has(kind);
}

/** Relative difference of two numbers that counts as the same arithmetic. */
const LAST_DIGITS = 1e-10;

/** Logarithms of the least normal and the least subnormal number, to base 10 and natural. */
const SUBNORMAL_LOGARITHMS = [
  { least: -323.4, most: -307.6 },
  { least: -744.5, most: -708.3 },
];

const NO_ZERO_BUCKET = "histograms with custom buckets have no zero bucket";

/** Both sides list at most so many annotations, in no order, and count the rest. */
const ANNOTATIONS_MAX = 10;

/** @returns undefined where both answer the same. */
export function compareAnswers(wanted: ApiAnswer, got: ApiAnswer, isOrdered: boolean): Difference | undefined {
  if (wanted.error === NO_ZERO_BUCKET && got.status === "success") return { kind: "unprintable", text: wanted.error };
  if (wanted.code !== got.code || wanted.status !== got.status || wanted.errorType !== got.errorType)
    return { kind: "status", text: `${outcomeOf(got)}, wanted ${outcomeOf(wanted)}` };
  if (wanted.data === undefined || got.data === undefined) {
    if (wanted.error === got.error) return undefined;
    return { kind: "wording", text: `"${got.error}", wanted "${wanted.error}"` };
  }
  return (
    compareData(wanted.data, got.data, isOrdered) ??
    compareAnnotations("warnings", wanted.warnings ?? [], got.warnings ?? []) ??
    compareAnnotations("infos", wanted.infos ?? [], got.infos ?? [])
  );
}

function outcomeOf({ code, status, errorType, error }: ApiAnswer): string {
  return status === "success" ? `${code} success` : `${code} ${errorType} ${error}`;
}

function compareAnnotations(what: string, wanted: readonly string[], got: readonly string[]): Difference | undefined {
  if (wanted.length > ANNOTATIONS_MAX && wanted.length === got.length) return undefined;
  const missing = wanted.filter((text) => !got.includes(text));
  const stray = got.filter((text) => !wanted.includes(text));
  if (missing.length === 0 && stray.length === 0) return undefined;
  return { kind: "annotations", text: `${what}: lacks ${JSON.stringify(missing)}, has ${JSON.stringify(stray)}` };
}

function compareData(wanted: ApiData, got: ApiData, isOrdered: boolean): Difference | undefined {
  if (wanted.resultType !== got.resultType)
    return { kind: "shape", text: `a ${got.resultType}, wanted a ${wanted.resultType}` };
  if (!isSeries(wanted) || !isSeries(got)) {
    const fault = compareNumbers(String(wanted.result[1]), String(got.result[1]));
    return fault ?? (wanted.result[0] === got.result[0] ? undefined : { kind: "shape", text: `time ${got.result[0]}` });
  }
  const byKey = new Map(got.result.map((series) => [keyOf(series), series]));
  if (byKey.size !== got.result.length) return { kind: "shape", text: "a series is there twice" };
  let least: Difference | undefined;
  for (const series of wanted.result) {
    const key = keyOf(series);
    const other = byKey.get(key);
    if (other === undefined) return { kind: "shape", text: `lacks ${key}` };
    byKey.delete(key);
    const fault = compareSeries(series, other);
    if (fault !== undefined && isHarm(fault)) return { ...fault, text: `${key}: ${fault.text}` };
    least ??= fault === undefined ? undefined : { ...fault, text: `${key}: ${fault.text}` };
  }
  const [stray] = byKey.keys();
  if (stray !== undefined) return { kind: "shape", text: `unexpected ${stray}` };
  return compareOrder(wanted, got, isOrdered) ?? least;
}

function isSeries(data: ApiData): data is ApiData & { readonly resultType: "vector" | "matrix" } {
  return data.resultType === "vector" || data.resultType === "matrix";
}

function keyOf({ metric }: ApiSeries): string {
  return JSON.stringify(Object.entries(metric).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** A matrix is in the order of labels; a vector only where the query sorts, and there equal values may change places. */
function compareOrder(
  wanted: ApiData & { readonly resultType: "vector" | "matrix" },
  got: typeof wanted,
  isOrdered: boolean,
): Difference | undefined {
  if (wanted.resultType === "vector" && !isOrdered) return undefined;
  for (const [index, series] of wanted.result.entries()) {
    const other = got.result[index];
    if (other === undefined || keyOf(other) === keyOf(series)) continue;
    const isTie = wanted.resultType === "vector" && series.value?.[1] === other.value?.[1];
    if (!isTie) return { kind: "order", text: `place ${index + 1} holds ${keyOf(other)}, wanted ${keyOf(series)}` };
  }
  return undefined;
}

type Point = string | ApiHistogram;

function pointsOf({ value, values, histogram, histograms }: ApiSeries): Map<number, Point> {
  const points = new Map<number, Point>();
  for (const [time, point] of [...(values ?? []), ...(value === undefined ? [] : [value])]) points.set(time, point);
  for (const [time, point] of [...(histograms ?? []), ...(histogram === undefined ? [] : [histogram])])
    points.set(time, point);
  return points;
}

function compareSeries(wanted: ApiSeries, got: ApiSeries): Difference | undefined {
  const others = pointsOf(got);
  let least: Difference | undefined;
  for (const [time, point] of pointsOf(wanted)) {
    const other = others.get(time);
    if (other === undefined) return { kind: "shape", text: `no point at ${time}, wanted ${JSON.stringify(point)}` };
    others.delete(time);
    const fault = comparePoints(point, other);
    if (fault !== undefined && isHarm(fault)) return { ...fault, text: `at ${time}: ${fault.text}` };
    least ??= fault;
  }
  const [stray] = others;
  return stray === undefined ? least : { kind: "shape", text: `unexpected ${JSON.stringify(stray)}` };
}

function comparePoints(wanted: Point, got: Point): Difference | undefined {
  if (typeof wanted === "string" && typeof got === "string") return compareNumbers(wanted, got);
  if (typeof wanted === "string" || typeof got === "string")
    return { kind: "value", text: `${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}` };
  const whole = `${JSON.stringify(got)}, wanted ${JSON.stringify(wanted)}`;
  const buckets = compareBuckets(wanted.buckets ?? [], got.buckets ?? []);
  const faults = [compareNumbers(wanted.count, got.count), compareNumbers(wanted.sum, got.sum), buckets];
  const fault = faults.find((one) => one !== undefined && isHarm(one)) ?? faults.find((one) => one !== undefined);
  return fault === undefined ? undefined : { kind: fault.kind, text: whole };
}

type Buckets = NonNullable<ApiHistogram["buckets"]>;

function compareBuckets(wanted: Buckets, got: Buckets): Difference | undefined {
  if (wanted.length !== got.length) {
    const populated = (buckets: Buckets) => buckets.filter(([, , , count]) => count !== "NaN");
    const rest = [populated(wanted), populated(got)] as const;
    const isLayout = rest[0].length === rest[1].length && !hasHarm(compareBuckets(...rest));
    return { kind: isLayout ? "layout" : "value", text: "" };
  }
  let least: Difference | undefined;
  for (const [index, [rule, ...numbers]] of wanted.entries()) {
    const [otherRule, ...otherNumbers] = got[index] ?? [-1, "", "", ""];
    if (rule !== otherRule) return { kind: "value", text: "" };
    for (const [at, text] of numbers.entries()) {
      const fault = compareNumbers(text, otherNumbers[at] ?? "");
      if (hasHarm(fault)) return fault;
      least ??= fault;
    }
  }
  return least;
}

function hasHarm(difference: Difference | undefined): boolean {
  return difference !== undefined && isHarm(difference);
}

function compareNumbers(wanted: string, got: string): Difference | undefined {
  if (wanted === got) return undefined;
  const [a, b] = [numberOf(wanted), numberOf(got)];
  const text = `${got}, wanted ${wanted}`;
  if (a !== b && Math.abs(a - b) <= LAST_DIGITS * Math.max(Math.abs(a), Math.abs(b)))
    return { kind: "last digits", text };
  const isSubnormal = SUBNORMAL_LOGARITHMS.some(({ least, most }) => [a, b].every((x) => x >= least && x <= most));
  return { kind: isSubnormal ? "subnormal" : "value", text };
}

function numberOf(text: string): number {
  return Number(text.replace("Inf", "Infinity"));
}
