/**
 * Parameters of an address or a form, read as Go's `net/url` reads them.
 */

import { isAscii } from "node:buffer";
import { quoteText } from "../query/promql-texts.ts";

/** Named values in the order in which they came; a name may stand several times. */
export interface FormValues {
  /** The first value of a name; the empty text where there is none. */
  get(name: string): string;
  all(name: string): readonly string[];
  has(name: string): boolean;
  /** Go's words for the first pair that could not be read; such pairs are left out. */
  readonly fault: string | undefined;
  /** Why nothing of a request that holds these is answered. */
  readonly refusal: string | undefined;
}

/** Pairs of one text; Go's limit. */
const PAIRS_MAX = 10_000;
/**
 * Characters of one value as it came, and of one name: no more can be a text of PromQL, which has 65,536, and each takes
 * nine where its bytes are escaped. What is longer is refused before it is decoded.
 */
const VALUE_LENGTH_MAX = 9 * 65_536;
/** Names whose values are texts. The values of all others are times, counts and words; an address could not hold longer ones. */
const TEXTS: ReadonlySet<string> = new Set(["query", "match[]", "match_target", "search[]", "labels"]);
const WORD_LENGTH_MAX = 16_384;
const SHOWN_MAX = 40;
const AMPERSAND = 0x26;

/**
 * Reads `a=1&b=%20`. A pair with a semicolon or a broken escape is left out and told in `fault`; of too many pairs none is
 * read.
 */
export function parseFormValues(text: string): FormValues {
  const pairs: [string, string][] = [];
  let fault: string | undefined;
  if (hasMorePairs(text)) return formValues(pairs, "number of URL query parameters exceeded limit");
  for (const pair of text.split("&")) {
    if (pair === "") continue;
    const lengthMax = pair.length > WORD_LENGTH_MAX && isText(pair) ? VALUE_LENGTH_MAX : WORD_LENGTH_MAX;
    if (pair.length > lengthMax) return refusedValues(pair, lengthMax);
    const refused = refusePair(pair);
    if (refused !== undefined) {
      fault ??= refused;
      continue;
    }
    const equals = pair.indexOf("=");
    pairs.push(equals < 0 ? [decode(pair), ""] : [decode(pair.slice(0, equals)), decode(pair.slice(equals + 1))]);
  }
  return formValues(pairs, fault);
}

/** Whether a pair's name is that of a text. */
function isText(pair: string): boolean {
  const equals = pair.slice(0, SHOWN_MAX).indexOf("=");
  return equals > 0 && TEXTS.has(decode(pair.slice(0, equals)));
}

/** Values of the parts of a form, which are pairs as they came. */
export function partValues(pairs: readonly (readonly [string, string])[]): FormValues {
  for (const [name, value] of pairs) {
    const lengthMax = TEXTS.has(name) ? VALUE_LENGTH_MAX : WORD_LENGTH_MAX;
    if (name.length + value.length > lengthMax) return refusedValues(name, lengthMax);
  }
  return formValues(pairs);
}

/** Names a pair by its beginning. */
function refusedValues(pair: string, lengthMax: number): FormValues {
  const [name = ""] = pair.slice(0, SHOWN_MAX).split("=");
  const refusal = `parameter ${quoteText(name)} has more than ${lengthMax} characters as it came, the most that are read`;
  return { ...formValues([]), refusal };
}

/**
 * Watches a form come: true once `parseFormValues` reads none of it, or refuses it, whatever else comes. It may miss
 * that in the midst of a chunk.
 */
export function watchPairs(): (chunk: Buffer) => boolean {
  let ampersands = 0;
  // Of the pair that comes, no more than there are: one that is not ASCII may take three bytes.
  let characters = 0;
  return (chunk) => {
    let from = 0;
    for (let at = chunk.indexOf(AMPERSAND); at >= 0; at = chunk.indexOf(AMPERSAND, from)) {
      if (++ampersands >= PAIRS_MAX) return true;
      from = at + 1;
      characters = 0;
    }
    const rest = chunk.subarray(from);
    characters += isAscii(rest) ? rest.length : Math.floor(rest.length / 3);
    return ampersands >= PAIRS_MAX || characters > VALUE_LENGTH_MAX;
  };
}

/** Whether a form has more pairs than are read. */
export function hasMorePairs(text: string): boolean {
  let count = 1;
  for (let at = text.indexOf("&"); at >= 0; at = text.indexOf("&", at + 1)) if (++count > PAIRS_MAX) return true;
  return false;
}

/** The values of `first`, then those of `second`. */
export function joinFormValues(first: FormValues, second: FormValues): FormValues {
  return {
    get: (name) => first.all(name)[0] ?? second.get(name),
    all: (name) => [...first.all(name), ...second.all(name)],
    has: (name) => first.has(name) || second.has(name),
    fault: first.fault ?? second.fault,
    refusal: first.refusal ?? second.refusal,
  };
}

/** Values that are pairs already. */
export function formValues(pairs: Iterable<readonly [string, string]>, fault?: string): FormValues {
  const byName = new Map<string, string[]>();
  for (const [name, value] of pairs) {
    const values = byName.get(name);
    if (values === undefined) byName.set(name, [value]);
    else values.push(value);
  }
  return {
    get: (name) => byName.get(name)?.[0] ?? "",
    all: (name) => byName.get(name) ?? [],
    has: (name) => byName.has(name),
    fault,
    refusal: undefined,
  };
}

function refusePair(pair: string): string | undefined {
  if (pair.includes(";")) return "invalid semicolon separator in query";
  if (!pair.includes("%")) return undefined;
  const broken = /%(?![0-9a-fA-F]{2}).{0,2}/s.exec(pair);
  return broken === null ? undefined : `invalid URL escape ${quoteText(broken[0])}`;
}

/** Bytes that form no UTF-8 become U+FFFD, since text here is UTF-16. */
function decode(text: string): string {
  const spaced = text.includes("+") ? text.replaceAll("+", " ") : text;
  return spaced.includes("%") ? decodeEscapes(spaced) : spaced;
}

function decodeEscapes(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // Escaped bytes that are no UTF-8: decoded leniently, each broken one on its own.
    const bytes = Buffer.from(text, "utf8");
    const out = Buffer.allocUnsafe(bytes.length);
    let length = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at] ?? 0;
      if (byte !== 0x25) out[length++] = byte;
      else {
        out[length++] = 16 * hexDigit(bytes[at + 1] ?? 0) + hexDigit(bytes[at + 2] ?? 0);
        at += 2;
      }
    }
    return out.toString("utf8", 0, length);
  }
}

/** The value of a digit whose letter was checked. */
function hexDigit(code: number): number {
  return code <= 0x39 ? code - 0x30 : (code & 0x5f) - 0x37;
}
