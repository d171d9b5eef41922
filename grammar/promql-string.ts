/** String literals of PromQL: Go's escapes inside `'…'` and `"…"`, none inside back quotes. */

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
 * Decodes a literal with its quotes.
 *
 * `\x` and octal escapes are bytes; bytes that form no UTF-8 become U+FFFD, since text here is UTF-16.
 */
export function decodeStringLiteral(literal: string): StringOutcome {
  const quote = literal[0];
  const inner = literal.slice(1, -1);
  if (quote === "`" || !inner.includes("\\")) return { kind: "ok", value: inner };
  let value = "";
  let bytes: number[] = [];
  const flush = () => {
    if (bytes.length > 0) value += new TextDecoder().decode(Uint8Array.from(bytes));
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
  if (length === 0) return `unknown escape sequence ${describeCodePoint(text, at)}`;
  const from = octal ? at : at + 1;
  for (let i = from; i < from + length; i++) {
    const digit = text[i] ?? "";
    if (digit === "" || !(octal ? /^[0-7]$/ : /^[0-9a-fA-F]$/).test(digit)) {
      if (digit === "") return "escape sequence not terminated";
      return `illegal character ${describeCodePoint(text, i)} in escape sequence`;
    }
  }
  const code = Number.parseInt(text.slice(from, from + length), octal ? 8 : 16);
  const isByte = octal || letter === "x";
  if (isByte ? code > 255 : code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) {
    return "escape sequence is an invalid Unicode code point";
  }
  return { code, end: from + length, isByte };
}

/** `U+0063 'c'`, as Go's `%#U`. */
function describeCodePoint(text: string, at: number): string {
  const code = text.codePointAt(at) ?? 0;
  return `U+${code.toString(16).toUpperCase().padStart(4, "0")} '${String.fromCodePoint(code)}'`;
}
