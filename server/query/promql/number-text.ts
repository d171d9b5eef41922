/** Numbers as Prometheus writes them. */

import { printPlainNumber } from "../../../grammar/promql-number.ts";

/** Shortest digits that read back the same: `"1e-07"`, `"+Inf"`, `"NaN"`, as in samples of the HTTP API. */
export function printSample(value: number): string {
  if (value >= 1e-6 && value < 1e21) return String(value); // what JavaScript writes without an exponent
  if (Number.isNaN(value)) return "NaN";
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  if (value === Number.NEGATIVE_INFINITY) return "-Inf";
  if (value === 0) return Object.is(value, -0) ? "-0" : "0";
  const text = String(value);
  const exponent = text.indexOf("e");
  if (exponent === -1 || text.length - exponent > 3) return text;
  return `${text.slice(0, exponent + 2)}0${text.slice(exponent + 2)}`;
}

/** A number as a label value of histograms: whole numbers end in `.0`, as in OpenMetrics. */
export function printBound(value: number): string {
  const text = printGeneral(value === 0 ? 0 : value);
  return /^-?\d+$/.test(text) ? `${text}.0` : text;
}

/** Unix milliseconds as the seconds of a sample: three decimals, or none where the second is whole. */
export function printSeconds(milliseconds: number): string {
  const size = Math.abs(milliseconds);
  const whole = Math.floor(size / 1000);
  const rest = size - whole * 1000;
  const text = rest === 0 ? String(whole) : `${whole}.${String(rest).padStart(3, "0")}`;
  return milliseconds < 0 ? `-${text}` : text;
}

/** Go's `%g` without a precision writes an exponent from 1e6 on. */
const GENERAL_EXPONENT_FROM = 6;

/**
 * A number as Go's `%g` writes it: with an exponent below 1e-4, and from 1e6 or `1e<digits>` on.
 *
 * @param digits Significant digits at most; the shortest that read back the same where left out.
 */
export function printGeneral(value: number, digits?: number): string {
  if (!Number.isFinite(value) || value === 0) return printSample(value);
  const scientific = digits === undefined ? value.toExponential() : roundToEven(value, digits);
  const [mantissa = "", power = ""] = scientific.split("e");
  const exponent = Number(power);
  const short = mantissa.includes(".") ? mantissa.replace(/\.?0+$/, "") : mantissa;
  if (exponent < -4 || exponent >= (digits ?? GENERAL_EXPONENT_FROM)) {
    const size = Math.abs(exponent);
    return `${short}e${exponent < 0 ? "-" : "+"}${size < 10 ? "0" : ""}${size}`;
  }
  return printPlainNumber(Number(`${short}e${exponent}`));
}

/** Longest that `toExponential` writes; a number half-way between two short ones has fewer digits than that. */
const EXACT_DIGITS = 100;

/** `toExponential` with that many digits; half-way it takes the even last digit, where JavaScript takes the larger. */
function roundToEven(value: number, digits: number): string {
  const rounded = value.toExponential(digits - 1);
  const [mantissa = "", power = ""] = value.toExponential(EXACT_DIGITS).split("e");
  const all = mantissa.replace(/[-.]/g, "");
  const isHalfWay = /^50*$/.test(all.slice(digits));
  if (!isHalfWay || Number(all[digits - 1]) % 2 === 1) return rounded;
  const kept = all.slice(0, digits);
  return `${value < 0 ? "-" : ""}${kept.slice(0, 1)}${digits > 1 ? "." : ""}${kept.slice(1)}e${power}`;
}

const DECIMAL = /^[+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:e[+-]?\d+)?$/i;
const HEXADECIMAL = /^([+-]?)0x([0-9a-f]*)(?:\.([0-9a-f]*))?p([+-]?\d+)$/i;
const INFINITE = /^([+-]?)inf(?:inity)?$/i;

/**
 * A number as Go's `strconv.ParseFloat` reads it, as in the label `le`.
 *
 * @returns NaN for `NaN`, undefined where the text is no number or one beyond the range of doubles.
 */
export function parseGoNumber(text: string): number | undefined {
  if (/^nan$/i.test(text)) return Number.NaN;
  const infinite = INFINITE.exec(text);
  if (infinite !== null) return infinite[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  // An underscore may stand between digits, or behind the 0x; elsewhere it stays and is refused.
  const between = /^[+-]?0x/i.test(text) ? /(?<=[0-9a-fx])_(?=[0-9a-f])/gi : /(?<=\d)_(?=\d)/g;
  const plain = text.replace(between, "");
  const hexadecimal = HEXADECIMAL.exec(plain);
  let value: number;
  if (hexadecimal !== null) {
    const [, sign = "", whole = "", fraction = "", exponent = ""] = hexadecimal;
    if (whole + fraction === "") return undefined;
    value = Number(`0x${whole}${fraction}`) * 2 ** (Number(exponent) - 4 * fraction.length);
    if (sign === "-") value = -value;
  } else {
    if (!DECIMAL.test(plain)) return undefined;
    value = Number(plain);
  }
  return Number.isFinite(value) ? value : undefined;
}

/** A number as Go's `%f` writes it: six decimals, never an exponent. */
export function printFixed(value: number): string {
  if (!Number.isFinite(value)) return printSample(value);
  return Math.abs(value) < 1e21 ? value.toFixed(6) : `${BigInt(value)}.000000`;
}
