/**
 * Values of parameters as Go's standard library reads and refuses them, since Prometheus answers with its words.
 */

import { quoteText } from "../query/promql-texts.ts";

/** A value, or Go's reason for refusing the text. */
export type GoOutcome<T> =
  | { readonly kind: "value"; readonly value: T }
  | { readonly kind: "refused"; readonly reason: string };

// No two parts of these can take the same digits: of a long text that is no number, each is looked at a few times only.
const DECIMAL = /^[+-]?(?:\d(?:_?\d)*(?:\.(?:\d(?:_?\d)*)?)?|\.\d(?:_?\d)*)(?:e[+-]?\d(?:_?\d)*)?$/i;
const HEXADECIMAL = /^([+-]?)0x_?([\da-f](?:_?[\da-f])*)?(?:\.([\da-f](?:_?[\da-f])*)?)?p([+-]?\d+)$/i;
const INFINITY = /^([+-]?)inf(?:inity)?$/i;
const INTEGER = /^[+-]?\d+$/;
const INT64_MAX = 2n ** 63n - 1n;
const INT64_DIGITS = 19;
const TRUE = new Set(["1", "t", "T", "true", "TRUE", "True"]);
const FALSE = new Set(["0", "f", "F", "false", "FALSE", "False"]);
const NS_PER_MS = 1e6;

/** `strconv.ParseFloat`: infinities and NaN by name, hexadecimal with exponent, `_` between digits; undefined where it refuses. */
export function parseFloatGo(text: string): number | undefined {
  if (DECIMAL.test(text)) {
    const value = Number(text.replaceAll("_", ""));
    return Number.isFinite(value) ? value : undefined;
  }
  const infinity = INFINITY.exec(text);
  if (infinity !== null) return infinity[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  if (/^[+-]?nan$/i.test(text)) return Number.NaN;
  const match = HEXADECIMAL.exec(text);
  if (match === null) return undefined;
  const [, sign = "", whole = "", fraction = "", exponent = "0"] = match;
  const digits = (whole + fraction).replaceAll("_", "");
  if (digits === "") return undefined;
  const magnitude = Number.parseInt(digits, 16) * 2 ** (Number(exponent) - 4 * fraction.replaceAll("_", "").length);
  return sign === "-" ? -magnitude : magnitude;
}

/** `strconv.Atoi`. Values beyond 2⁵³ lose their last digits, which no count here needs. */
export function parseIntGo(text: string): GoOutcome<number> {
  const refuse = (why: string): GoOutcome<number> => {
    return { kind: "refused", reason: `strconv.Atoi: parsing ${quoteText(text)}: ${why}` };
  };
  if (!INTEGER.test(text)) return refuse("invalid syntax");
  const digits = text.replace(/^[+-]?0*/, "");
  if (digits.length > INT64_DIGITS) return refuse("value out of range");
  const value = BigInt(text.startsWith("-") ? `-${digits || "0"}` : digits || "0");
  const inRange = value <= INT64_MAX && value >= -INT64_MAX - 1n;
  return inRange ? { kind: "value", value: Number(value) } : refuse("value out of range");
}

/** `strconv.ParseBool`. */
export function parseBoolGo(text: string): GoOutcome<boolean> {
  if (TRUE.has(text)) return { kind: "value", value: true };
  if (FALSE.has(text)) return { kind: "value", value: false };
  return { kind: "refused", reason: `strconv.ParseBool: parsing ${quoteText(text)}: invalid syntax` };
}

/** How Go prints a `time.Duration`: `1m30s`, `-1s`, `1.5ms`, `0s`. */
export function printDurationGo(durationMs: number): string {
  const ns = Math.trunc(durationMs * NS_PER_MS);
  if (ns === 0) return "0s";
  const sign = ns < 0 ? "-" : "";
  const size = Math.abs(ns);
  for (const [unit, below, unitNs] of [
    ["ns", 1e3, 1],
    ["µs", 1e6, 1e3],
    ["ms", 1e9, 1e6],
  ] as const) {
    if (size < below) return `${sign}${plainQuotient(size, unitNs)}${unit}`;
  }
  const wholeSeconds = Math.floor(size / 1e9);
  const hours = Math.floor(wholeSeconds / 3600);
  const minutes = Math.floor(wholeSeconds / 60) % 60;
  const seconds = plainQuotient(size - Math.floor(wholeSeconds / 60) * 60e9, 1e9);
  const front = hours > 0 ? `${hours}h${minutes}m` : minutes > 0 ? `${minutes}m` : "";
  return `${sign}${front}${seconds}s`;
}

/** A quotient of whole numbers with all of its decimals, none that are zero at the end. */
function plainQuotient(ns: number, unitNs: number): string {
  const whole = Math.floor(ns / unitNs);
  const rest = Math.round(ns - whole * unitNs);
  if (rest === 0) return String(whole);
  const digits = String(rest).padStart(String(unitNs).length - 1, "0");
  return `${whole}.${digits.replace(/0+$/, "")}`;
}
