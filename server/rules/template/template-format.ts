/** Go's `printf` for the values of templates. */

import { quoteGo, quoteGoCharacter } from "../../../grammar/promql-error.ts";
import { printGeneral, printSample } from "../../query/promql/number-text.ts";
import { sprint, type TemplateValue, typeOf } from "./template-value.ts";

const VERB = /%([-+# 0]*)(\d+|\*)?(?:\.(\d+|\*)?)?(.?)/su;
const WIDTH_MAX = 10_000;

interface Directive {
  readonly flags: string;
  readonly width: number;
  /** Undefined where none is written. */
  readonly precision: number | undefined;
  readonly verb: string;
}

/** Formats as Go's `fmt.Sprintf`: `%!d(string=a)` and its like where a value does not fit its verb. */
export function formatGo(format: string, values: readonly TemplateValue[]): string {
  let out = "";
  let next = 0;
  let rest = format;
  for (let match = VERB.exec(rest); match !== null; match = VERB.exec(rest)) {
    out += rest.slice(0, match.index);
    rest = rest.slice(match.index + match[0].length);
    const [whole, flags = "", width = "", precision, verb = ""] = match;
    if (verb === "") out += "%!(NOVERB)";
    else if (verb === "%") out += "%";
    else if (width === "*" || precision === "*") out += "%!(BADWIDTH)";
    else if (next >= values.length) out += `%!${verb}(MISSING)`;
    else {
      const digits = whole.includes(".") ? Number(precision ?? "0") : undefined;
      const directive = { flags, width: Math.min(Number(width), WIDTH_MAX), precision: digits, verb };
      out += pad(formatOne(directive, values[next]), directive, values[next]);
      next++;
    }
  }
  out += rest;
  if (next < values.length) {
    const extra = values
      .slice(next)
      .map((value) => (value === undefined ? "<nil>" : `${typeOf(value)}=${sprint(value)}`));
    out += `%!(EXTRA ${extra.join(", ")})`;
  }
  return out;
}

function pad(text: string, { flags, width }: Directive, value: TemplateValue): string {
  const missing = width - Array.from(text).length;
  if (missing <= 0) return text;
  if (flags.includes("-")) return text + " ".repeat(missing);
  const isNumber = typeof value === "number" || typeof value === "bigint";
  if (!flags.includes("0") || !isNumber || (typeof value === "number" && !Number.isFinite(value))) {
    return " ".repeat(missing) + text;
  }
  const sign = /^[+\- ]/.test(text) ? text.charAt(0) : "";
  return sign + "0".repeat(missing) + text.slice(sign.length);
}

function formatOne(directive: Directive, value: TemplateValue): string {
  const { verb, precision } = directive;
  if (verb === "T") return typeOf(value);
  if (verb === "v") return withSign(directive, value, sprint(value));
  if (value === undefined) return `%!${verb}(<nil>)`;
  switch (typeof value) {
    case "string":
      return formatText(directive, value);
    case "boolean":
      return verb === "t" ? String(value) : bad(verb, value);
    case "bigint":
      return formatInt(directive, value);
    case "number":
      return formatFloat(directive, value);
    default:
      return verb === "s" ? cut(sprint(value), precision) : bad(verb, value);
  }
}

function bad(verb: string, value: TemplateValue): string {
  return `%!${verb}(${typeOf(value)}=${sprint(value)})`;
}

function cut(text: string, precision: number | undefined): string {
  return precision === undefined ? text : Array.from(text).slice(0, precision).join("");
}

function formatText({ verb, precision, flags }: Directive, text: string): string {
  const shown = cut(text, precision);
  switch (verb) {
    case "s":
      return shown;
    case "q":
      return flags.includes("#") && !shown.includes("`") ? `\`${shown}\`` : quoteGo(shown);
    case "x":
    case "X": {
      const hex = Buffer.from(shown, "utf8").toString("hex");
      return verb === "X" ? hex.toUpperCase() : hex;
    }
    default:
      return bad(verb, text);
  }
}

const RADIX: Readonly<Record<string, number>> = { d: 10, b: 2, o: 8, O: 8, x: 16, X: 16 };

function formatInt(directive: Directive, value: bigint): string {
  const { verb, flags } = directive;
  if (verb === "c" || verb === "q" || verb === "U") {
    const code = value >= 0n && value <= 0x10ffffn ? Number(value) : 0xfffd;
    const character = String.fromCodePoint(code);
    if (verb === "U") return `U+${value.toString(16).toUpperCase().padStart(4, "0")}`;
    return verb === "c" ? character : quoteGoCharacter(character);
  }
  const radix = RADIX[verb];
  if (radix === undefined) return bad(verb, value);
  const digits = (value < 0n ? -value : value).toString(radix);
  const prefix = flags.includes("#") || verb === "O" ? { x: "0x", X: "0X", o: "0", O: "0o", b: "0b" }[verb] : undefined;
  const text = `${value < 0n ? "-" : ""}${prefix ?? ""}${verb === "X" ? digits.toUpperCase() : digits}`;
  return withSign(directive, value, text);
}

function withSign({ flags }: Directive, value: TemplateValue, text: string): string {
  if ((typeof value !== "number" && typeof value !== "bigint") || text.startsWith("-")) return text;
  if (flags.includes("+")) return text.startsWith("+") ? text : `+${text}`;
  return flags.includes(" ") ? ` ${text}` : text;
}

function formatFloat(directive: Directive, value: number): string {
  const { verb, precision } = directive;
  if (!"eEfFgG".includes(verb)) return bad(verb, value);
  if (!Number.isFinite(value)) return withSign(directive, value, printSample(value));
  const lower = verb.toLowerCase();
  let text: string;
  if (lower === "g") text = printGeneral(value, precision === 0 ? 1 : precision);
  else if (lower === "f") text = fixed(value, precision ?? 6);
  else text = exponential(value, precision ?? 6);
  return withSign(directive, value, verb === lower ? text : text.toUpperCase());
}

/** Decimals rounded half to even, as Go does and `toFixed` does not. */
function fixed(value: number, decimals: number): string {
  const { numerator, denominator } = fractionOf(Math.abs(value));
  const scaled = roundedQuotient(numerator * 10n ** BigInt(decimals), denominator)
    .toString()
    .padStart(decimals + 1, "0");
  const point = scaled.length - decimals;
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  return `${sign}${scaled.slice(0, point)}${decimals > 0 ? `.${scaled.slice(point)}` : ""}`;
}

function exponential(value: number, decimals: number): string {
  const sign = value < 0 || Object.is(value, -0) ? "-" : "";
  if (value === 0) return `${sign}0${decimals > 0 ? `.${"0".repeat(decimals)}` : ""}e+00`;
  const { numerator, denominator } = fractionOf(Math.abs(value));
  let power = Number(value.toExponential().split("e")[1]);
  let digits = "";
  // The shortest text of a value may round up to the next power of ten, so the guess is put right.
  for (;;) {
    const shift = decimals - power;
    digits = (
      shift >= 0
        ? roundedQuotient(numerator * 10n ** BigInt(shift), denominator)
        : roundedQuotient(numerator, denominator * 10n ** BigInt(-shift))
    ).toString();
    if (digits.length === decimals + 1) break;
    power += digits.length > decimals + 1 ? 1 : -1;
  }
  const exponent = `${power < 0 ? "-" : "+"}${String(Math.abs(power)).padStart(2, "0")}`;
  return `${sign}${digits.slice(0, 1)}${decimals > 0 ? `.${digits.slice(1)}` : ""}e${exponent}`;
}

/** A finite double above or equal to 0 as the fraction that it is. */
function fractionOf(value: number): { readonly numerator: bigint; readonly denominator: bigint } {
  let mantissa = value;
  let exponent = 0;
  while (!Number.isInteger(mantissa)) {
    mantissa *= 2;
    exponent++;
  }
  return { numerator: BigInt(mantissa), denominator: 2n ** BigInt(exponent) };
}

function roundedQuotient(numerator: bigint, denominator: bigint): bigint {
  const quotient = numerator / denominator;
  const twice = (numerator % denominator) * 2n;
  return twice > denominator || (twice === denominator && quotient % 2n === 1n) ? quotient + 1n : quotient;
}
