/**
 * Which series satisfy matchers.
 *
 * Values are looked at one by one, so the loop gets its turn in between; a regular expression is bounded in size and in
 * what it may cost on one value, which is what a turn cannot interrupt.
 */

import { RE2JS } from "re2js";
import { ThalwegError } from "../model/errors.ts";
import { quickTest } from "../model/regex-quick.ts";
import { REGEX_COST_MAX, REGEX_SIZE_MAX, regexLiterals, regexShape } from "../model/regex-shape.ts";
import type { Labels, Matcher } from "../model/series.ts";
import { type LabelIndex, labelValue } from "./metric-label-index.ts";
import type { MetricSeries } from "./metric-series.ts";
import type { Turns } from "./turns.ts";

/** The clock is looked at once for so many values. */
const LOOK_EVERY = 64;

interface Test {
  readonly name: string;
  readonly matches: (value: string) => boolean;
  /** The values that match, where they are listed. */
  readonly values: ReadonlySet<string> | undefined;
}

/**
 * Series that satisfy all matchers, a list that does not change. An absent label matches as the empty string.
 *
 * @throws RE2JSException where a regular expression is not valid RE2 syntax; ThalwegError where it is too large; the
 *   reason of the signal that `turns` looks at.
 */
export async function matchSeries(
  index: LabelIndex,
  matchers: readonly Matcher[],
  turns: Turns,
): Promise<readonly MetricSeries[]> {
  const tests = matchers.map(testOf);
  const first = firstTest(index, tests);
  const candidates = first === undefined ? index.all : await candidatesOf(index, first, turns);
  const rest = tests.filter((test) => test !== first);
  if (rest.length === 0) return first === undefined ? [...candidates] : candidates;
  const found: MetricSeries[] = [];
  let looked = 0;
  for (const series of candidates) {
    if (rest.every(({ name, matches }) => matches(labelValue(series.labels, name)))) found.push(series);
    if (++looked % LOOK_EVERY === 0 && turns.isDue) await turns.pass();
  }
  return found;
}

/** Whether labels satisfy all matchers. @throws As `matchSeries`. */
export function labelsTest(matchers: readonly Matcher[]): (labels: Labels) => boolean {
  const tests = matchers.map(testOf);
  return (labels) => tests.every(({ name, matches }) => matches(labelValue(labels, name)));
}

/** The test that leaves the fewest series, as far as that is known without looking at values; undefined for none. */
function firstTest(index: LabelIndex, tests: readonly Test[]): Test | undefined {
  let best: Test | undefined;
  let fewest = Number.POSITIVE_INFINITY;
  for (const test of tests) {
    if (test.values === undefined || test.values.has("")) continue;
    let series = 0;
    for (const value of test.values) series += index.withValue(test.name, value).length;
    if (series < fewest) [best, fewest] = [test, series];
  }
  if (best !== undefined) return best;
  for (const test of tests) {
    if (test.values !== undefined || test.matches("")) continue;
    const values = index.valueCount(test.name);
    if (values < fewest) [best, fewest] = [test, values];
  }
  return best;
}

async function candidatesOf(index: LabelIndex, { name, values, matches }: Test, turns: Turns): Promise<MetricSeries[]> {
  const found: MetricSeries[] = [];
  const add = (series: readonly MetricSeries[]) => {
    for (const one of series) found.push(one);
  };
  if (values !== undefined) {
    for (const value of values) add(index.withValue(name, value));
    return found;
  }
  let looked = 0;
  for (const [value, series] of index.seriesByValue(name)) {
    if (matches(value)) add(series);
    if (++looked % LOOK_EVERY === 0 && turns.isDue) await turns.pass();
  }
  return found;
}

function testOf({ name, kind, value }: Matcher): Test {
  switch (kind) {
    case "=":
      return { name, matches: (text) => text === value, values: new Set([value]) };
    case "!=":
      return { name, matches: (text) => text !== value, values: undefined };
    case "=~":
      return { name, matches: regexTest(value), values: regexLiterals(value) };
    case "!~": {
      const matches = regexTest(value);
      return { name, matches: (text) => !matches(text), values: undefined };
    }
  }
}

/** Tests the whole value, as Prometheus anchors its expressions; `.` matches a line feed too. */
function regexTest(pattern: string): (value: string) => boolean {
  const quick = quickTest(pattern);
  if (quick !== undefined) return quick;
  const { size } = regexShape(pattern);
  if (size > REGEX_SIZE_MAX) throw new ThalwegError("query_regex_size", { size, max: REGEX_SIZE_MAX });
  const regex = RE2JS.compile(pattern, RE2JS.DOTALL);
  const lengthMax = Math.floor(REGEX_COST_MAX / Math.max(1, regex.programSize()));
  const known = new Map<string, boolean>();
  return (value) => {
    let matches = known.get(value);
    if (matches === undefined) {
      if (value.length > lengthMax)
        throw new ThalwegError("query_regex_cost", { length: value.length, max: lengthMax });
      matches = regex.matches(value);
      known.set(value, matches);
    }
    return matches;
  };
}
