/**
 * Names of OpenTelemetry's metrics, units and attributes as Prometheus names them: characters it does not know become
 * underscores, units and `_total` are appended. The defaults of Prometheus' own OTLP receiver.
 *
 * @see https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/
 */

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
const NOT_IN_UNITS = /[^a-zA-Z0-9:]/gu;
const NOT_IN_LABEL_NAMES = /[^a-zA-Z0-9]/gu;
const DIGIT_FIRST = /^\d/;
const UNDERSCORES = /^_*$/;

/** What of a metric's kind its name shows. */
export type NamedKind = "gauge" | "counter" | "other";

/** Name of a metric; undefined where nothing of it is left. */
export function prometheusMetricName(name: string, unit: string, kind: NamedKind): string | undefined {
  let tokens = name.split(NOT_IN_METRIC_NAMES).filter((token) => token !== "");
  const { main, per } = unitSuffixes(unit);
  tokens = withUnits(tokens, cleanUnit(main), cleanUnit(per));
  if (kind === "counter") tokens = [...tokens.filter((token) => token !== "total"), "total"];
  // Of counters many count things and say "1".
  if (unit === "1" && kind === "gauge") tokens = [...tokens.filter((token) => token !== "ratio"), "ratio"];
  const joined = tokens.join("_");
  const named = DIGIT_FIRST.test(joined) ? `_${joined}` : joined;
  return named === "" || (named !== name && UNDERSCORES.test(named)) ? undefined : named;
}

/** Unit in words, such as `bytes_per_second`; empty where there is none. */
export function prometheusUnit(unit: string): string {
  const { main, per } = unitSuffixes(unit);
  const words = [cleanUnit(main), cleanUnit(per)].filter((word) => word !== "").join("_");
  return words.replace(/^_/, "").replace(/_$/, "");
}

/** Name of a label; undefined where nothing of it is left. */
export function prometheusLabelName(key: string): string | undefined {
  if (key === "") return undefined;
  const clean = key.replace(NOT_IN_LABEL_NAMES, "_");
  let name = clean;
  if (DIGIT_FIRST.test(clean)) name = `key_${clean}`;
  else if (clean.startsWith("_") && !clean.startsWith("__")) name = `key${clean}`;
  return UNDERSCORES.test(name) ? undefined : name;
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
