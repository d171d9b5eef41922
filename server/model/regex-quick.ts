/**
 * Tests for the regular expressions that most selectors have, without an automaton: lists of texts, and texts with gaps
 * such as `api-.*`, `.+` or `.*-(?:no groups)`. All match the text as a whole, and `.` matches line feeds.
 */

import { regexLiterals } from "./regex-shape.ts";

/** A text that must follow, and how many characters at least may stand in any number before it. */
interface Segment {
  readonly literal: string;
  /** `undefined` where it follows at once. */
  readonly gapMin: number | undefined;
}

const SPECIAL = /[\\^$.*+?()[\]{}|]/;
const ESCAPED_LITERAL = /^[^\w\s]$/;

/** A test for whole texts; undefined where the expression needs an automaton. */
export function quickTest(pattern: string): ((text: string) => boolean) | undefined {
  const literals = regexLiterals(pattern);
  if (literals !== undefined) return (text) => literals.has(text);
  const segments = segmentsOf(pattern);
  return segments === undefined ? undefined : (text) => matchesSegments(text, segments);
}

/** Reads texts and the gaps `.*` and `.+` between them; undefined where there is anything else. */
function segmentsOf(pattern: string): readonly Segment[] | undefined {
  const segments: Segment[] = [];
  let literal = "";
  let gapMin: number | undefined;
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? "";
    const next = pattern[at + 1] ?? "";
    if (character === "." && (next === "*" || next === "+") && !"*+?{".includes(pattern[at + 2] ?? " ")) {
      if (literal !== "" || segments.length === 0) {
        segments.push({ literal, gapMin });
        gapMin = undefined;
      }
      gapMin = (gapMin ?? 0) + (next === "+" ? 1 : 0);
      literal = "";
      at++;
    } else if (character === "\\") {
      if (!ESCAPED_LITERAL.test(next)) return undefined;
      literal += next;
      at++;
    } else if (SPECIAL.test(character) || "*+?{".includes(next || " ")) return undefined;
    else literal += character;
  }
  segments.push({ literal, gapMin });
  return segments;
}

/** Takes each text at the first place that it may have: the gap after it can take whatever is left. */
function matchesSegments(text: string, segments: readonly Segment[]): boolean {
  let at = 0;
  for (const [index, { literal, gapMin }] of segments.entries()) {
    if (gapMin === undefined) {
      if (!text.startsWith(literal, at)) return false;
      at += literal.length;
      continue;
    }
    const from = skipCharacters(text, at, gapMin);
    if (from === undefined) return false;
    if (index === segments.length - 1) return text.length - literal.length >= from && text.endsWith(literal);
    const found = text.indexOf(literal, from);
    if (found === -1) return false;
    at = found + literal.length;
  }
  return at === text.length;
}

/** The place after so many characters, of which some are two units; undefined past the end. */
function skipCharacters(text: string, at: number, count: number): number | undefined {
  let place = at;
  for (let i = 0; i < count; i++) {
    const code = text.codePointAt(place);
    if (code === undefined) return undefined;
    place += code > 0xffff ? 2 : 1;
  }
  return place;
}
