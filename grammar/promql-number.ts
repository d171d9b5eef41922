/** Number and duration literals of PromQL: how far they reach, what they mean, and numbers printed without exponents. */

import { parseDuration } from "./promql-duration.ts";
import { quoteGo } from "./promql-error.ts";

/** How far a literal reaches from where it starts. */
export interface LiteralScan {
  readonly kind: "number" | "duration" | "bad";
  /** Offset after the literal; of a bad one after the last character that was looked at. */
  readonly end: number;
}

/** What a literal means; `reason` where it means nothing. */
export interface LiteralValue {
  /** Seconds where the literal is a duration. */
  readonly value: number;
  readonly reason: string | undefined;
}

const DECIMAL_DIGITS = "0123456789";
const HEX_DIGITS = "0123456789abcdefABCDEF";
const DECIMAL_FLOAT = /^(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?$/;
const INT64_MAX = 2n ** 63n - 1n;

/**
 * Finds the end of a number or duration literal.
 *
 * What is found need not be valid: `1e+` before a bracket is a number whose value is then refused.
 */
export function scanLiteral(text: string, start: number): LiteralScan {
  const cursor = new Cursor(text, start);
  if (scanNumber(cursor)) return { kind: "number", end: cursor.at };
  if (scanDuration(cursor)) return { kind: "duration", end: cursor.at };
  return { kind: "bad", end: cursor.at };
}

/** Value of a number literal, or of the words `Inf` and `NaN`. */
export function numberValue(literal: string): LiteralValue {
  const lower = literal.toLowerCase();
  if (lower === "inf") return { value: Number.POSITIVE_INFINITY, reason: undefined };
  if (lower === "nan") return { value: Number.NaN, reason: undefined };
  const plain = literal.replaceAll("_", "");
  const separated = plain === literal || underscoresSeparateDigits(lower);
  const whole = separated ? wholeNumber(plain) : undefined;
  if (whole !== undefined) return { value: whole, reason: undefined };
  const refuse = (why: string) => ({
    value: 0,
    reason: `error parsing number: strconv.ParseFloat: parsing ${quoteGo(literal)}: ${why}`,
  });
  if (!separated || !DECIMAL_FLOAT.test(plain)) return refuse("invalid syntax");
  const value = Number(plain);
  return Number.isFinite(value) ? { value, reason: undefined } : refuse("value out of range");
}

/** Seconds of a duration literal. */
export function durationValue(literal: string): LiteralValue {
  const outcome = parseDuration(literal);
  if (outcome.kind === "refused") return { value: 0, reason: outcome.reason };
  const { milliseconds } = outcome;
  // Whole seconds and the rest apart: the sum rounds as Prometheus' does.
  return { value: Math.trunc(milliseconds / 1000) + ((milliseconds % 1000) * 1e6) / 1e9, reason: undefined };
}

/** Shortest digits that mean the value, never with an exponent: `0.0000001`, `+Inf`, `-0`. */
export function printPlainNumber(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  if (Object.is(value, -0)) return "-0";
  const [mantissa = "", exponentText] = String(Math.abs(value)).split("e");
  const sign = value < 0 ? "-" : "";
  if (exponentText === undefined) return sign + mantissa;
  const exponent = Number(exponentText);
  const [whole = "", fraction = ""] = mantissa.split(".");
  if (exponent < 0) return `${sign}0.${"0".repeat(-exponent - 1)}${whole}${fraction}`;
  return `${sign}${whole}${fraction.padEnd(exponent, "0")}`; // from 1e21 on: at most 17 digits, then zeros
}

/** Shortest digits as Go's `%v` prints them: an exponent below 1e-4 and from 1e6 on. */
export function printShortNumber(value: number): string {
  const magnitude = Math.abs(value);
  if (!Number.isFinite(value) || magnitude === 0 || (magnitude >= 1e-4 && magnitude < 1e6)) {
    return printPlainNumber(value);
  }
  return value.toExponential().replace(/e([+-])(\d)$/, "e$10$2");
}

class Cursor {
  readonly #text: string;
  at: number;

  constructor(text: string, at: number) {
    this.#text = text;
    this.at = at;
  }

  get ended(): boolean {
    return this.at >= this.#text.length;
  }

  is(set: string): boolean {
    return !this.ended && set.includes(this.#text.charAt(this.at));
  }

  accept(set: string): boolean {
    if (!this.is(set)) return false;
    this.at++;
    return true;
  }

  acceptRun(set: string): void {
    while (this.accept(set));
  }

  atWord(): boolean {
    return isWordCode(this.#text.charCodeAt(this.at));
  }

  /** Length of the character here: two where it is a surrogate pair. */
  skipCharacter(): void {
    if (!this.ended) this.at += (this.#text.codePointAt(this.at) ?? 0) > 0xffff ? 2 : 1;
  }
}

function scanNumber(cursor: Cursor): boolean {
  const from = cursor.at;
  let digits = DECIMAL_DIGITS;
  if (cursor.accept("0") && cursor.accept("xX")) {
    cursor.accept("_");
    digits = HEX_DIGITS;
  }
  const hexadecimal = digits === HEX_DIGITS;
  cursor.accept(".");
  cursor.accept(digits);
  let dotSeen = false;
  let exponentSeen = false;
  while (cursor.is(`${digits}._eE`)) {
    if ((dotSeen && cursor.accept(".")) || (exponentSeen && cursor.accept("eE"))) return false;
    if (cursor.accept(".")) {
      dotSeen = true;
      if (cursor.accept("_.") || hexadecimal) return false;
    } else if (cursor.accept("eE")) {
      exponentSeen = true;
      cursor.accept("+-");
      if (cursor.accept("._eE") || cursor.ended) return false;
    } else if (cursor.accept("_")) {
      if (cursor.accept("._eE") || cursor.ended) return false;
    } else cursor.acceptRun(digits);
  }
  return cursor.at > from && !cursor.atWord();
}

/** Goes on where `scanNumber` gave up: a unit, then digits with further units. */
function scanDuration(cursor: Cursor): boolean {
  if (!cursor.accept("smhdwy")) return false;
  cursor.accept("s");
  while (cursor.accept(DECIMAL_DIGITS)) {
    cursor.acceptRun(DECIMAL_DIGITS);
    if (!cursor.accept("smhdw")) return false;
    cursor.accept("s");
  }
  if (!cursor.atWord()) return true;
  cursor.skipCharacter();
  return false;
}

/** Value of a text that is a whole number in some base and fits 64 bits. */
function wholeNumber(plain: string): number | undefined {
  const based = /^0[xX][0-9a-fA-F]+$/.test(plain) ? plain : /^0[0-7]+$/.test(plain) ? `0o${plain.slice(1)}` : undefined;
  if (based !== undefined) {
    const value = BigInt(based);
    return value <= INT64_MAX ? Number(value) : undefined;
  }
  const value = plain === "0" || /^[1-9]\d*$/.test(plain) ? Number(plain) : Number.NaN;
  return Number.isFinite(value) ? value : undefined;
}

/** Underscores stand between digits, or between a base prefix and a digit. */
function underscoresSeparateDigits(lower: string): boolean {
  const hexadecimal = lower.startsWith("0x");
  const body = hexadecimal ? `0${lower.slice(2)}` : lower;
  const digit = hexadecimal ? "[0-9a-f]" : "[0-9]";
  return !new RegExp(`(?<!${digit})_|_(?!${digit})`).test(body);
}

/** ASCII letters, digits and the underscore. */
function isWordCode(code: number): boolean {
  return (
    (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || (code >= 48 && code <= 57) || code === 95 // NaN at the end fits none
  );
}
