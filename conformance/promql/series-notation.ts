/** A line of the promqltest language that describes a series: a metric and its values. */

import { parseDuration } from "../../grammar/promql-duration.ts";
import { decodeStringLiteral } from "../../grammar/promql-string.ts";
import type { CounterResetHint } from "../../server/model/histogram.ts";
import type { Labels } from "../../server/model/series.ts";
import { addHistograms, emptyHistogram, type TestHistogram } from "./test-histogram.ts";

/** What a sample of a test file is. */
export type TestValue = number | "stale" | TestHistogram;

/** One sample to load; `startMs` is 0 where none is given. */
export interface LoadedSample {
  readonly timestampMs: number;
  readonly startMs: number;
  readonly value: TestValue;
}

/** A series of a load, in order of time. */
export interface LoadedSeries {
  readonly labels: Labels;
  readonly samples: readonly LoadedSample[];
}

const NAME = /[\p{L}_:][\p{L}0-9_:.]*/uy;
const SPACE = /[ \t]*/y;
const DIGITS = String.raw`(?:\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(?:[eE][+-]?\d[\d_]*)?|[iI][nN][fF]|[nN][aA][nN]`;
const GAP = /_(?:x(\d+))?(?=[ \t]|$)/y;
const STALE = /stale(?=[ \t]|$)/y;
const FLOATS = new RegExp(`([+-]?(?:${DIGITS}))(?:([+-])(${DIGITS})x(\\d+)|x(\\d+))?(?=[ \\t]|$)`, "y");
const REPEAT = /x(\d+)(?=[ \t]|$)/y;
const PROPERTY = /([A-Za-z_]+):(\[[^\]\s][^\]]*\]|[^\s[\]]+)(?:\s+|$)/y;
const HINTS: readonly string[] = ["unknown", "reset", "not_reset", "gauge"] satisfies CounterResetHint[];

/** Text with a place in it; reads what is expected there or says what stands there. */
class Cursor {
  readonly text: string;
  at: number;

  constructor(text: string, at = 0) {
    this.text = text;
    this.at = at;
  }

  take(pattern: RegExp): RegExpExecArray | undefined {
    pattern.lastIndex = this.at;
    const match = pattern.exec(this.text);
    if (match === null) return undefined;
    this.at = pattern.lastIndex;
    return match;
  }

  takeText(text: string): boolean {
    if (!this.text.startsWith(text, this.at)) return false;
    this.at += text.length;
    return true;
  }

  fail(wanted: string): never {
    throw new Error(`${wanted} expected at column ${this.at + 1} of: ${this.text}`);
  }
}

/**
 * Reads the metric at the beginning of a line.
 *
 * @returns Its labels, and the place behind it, where `@st` or white space and values follow.
 * @throws Error with the column where the text is malformed.
 */
export function parseMetric(line: string): { readonly labels: Labels; readonly end: number } {
  const cursor = new Cursor(line);
  const labels = new Map<string, string>();
  const name = cursor.take(NAME)?.[0];
  if (name !== undefined) labels.set("__name__", name);
  if (cursor.takeText("{")) readBraces(cursor, labels);
  else if (name === undefined) cursor.fail("a metric");
  const sorted = [...labels].filter(([, value]) => value !== "").sort(([a], [b]) => (a < b ? -1 : 1));
  return { labels: sorted, end: cursor.at };
}

function readBraces(cursor: Cursor, labels: Map<string, string>): void {
  for (;;) {
    cursor.take(SPACE);
    if (cursor.takeText("}")) return;
    const quoted = readQuoted(cursor);
    const name = quoted ?? cursor.take(NAME)?.[0] ?? cursor.fail("a label");
    cursor.take(SPACE);
    if (cursor.takeText("=")) {
      cursor.take(SPACE);
      labels.set(name, readQuoted(cursor) ?? cursor.fail("a string"));
    } else if (quoted !== undefined) labels.set("__name__", quoted);
    else cursor.fail("'='");
    cursor.take(SPACE);
    if (!cursor.takeText(",") && cursor.text[cursor.at] !== "}") cursor.fail("',' or '}'");
  }
}

function readQuoted(cursor: Cursor): string | undefined {
  const literal = cursor.take(/"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'|`[^`]*`/y)?.[0];
  if (literal === undefined) return undefined;
  const decoded = decodeStringLiteral(literal);
  return decoded.kind === "ok" ? decoded.value : cursor.fail(`a string (${decoded.reason})`);
}

/**
 * Expands the values behind a metric; undefined is an omitted one.
 *
 * @throws Error with the column where the text is malformed.
 */
export function parseValues(text: string): (TestValue | undefined)[] {
  const cursor = new Cursor(text);
  const values: (TestValue | undefined)[] = [];
  for (cursor.take(SPACE); cursor.at < text.length; cursor.take(SPACE)) {
    const gap = cursor.take(GAP);
    if (gap !== undefined) {
      for (let i = 0; i < Number(gap[1] ?? 1); i++) values.push(undefined);
    } else if (cursor.take(STALE) !== undefined) values.push("stale");
    else if (text.startsWith("{{", cursor.at)) readHistograms(cursor, values);
    else readFloats(cursor, values);
  }
  return values;
}

function readFloats(cursor: Cursor, values: (TestValue | undefined)[]): void {
  const match = cursor.take(FLOATS) ?? cursor.fail("a value");
  const [, first = "", sign = "+", step, steps, repeats] = match;
  const difference = step === undefined ? 0 : parseNumber(step);
  let value = parseNumber(first);
  values.push(value);
  for (let i = 0; i < Number(steps ?? repeats ?? 0); i++) {
    if (step !== undefined) value = sign === "-" ? value - difference : value + difference;
    values.push(value);
  }
}

function readHistograms(cursor: Cursor, values: (TestValue | undefined)[]): void {
  let histogram = readHistogram(cursor);
  const sign = cursor.takeText("+{{") ? 1 : cursor.takeText("-{{") ? -1 : undefined;
  if (sign === undefined) {
    const repeat = cursor.take(REPEAT);
    if (repeat === undefined && !/[ \t]|^$/.test(cursor.text.slice(cursor.at, cursor.at + 1))) cursor.fail("a space");
    for (let i = 0; i <= Number(repeat?.[1] ?? 0); i++) values.push(histogram);
    return;
  }
  cursor.at -= 2;
  const step = readHistogram(cursor);
  const repeat = cursor.take(REPEAT) ?? cursor.fail("xN");
  histogram = { ...histogram, hintWritten: step.hintWritten };
  values.push(histogram);
  for (let i = 0; i < Number(repeat[1]); i++) {
    histogram = addHistograms(histogram, step, sign);
    values.push(histogram);
  }
}

function readHistogram(cursor: Cursor): TestHistogram {
  const from = cursor.at + 2;
  const to = cursor.text.indexOf("}}", from);
  if (to === -1) cursor.fail("'}}' after this");
  const properties = new Map<string, string>();
  const inner = new Cursor(cursor.text.slice(from, to).trimEnd());
  while (inner.at < inner.text.length) {
    const [, key = "", value = ""] = inner.take(PROPERTY) ?? inner.fail("a property of a histogram");
    if (properties.has(key.toLowerCase())) inner.fail(`only one ${key}`);
    properties.set(key.toLowerCase(), value);
  }
  cursor.at = to + 2;
  return histogramOf(properties);
}

function histogramOf(properties: ReadonlyMap<string, string>): TestHistogram {
  const histogram = emptyHistogram();
  const listOf = (key: string) => {
    const text = properties.get(key);
    if (text === undefined) return [];
    if (!text.startsWith("[")) throw new Error(`a list expected for ${key}, not ${text}`);
    return text.slice(1, -1).trim().split(/\s+/).map(parseNumber);
  };
  const bucketsOf = (prefix: string) => {
    const offset = parseNumber(properties.get(`${prefix}offset`) ?? "0");
    return new Map(listOf(`${prefix}buckets`).map((count, index) => [offset + index, count]));
  };
  for (const [key, text] of properties) {
    switch (key) {
      case "schema":
      case "sum":
      case "count":
        histogram[key] = parseNumber(text);
        break;
      case "z_bucket":
        histogram.zeroCount = parseNumber(text);
        break;
      case "z_bucket_w":
        histogram.zeroThreshold = parseNumber(text);
        break;
      case "buckets":
      case "n_buckets":
      case "offset":
      case "n_offset":
        break;
      case "custom_values":
        histogram.customValues = listOf(key);
        break;
      case "counter_reset_hint":
        if (!HINTS.includes(text)) throw new Error(`a counter reset hint expected, not ${text}`);
        // The list above holds every hint there is.
        histogram.hint = text as CounterResetHint;
        histogram.hintWritten = true;
        break;
      default:
        throw new Error(`a histogram has no property ${key}`);
    }
  }
  histogram.positive = bucketsOf("");
  histogram.negative = bucketsOf("n_");
  return histogram;
}

/** A number of the notation: decimal, with `_` between digits, or `Inf` or `NaN` in any case. */
export function parseNumber(text: string): number {
  const plain = text.replaceAll("_", "");
  const word = /^([+-]?)(inf|nan)$/i.exec(plain);
  if (word !== null) {
    if (word[2]?.toLowerCase() === "nan") return Number.NaN;
    return word[1] === "-" ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  }
  const value = plain === "" ? Number.NaN : Number(plain);
  if (Number.isNaN(value)) throw new Error(`a number expected, not '${text}'`);
  return value;
}

/** Items behind `@st`: milliseconds from the sample's time to its start, undefined where none is given. */
export function parseStarts(text: string): (number | undefined)[] {
  const starts: (number | undefined)[] = [];
  for (const word of text.split(/[ \t]+/).filter((part) => part !== "")) {
    const gap = /^_(?:x(\d+))?$/.exec(word);
    const item = /^([+-]?)(\d+[a-z]*)(?:([+-])(\d+[a-z]*))?(?:x(\d+))?$/.exec(word);
    if (gap !== null) {
      for (let i = 0; i < Number(gap[1] ?? 1); i++) starts.push(undefined);
    } else if (item !== null) {
      const [, sign, first = "", stepSign, step = "0", times = "0"] = item;
      const from = (sign === "-" ? -1 : 1) * milliseconds(first);
      const by = (stepSign === "-" ? -1 : 1) * milliseconds(step);
      for (let i = 0; i <= Number(times); i++) starts.push(from + i * by);
    } else throw new Error(`a start timestamp expected, not '${word}'`);
  }
  return starts;
}

/** A duration of the language in milliseconds. */
export function milliseconds(text: string): number {
  const outcome = parseDuration(text);
  if (outcome.kind === "refused") throw new Error(`a duration expected: ${outcome.reason}`);
  return outcome.milliseconds;
}
