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
/** RE2's limit of repetitions inside each other. */
const REPEATS_MAX = 1000;
/** Escaped characters that stand for themselves. */
const ESCAPED_LITERAL = /^[^\w\s]$/;
const META = /[\\^$.*+?()[\]{}]/;
/** A class of many characters is several steps. */
const CLASS_SIZE = 4;

/** What an expression will be once it is compiled. */
export interface RegexShape {
  /** Steps of its automaton, estimated from above for all but odd classes of characters. */
  readonly size: number;
  /** The first repetition that RE2 refuses, since with those inside it repeats more than a thousand times. */
  readonly invalidRepeat: string | undefined;
}

/** A part of an expression: its steps, and how often its repetitions repeat together. */
interface Part {
  size: number;
  times: number;
}

/** Looks at an expression; takes time in proportion to its length. */
export function regexShape(pattern: string): RegexShape {
  const open: Part[] = [];
  /** The sequence that is read, and its last part, which a repetition repeats. */
  let sequence: Part = { size: 1, times: 1 };
  let last: Part = { size: 0, times: 1 };
  let invalidRepeat: string | undefined;
  const add = (part: Part) => {
    sequence.size += part.size;
    sequence.times = Math.max(sequence.times, part.times);
    last = part;
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
        sequence = { size: 2, times: 1 };
      }
      last = { size: 0, times: 1 };
    } else if (character === ")") {
      const inner = sequence;
      sequence = open.pop() ?? { size: 0, times: 1 };
      add(inner);
    } else if (character === "{" && end - at > 1) {
      const times = timesOf(pattern.slice(at, end));
      if (times * last.times > REPEATS_MAX) invalidRepeat ??= pattern.slice(at, end);
      sequence.size += last.size * (times - 1) + 1;
      last = { size: last.size * times, times: last.times * times };
      sequence.times = Math.max(sequence.times, last.times);
    } else if ("*+?|".includes(character)) sequence.size += 1;
    else add({ size: isClass(pattern, at) ? CLASS_SIZE : end - at, times: 1 });
    at = end;
  }
  let { size } = sequence;
  for (const outer of open) size += outer.size;
  return { size, invalidRepeat };
}

/** The larger number of `{2,5}`; 1 where it repeats nothing. */
function timesOf(repeat: string): number {
  const [least = 0, most = 0] = repeat.slice(1, -1).split(",").map(Number);
  return Math.max(least, most, 1);
}

function isClass(pattern: string, at: number): boolean {
  return pattern[at] === "[" || (pattern[at] === "\\" && "pPdDwWsS".includes(pattern[at + 1] ?? " "));
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
