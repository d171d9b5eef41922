/**
 * How well texts fit what somebody types, scored as Prometheus' search API scores them: 0 for not at all, 1 for best.
 *
 * @see Prometheus, web/api/v1/search_filters.go and util/strutil
 */

/** A score above 0, or undefined where the text does not fit. */
export type TextScore = (text: string) => number | undefined;

/** What to search for. */
export interface TextSearch {
  /** A text fits where it fits one of these; empty ones are passed over. */
  readonly terms: readonly string[];
  readonly algorithm: "subsequence" | "jarowinkler";
  /** From 0 to 1. */
  readonly threshold: number;
  readonly caseSensitive: boolean;
}

/** Only whether they contain a term is asked of longer texts: the rest takes time in the square of the length. */
const FUZZY_LENGTH_MAX = 2048;
/** No text but the term itself, or one that begins with it, scores 1. */
const NOT_EXACT = 0.999;
const WINKLER_SCALE = 0.1;
const WINKLER_PREFIX_MAX = 4;

/** Makes the score of a search; every text scores 1 where it has no terms. */
export function textScore({ terms, algorithm, threshold, caseSensitive }: TextSearch): TextScore {
  const fold = (text: string) => (caseSensitive ? text : text.toLowerCase());
  const scores = terms
    .filter((term) => term !== "")
    .map(fold)
    .map((term) => (algorithm === "subsequence" ? subsequenceTerm(term, threshold) : winklerTerm(term, threshold)));
  if (scores.length === 0) return () => 1;
  return (text) => {
    const folded = fold(text);
    let best: number | undefined;
    for (const score of scores) {
      const one = score(folded);
      if (one !== undefined && (best === undefined || one > best)) best = one;
      if (best === 1) break;
    }
    return best;
  };
}

function subsequenceTerm(term: string, threshold: number): TextScore {
  const wanted = Array.from(term);
  return (text) => {
    if (text.startsWith(term)) return 1;
    if (text.length > FUZZY_LENGTH_MAX) return substringScore(term, text);
    const score = subsequenceScore(wanted, Array.from(text));
    return score > 0 && score >= threshold ? score : undefined;
  };
}

/** Texts that contain the term first; the others by their likeness, where one is asked for. */
function winklerTerm(term: string, threshold: number): TextScore {
  const wanted = Array.from(term);
  return (text) => {
    const contained = substringScore(term, text);
    if (contained !== undefined || threshold === 0 || text.length > FUZZY_LENGTH_MAX) return contained;
    const score = jaroWinkler(wanted, Array.from(text));
    return score >= threshold ? score : undefined;
  };
}

/** 1 for a beginning, down to 0.1 for an end. */
function substringScore(term: string, text: string): number | undefined {
  const at = text.indexOf(term);
  if (at <= 0) return at === 0 ? 1 : undefined;
  const place = countOf(text.slice(0, at));
  const placeMax = countOf(text) - countOf(term);
  return placeMax <= 0 ? 1 : 1 - (0.9 * place) / placeMax;
}

function countOf(text: string): number {
  let count = 0;
  for (const _ of text) count++;
  return count;
}

/** The best of all places at which the sequence may begin; 0 where its characters do not occur in this order. */
export function subsequenceScore(wanted: readonly string[], text: readonly string[]): number {
  let best = -1;
  for (let start = 0; start <= text.length - wanted.length; start++) {
    if (text[start] !== wanted[0]) continue;
    const score = scoreFrom(start, wanted, text);
    if (score === undefined) break; // what follows has even less of it
    if (score > best) best = score;
  }
  return best < 0 ? 0 : (best / wanted.length ** 2) * NOT_EXACT;
}

/** Runs count by the square of their length; what is left out before and between costs a little, what is behind half of it. */
function scoreFrom(start: number, wanted: readonly string[], text: readonly string[]): number | undefined {
  const each = 1 / text.length;
  let score = 0;
  let next = 0;
  let lastEnd = -1;
  for (let at = start; at < text.length && next < wanted.length; ) {
    if (text[at] !== wanted[next]) {
      at++;
      continue;
    }
    const from = at;
    while (at < text.length && next < wanted.length && text[at] === wanted[next]) {
      at++;
      next++;
    }
    score += (at - from) ** 2 - (from - lastEnd - 1) * each;
    lastEnd = at - 1;
  }
  if (next < wanted.length) return undefined;
  return score - (text.length - 1 - lastEnd) * each * 0.5;
}

/** Likeness of two texts, by Jaro with Winkler's weight on what they begin with. */
export function jaroWinkler(one: readonly string[], other: readonly string[]): number {
  const [short, long] = one.length <= other.length ? [one, other] : [other, one];
  if (short.length === 0) return long.length === 0 ? 1 : 0;
  if (short.length === long.length && short.every((character, i) => character === long[i])) return 1;
  const reach = Math.max(Math.floor(long.length / 2) - 1, 0);
  const inShort: number[] = [];
  const inLong = new Uint8Array(long.length);
  for (const [i, character] of short.entries()) {
    const end = Math.min(i + reach + 1, long.length);
    for (let j = Math.max(i - reach, 0); j < end; j++) {
      if (inLong[j] === 1 || long[j] !== character) continue;
      inLong[j] = 1;
      inShort.push(i);
      break;
    }
  }
  const matches = inShort.length;
  if (matches === 0) return 0;
  let moved = 0;
  let k = 0;
  for (const i of inShort) {
    while (inLong[k] === 0) k++;
    if (short[i] !== long[k]) moved++;
    k++;
  }
  const jaro = (matches / short.length + matches / long.length + (matches - moved / 2) / matches) / 3;
  let prefix = 0;
  while (prefix < WINKLER_PREFIX_MAX && prefix < short.length && short[prefix] === long[prefix]) prefix++;
  return jaro + prefix * WINKLER_SCALE * (1 - jaro);
}
