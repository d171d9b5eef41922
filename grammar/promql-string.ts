/**
 * String literals of PromQL: Go's escapes inside `'…'` and `"…"`, none inside back quotes.
 *
 * A byte that belongs to no UTF-8 sequence, which only an escape can write, is held as the lone surrogate
 * U+DC00 + byte: it equals no text that is stored, and prints as `\x..` again.
 */

import { describeCodePoint } from "./promql-error.ts";

/** The value of a literal, or the reason why it has none. */
export type StringOutcome =
  | { readonly kind: "ok"; readonly value: string }
  | { readonly kind: "refused"; readonly reason: string };

const SIMPLE_ESCAPES: Readonly<Record<string, number>> = {
  a: 7,
  b: 8,
  f: 12,
  n: 10,
  r: 13,
  t: 9,
  v: 11,
  "\\": 92,
  "'": 39,
  '"': 34,
};

/**
 * Decodes a literal with its quotes; `\x` and octal escapes are bytes.
 */
export function decodeStringLiteral(literal: string): StringOutcome {
  const quote = literal[0];
  const inner = literal.slice(1, -1);
  if (quote === "`" || !inner.includes("\\")) return { kind: "ok", value: inner };
  let value = "";
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length > 0) value += decodeBytes(bytes);
    bytes = [];
  };
  for (let at = 0; at < inner.length; ) {
    const character = inner[at] ?? "";
    if (character !== "\\") {
      flush();
      value += character;
      at++;
      continue;
    }
    const letter = inner[at + 1] ?? "";
    const simple = SIMPLE_ESCAPES[letter];
    if (simple !== undefined) {
      bytes.push(simple);
      at += 2;
      continue;
    }
    const digits = escapeDigits(inner, at + 1, letter);
    if (typeof digits === "string") return { kind: "refused", reason: digits };
    at = digits.end;
    if (digits.isByte) bytes.push(digits.code);
    else {
      flush();
      value += String.fromCodePoint(digits.code);
    }
  }
  flush();
  return { kind: "ok", value };
}

/** Reads `\x..`, `\u....`, `\U........` or three octal digits; a string is the reason for refusal. */
export function escapeDigits(
  text: string,
  at: number,
  letter: string,
): { readonly code: number; readonly end: number; readonly isByte: boolean } | string {
  const octal = letter >= "0" && letter <= "7";
  const length = octal ? 3 : letter === "x" ? 2 : letter === "u" ? 4 : letter === "U" ? 8 : 0;
  if (letter === "") return "escape sequence not terminated";
  if (length === 0) return `unknown escape sequence ${describeCodePoint(characterAt(text, at))}`;
  const from = octal ? at : at + 1;
  for (let i = from; i < from + length; i++) {
    const digit = text[i] ?? "";
    if (digit === "" || !(octal ? /^[0-7]$/ : /^[0-9a-fA-F]$/).test(digit)) {
      if (digit === "") return "escape sequence not terminated";
      return `illegal character ${describeCodePoint(characterAt(text, i))} in escape sequence`;
    }
  }
  const code = Number.parseInt(text.slice(from, from + length), octal ? 8 : 16);
  const isByte = octal || letter === "x";
  if (isByte ? code > 255 : code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
    return "escape sequence is an invalid Unicode code point";
  }
  return { code, end: from + length, isByte };
}

function characterAt(text: string, at: number): string {
  return String.fromCodePoint(text.codePointAt(at) ?? 0);
}

/** UTF-8 where the bytes form it; each other byte alone. */
function decodeBytes(bytes: readonly number[]): string {
  const array = Uint8Array.from(bytes);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(array);
  } catch {
    return decodeDamaged(array);
  }
}

function decodeDamaged(bytes: Uint8Array): string {
  const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });
  let out = "";
  for (let at = 0; at < bytes.length; ) {
    const first = bytes[at] ?? 0;
    const length = first < 0x80 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
    try {
      out += decoder.decode(bytes.subarray(at, at + length));
      at += length;
    } catch {
      out += String.fromCharCode(0xdc00 + first); // never below 0x80: those decode
      at++;
    }
  }
  return out;
}
