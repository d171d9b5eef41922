/** Which series carry which labels, and which series satisfy matchers. */

import { RE2JS } from "re2js";
import type { Labels, Matcher } from "../model/series.ts";
import type { HeadSeries } from "./metric-head-series.ts";

/** Characters that make a regular expression more than plain text; `|` apart. */
const REGEX_META = /[\\^$.*+?()[\]{}]/;

/** Series by label. Invariant: a posting holds every series with the label once, in order of appearance. */
export class LabelIndex {
  #byName = new Map<string, Map<string, HeadSeries[]>>();
  #all: HeadSeries[] = [];

  /** Adds a series that is not in the index. */
  add(series: HeadSeries): void {
    this.#all.push(series);
    for (const [name, value] of series.labels) {
      let values = this.#byName.get(name);
      if (values === undefined) {
        values = new Map();
        this.#byName.set(name, values);
      }
      const posting = values.get(value);
      if (posting === undefined) values.set(value, [series]);
      else posting.push(series);
    }
  }

  /** Starts over with these series. */
  rebuild(all: Iterable<HeadSeries>): void {
    this.#byName = new Map();
    this.#all = [];
    for (const series of all) this.add(series);
  }

  /**
   * Series that satisfy all matchers. An absent label matches as the empty string.
   *
   * @throws RE2JSException where a regular expression is not valid RE2 syntax.
   */
  match(matchers: readonly Matcher[]): readonly HeadSeries[] {
    const tests = matchers.map((matcher) => ({ name: matcher.name, test: testOf(matcher), matcher }));
    let best: { postings: readonly (readonly HeadSeries[])[]; size: number; at: number } | undefined;
    for (const [at, { name, test, matcher }] of tests.entries()) {
      if (test("")) continue;
      const postings = this.#postings(name, matcher, test);
      const size = postings.reduce((sum, posting) => sum + posting.length, 0);
      if (best === undefined || size < best.size) best = { postings, size, at };
    }
    const candidates = best === undefined ? this.#all : union(best.postings);
    const rest = tests.filter((_, at) => at !== best?.at);
    if (rest.length === 0) return candidates;
    return candidates.filter((series) => rest.every(({ name, test }) => test(labelValue(series.labels, name))));
  }

  #postings(name: string, matcher: Matcher, test: (value: string) => boolean): readonly (readonly HeadSeries[])[] {
    const values = this.#byName.get(name);
    if (values === undefined) return [];
    if (matcher.kind === "=") {
      const posting = values.get(matcher.value);
      return posting === undefined ? [] : [posting];
    }
    const postings: HeadSeries[][] = [];
    for (const [value, posting] of values) if (test(value)) postings.push(posting);
    return postings;
  }
}

function union(postings: readonly (readonly HeadSeries[])[]): readonly HeadSeries[] {
  const [only] = postings;
  return postings.length <= 1 ? (only ?? []) : postings.flat();
}

function labelValue(labels: Labels, name: string): string {
  for (const [labelName, value] of labels) if (labelName === name) return value;
  return "";
}

function testOf(matcher: Matcher): (value: string) => boolean {
  switch (matcher.kind) {
    case "=":
      return (value) => value === matcher.value;
    case "!=":
      return (value) => value !== matcher.value;
    case "=~":
      return regexTest(matcher.value);
    case "!~": {
      const test = regexTest(matcher.value);
      return (value) => !test(value);
    }
  }
}

/** Tests the whole value, as Prometheus anchors its expressions; `.` matches a line feed too. */
function regexTest(pattern: string): (value: string) => boolean {
  if (!REGEX_META.test(pattern)) {
    const literals = new Set(pattern.split("|"));
    return (value) => literals.has(value);
  }
  const regex = RE2JS.compile(pattern, RE2JS.DOTALL);
  const known = new Map<string, boolean>();
  return (value) => {
    let matches = known.get(value);
    if (matches === undefined) {
      matches = regex.matches(value);
      known.set(value, matches);
    }
    return matches;
  };
}
