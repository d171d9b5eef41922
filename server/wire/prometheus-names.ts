/**
 * Names of OpenTelemetry's metrics, units and attributes as Prometheus names them: characters it does not know become
 * underscores, units and `_total` are appended, or as another strategy of Prometheus' own OTLP receiver has it.
 *
 * @see https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
 */

import { DEFAULT_TRANSLATION, type LabelEscaping, type TranslationStrategy } from "./otlp-translation.ts";

/** Units of UCUM as Prometheus calls them. */
const UNITS: ReadonlyMap<string, string> = new Map([
  ["d", "days"],
  ["h", "hours"],
  ["min", "minutes"],
  ["s", "seconds"],
  ["ms", "milliseconds"],
  ["us", "microseconds"],
  ["ns", "nanoseconds"],
  ["By", "bytes"],
  ["KiBy", "kibibytes"],
  ["MiBy", "mebibytes"],
  ["GiBy", "gibibytes"],
  ["TiBy", "tibibytes"],
  ["KBy", "kilobytes"],
  ["MBy", "megabytes"],
  ["GBy", "gigabytes"],
  ["TBy", "terabytes"],
  ["m", "meters"],
  ["V", "volts"],
  ["A", "amperes"],
  ["J", "joules"],
  ["W", "watts"],
  ["g", "grams"],
  ["Cel", "celsius"],
  ["Hz", "hertz"],
  ["1", ""],
  ["%", "percent"],
]);
/** Units after a slash. */
const PER_UNITS: ReadonlyMap<string, string> = new Map([
  ["s", "second"],
  ["m", "minute"],
  ["h", "hour"],
  ["d", "day"],
  ["w", "week"],
  ["mo", "month"],
  ["y", "year"],
]);
const NOT_IN_METRIC_NAMES = /[^a-zA-Z0-9:]+/;
const NOT_IN_PLAIN_NAMES = /[^a-zA-Z0-9:_]+/;
const NOT_IN_UNITS = /[^a-zA-Z0-9:]/gu;
const NOT_IN_LABEL_NAMES = /[^a-zA-Z0-9]/gu;
const RUNS_NOT_IN_LABEL_NAMES = /[^a-zA-Z0-9]+/g;
const RESERVED = /^__(.*)__$/s;
const DIGIT_FIRST = /^\d/;
const UNDERSCORES = /^_*$/;

/** What of a metric's kind its name shows. */
export type NamedKind = "gauge" | "counter" | "other";

/** Name of a metric; undefined where nothing of it is left. */
export function prometheusMetricName(
  name: string,
  unit: string,
  kind: NamedKind,
  strategy: TranslationStrategy = DEFAULT_TRANSLATION.strategy,
): string | undefined {
  switch (strategy) {
    case "UnderscoreEscapingWithSuffixes":
      return compliantName(name, tokensOf(name, unit, kind).join("_"));
    case "UnderscoreEscapingWithoutSuffixes":
      return compliantName(name, tokensBetween(name, NOT_IN_PLAIN_NAMES).join("_"));
    case "NoUTF8EscapingWithSuffixes":
      return withSuffixes(name, unit, kind) || undefined;
    case "NoTranslation":
      return name || undefined;
  }
}

function tokensBetween(name: string, between: RegExp): string[] {
  return name.split(between).filter((token) => token !== "");
}

function tokensOf(name: string, unit: string, kind: NamedKind): string[] {
  const { main, per } = unitSuffixes(unit);
  const tokens = withUnits(tokensBetween(name, NOT_IN_METRIC_NAMES), cleanUnit(main), cleanUnit(per));
  if (kind === "counter") return [...tokens.filter((token) => token !== "total"), "total"];
  return isRatio(unit, kind) ? [...tokens.filter((token) => token !== "ratio"), "ratio"] : tokens;
}

/** Of counters many count things and say "1". */
function isRatio(unit: string, kind: NamedKind): boolean {
  return unit === "1" && kind === "gauge";
}

function compliantName(name: string, escaped: string): string | undefined {
  const named = DIGIT_FIRST.test(escaped) ? `_${escaped}` : escaped;
  return named === "" || (named !== name && UNDERSCORES.test(named)) ? undefined : named;
}

/** Suffixes that a name has already are put in their place, but for the unit, which stays where it ends the rest. */
function withSuffixes(name: string, unit: string, kind: NamedKind): string {
  const { main, per } = unitSuffixes(unit);
  const last = kind === "counter" ? "total" : isRatio(unit, kind) ? "ratio" : "";
  const bare = withoutSuffix(withoutSuffix(name, last), per);
  const suffixes = [bare.endsWith(main) ? "" : main, per, last];
  return [bare, ...suffixes.filter((suffix) => suffix !== "")].join("_");
}

/** Without a suffix and the character before it, unless nothing else were left. */
function withoutSuffix(name: string, suffix: string): string {
  if (suffix === "" || !name.endsWith(suffix)) return name;
  const before = [...name.slice(0, -suffix.length)];
  return before.length > 1 ? before.slice(0, -1).join("") : name;
}

/** Unit in words, such as `bytes_per_second`; empty where there is none. */
export function prometheusUnit(unit: string): string {
  const { main, per } = unitSuffixes(unit);
  const words = [cleanUnit(main), cleanUnit(per)].filter((word) => word !== "").join("_");
  return words.replace(/^_/, "").replace(/_$/, "");
}

/** Name of a label where names are escaped; undefined where nothing of it is left. */
export function prometheusLabelName(
  key: string,
  { prefixUnderscore, keepUnderscores }: LabelEscaping = DEFAULT_TRANSLATION.labels,
): string | undefined {
  if (key === "") return undefined;
  const clean = keepUnderscores ? key.replace(NOT_IN_LABEL_NAMES, "_") : withSingleUnderscores(key);
  let name = clean;
  if (DIGIT_FIRST.test(clean)) name = `key_${clean}`;
  else if (prefixUnderscore && clean.startsWith("_") && !clean.startsWith("__")) name = `key${clean}`;
  return UNDERSCORES.test(name) ? undefined : name;
}

/** Reserved names keep the two underscores around them. */
function withSingleUnderscores(key: string): string {
  const inside = RESERVED.exec(key)?.[1];
  const clean = (inside ?? key).replace(RUNS_NOT_IN_LABEL_NAMES, "_");
  return inside === undefined ? clean : `__${clean}__`;
}

function unitSuffixes(unit: string): { main: string; per: string } {
  const slash = unit.indexOf("/");
  const main = unitWord(slash < 0 ? unit : unit.slice(0, slash), UNITS);
  const per = slash < 0 ? "" : unitWord(unit.slice(slash + 1), PER_UNITS);
  return { main, per: per === "" ? "" : `per_${per}` };
}

/** Annotations in braces are no units. */
function unitWord(unit: string, words: ReadonlyMap<string, string>): string {
  const trimmed = unit.trim();
  return /[{}]/.test(trimmed) ? "" : (words.get(trimmed) ?? trimmed);
}

function cleanUnit(unit: string): string {
  return unit.replace(NOT_IN_UNITS, "_").replace(/__+/g, "_").replace(/^_/, "");
}

/** Units that the name has already are not appended again. */
function withUnits(tokens: string[], main: string, per: string): string[] {
  const perWord = per === "per_" ? "" : per.replace(/_$/, "");
  const isPer = perWord !== "" && !tokens.includes(perWord);
  const mainWord = isPer ? main.replace(/_$/, "") : main;
  const named = [...tokens];
  if (mainWord !== "" && !tokens.includes(main)) named.push(mainWord);
  if (isPer) named.push(perWord);
  return named;
}

/** A number in decimal without an exponent, shortest that reads back, as in the labels `le` and `quantile`. */
export function plainDecimal(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  if (Object.is(value, -0)) return "-0";
  const text = String(value);
  const match = /^(-?)(\d)(?:\.(\d+))?e([+-]\d+)$/.exec(text);
  if (match === null) return text;
  const [, sign = "", first = "", fraction = "", exponent = "0"] = match;
  const digits = first + fraction;
  const point = 1 + Number(exponent);
  if (point <= 0) return `${sign}0.${"0".repeat(-point)}${digits}`;
  return `${sign}${digits.padEnd(point, "0")}`;
}
