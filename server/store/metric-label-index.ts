/** Which series carry which labels, and which series satisfy matchers. */

import { RE2JS } from "re2js";
import type { Labels, Matcher } from "../model/series.ts";
import type { MetricSeries } from "./metric-series.ts";

/** Characters that make a regular expression more than plain text; `|` apart. */
const REGEX_META = /[\\^$.*+?()[\]{}]/;

/** One name and value. */
interface Posting {
  /** Shared by all series that carry it. */
  readonly pair: readonly [name: string, value: string];
  series: MetricSeries[];
}

/** Series by label. Invariant: a posting holds every series with the label once, in order of appearance. */
export class LabelIndex {
  readonly #byName = new Map<string, Map<string, Posting>>();
  #all: MetricSeries[] = [];

  /** All series, in order of appearance. */
  get all(): readonly MetricSeries[] {
    return this.#all;
  }

  /** Names with their values and the number of series that carry each. */
  *postings(): Generator<[name: string, values: Iterable<readonly [value: string, series: number]>]> {
    for (const [name, values] of this.#byName) yield [name, countsOf(values)];
  }

  /** The same labels, made of pairs that are in memory once. */
  shared(labels: Labels): Labels {
    return labels.map((pair) => this.#byName.get(pair[0])?.get(pair[1])?.pair ?? pair);
  }

  /** Adds a series that is not in the index. */
  add(series: MetricSeries): void {
    this.#all.push(series);
    for (const pair of series.labels) {
      const [name, value] = pair;
      let values = this.#byName.get(name);
      if (values === undefined) {
        values = new Map();
        this.#byName.set(name, values);
      }
      const posting = values.get(value);
      if (posting === undefined) values.set(value, { pair, series: [series] });
      else posting.series.push(series);
    }
  }

  /** Removes series that are in the index. */
  remove(gone: readonly MetricSeries[]): void {
    if (gone.length === 0) return;
    const removed = new Set(gone);
    const left = (series: readonly MetricSeries[]) => series.filter((one) => !removed.has(one));
    this.#all = left(this.#all);
    const pairs = new Set(gone.flatMap(({ labels }) => labels));
    for (const [name, value] of pairs) {
      const values = this.#byName.get(name);
      const posting = values?.get(value);
      if (values === undefined || posting === undefined) continue;
      posting.series = left(posting.series);
      if (posting.series.length === 0) values.delete(value);
      if (values.size === 0) this.#byName.delete(name);
    }
  }

  /**
   * Series that satisfy all matchers. An absent label matches as the empty string.
   *
   * @throws RE2JSException where a regular expression is not valid RE2 syntax.
   */
  match(matchers: readonly Matcher[]): readonly MetricSeries[] {
    const tests = matchers.map((matcher) => ({ name: matcher.name, test: testOf(matcher), matcher }));
    let best: { postings: readonly (readonly MetricSeries[])[]; size: number; at: number } | undefined;
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

  /** Names of all labels. */
  names(): string[] {
    return [...this.#byName.keys()];
  }

  /** Values of a label. */
  values(name: string): string[] {
    return [...(this.#byName.get(name)?.keys() ?? [])];
  }

  #postings(name: string, matcher: Matcher, test: (value: string) => boolean): readonly (readonly MetricSeries[])[] {
    const values = this.#byName.get(name);
    if (values === undefined) return [];
    if (matcher.kind === "=") {
      const posting = values.get(matcher.value);
      return posting === undefined ? [] : [posting.series];
    }
    const postings: MetricSeries[][] = [];
    for (const [value, { series }] of values) if (test(value)) postings.push(series);
    return postings;
  }
}

function* countsOf(values: ReadonlyMap<string, Posting>): Generator<readonly [value: string, series: number]> {
  for (const [value, { series }] of values) yield [value, series.length];
}

function union(postings: readonly (readonly MetricSeries[])[]): readonly MetricSeries[] {
  const [only] = postings;
  return postings.length <= 1 ? (only ?? []) : postings.flat();
}

/** The value of a label; empty where there is none. */
export function labelValue(labels: Labels, name: string): string {
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
