/**
 * What can be said of a regular expression in RE2 syntax before it is compiled: how large it will be, and whether it is
 * only a list of texts. A reader of what is valid, no judge of what is not.
 */

/**
 * Largest expression that is compiled, in steps of its automaton.
 *
 * Compiling takes some 10 µs a step, and the main thread has to compile what selects series.
 */
export const REGEX_SIZE_MAX = 5_000;

/**
 * Most that one match may cost: steps of the automaton times characters of the text.
 *
 * A step over a character takes at most 0.1 µs.
 */
export const REGEX_COST_MAX = 500_000;

const REPEAT = /\{(\d{1,4})(?:(,)(\d{0,4}))?\}/y;
/** A class, its `]` not first; names such as `[:alpha:]` inside hold one more `]`. */
const CLASS = /\[\^?\]?(?:\[:\^?\w*:\]|\\[\s\S]|[^\]\\])*\]/y;
const ESCAPE = /\\(?:[pP](?:\{[^}]*\}|[\s\S])|x(?:\{[^}]*\}|[\da-fA-F]{2})|[0-7]{1,3}|[\s\S])/y;
const QUOTED = /\\Q[\s\S]*?(?:\\E|$)/y;
const GROUP_START = /\((?:\?(?:P?<\w*>|[a-zA-Z-]*:|[a-zA-Z-]*\)))?/y;
/** Escaped characters that stand for themselves. */
const ESCAPED_LITERAL = /^[^\w\s]$/;
const META = /[\\^$.*+?()[\]{}]/;
/** A class of many characters is several steps. */
const CLASS_SIZE = 4;

/** Steps of the automaton of an expression, estimated from above for all but odd classes of characters. */
export function regexSize(pattern: string): number {
  const open: number[] = [];
  /** Sizes of the sequence that is read, and of its last part, which a repetition repeats. */
  let sequence = 1;
  let last = 0;
  const add = (size: number) => {
    sequence += size;
    last = size;
  };
  /** A class that is not closed says that no later one is, which is looked for once only. */
  let unclosed = false;
  for (let at = 0; at < pattern.length; ) {
    const character = pattern[at] ?? "";
    const end = character === "[" && unclosed ? at + 1 : endOfPart(pattern, at);
    if (character === "[" && end === at + 1) unclosed = true;
    if (character === "(") {
      if (!pattern.startsWith("(?", at) || !pattern.slice(at, end).endsWith(")")) {
        open.push(sequence);
        sequence = 2;
      }
      last = 0;
    } else if (character === ")") {
      const inner = sequence;
      sequence = open.pop() ?? 0;
      add(inner);
    } else if (character === "{" && end - at > 1) {
      REPEAT.lastIndex = at;
      const [, least = "0", , most = ""] = REPEAT.exec(pattern) ?? [];
      const times = Math.max(Number(least), Number(most), 1);
      sequence += last * (times - 1) + 1;
      last *= times;
    } else if (character === "*" || character === "+" || character === "?" || character === "|") sequence += 1;
    else add(character === "[" || /^\\[pPdDwWsS]/.test(pattern.slice(at, at + 2)) ? CLASS_SIZE : end - at);
    at = end;
  }
  for (const outer of open) sequence += outer;
  return sequence;
}

/** Where the part that begins at `at` ends: a class, an escape, a repetition, the start of a group, a character. */
function endOfPart(pattern: string, at: number): number {
  const readers = READERS[pattern[at] ?? ""] ?? [];
  for (const reader of readers) {
    reader.lastIndex = at;
    if (reader.test(pattern)) return reader.lastIndex;
  }
  return at + 1;
}

const READERS: Readonly<Record<string, readonly RegExp[]>> = {
  "[": [CLASS],
  "\\": [QUOTED, ESCAPE],
  "{": [REPEAT],
  "(": [GROUP_START],
};

/**
 * The texts that an expression matches as a whole, where it is nothing but a list of them: `a|b\.c|`.
 *
 * @returns Undefined where it is more, or may be.
 */
export function regexLiterals(pattern: string): ReadonlySet<string> | undefined {
  if (!META.test(pattern)) return new Set(pattern.split("|"));
  const literals = new Set<string>();
  let literal = "";
  for (let at = 0; at < pattern.length; at++) {
    const character = pattern[at] ?? "";
    if (character === "|") {
      literals.add(literal);
      literal = "";
    } else if (character === "\\") {
      at++;
      const escaped = pattern[at] ?? "";
      if (!ESCAPED_LITERAL.test(escaped)) return undefined;
      literal += escaped;
    } else if (META.test(character)) return undefined;
    else literal += character;
  }
  return literals.add(literal);
}
