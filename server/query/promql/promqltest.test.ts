/** Runs Prometheus' own engine tests where they lie beside the clone; the language is described in FORMAT.md there. */

import assert from "node:assert/strict";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { test } from "node:test";
import { parseDuration } from "../../../grammar/promql-duration.ts";
import { parsePromql } from "../../../grammar/promql-parse.ts";
import type { Labels, Matcher, SeriesSamples } from "../../model/series.ts";
import { requireOrSkip } from "../../platform/test-ability.ts";
import {
  evaluateQuery,
  PROMQL_DEFAULTS,
  type PromqlOutcome,
  type PromqlQuery,
  planQuery,
  type SampleSeries,
} from "./query.ts";
import { compileRegex, regexMatchesEmpty } from "./regex.ts";
import { compareLabels, labelsKey, labelValue } from "./series-labels.ts";
import type { StepSeries } from "./step-vector.ts";

const FOLDER = new URL("../../../../shared/conformance/promql/", import.meta.url);

/** Evals that pass, by file; the rest need what this engine does not evaluate, such as native histograms. */
const PASSED_MIN: Readonly<Record<string, number>> = {
  aggregators: 86,
  at_modifier: 52,
  collision: 1,
  duration_expression: 37,
  extended_vectors: 20,
  "fill-modifier": 1,
  functions: 247,
  histograms: 60,
  limit: 11,
  literals: 18,
  name_label_dropping: 17,
  native_histograms: 2,
  operators: 87,
  range_queries: 10,
  selectors: 20,
  staleness: 11,
  subquery: 21,
  trig_functions: 10,
  type_and_unit: 38,
};

const settings = { ...PROMQL_DEFAULTS, experimentalFunctions: true, delayedNameRemoval: true };
const clock = { monotonicMs: () => performance.now() };

const STALE = new Float64Array(new BigUint64Array([0x7ff0_0000_0000_0002n]).buffer);

interface Line {
  readonly labels: Labels;
  /** undefined: omitted; `histogram`: not held by this engine. */
  readonly items: readonly (number | "stale" | "histogram" | undefined)[];
}

interface StoredSeries {
  readonly labels: Labels;
  readonly times: number[];
  /** -1 at `stale`. */
  readonly values: number[];
  readonly stale: Set<number>;
}

function milliseconds(text: string): number {
  const outcome = parseDuration(text);
  assert.equal(outcome.kind, "ok", text);
  return outcome.kind === "ok" ? outcome.milliseconds : 0;
}

/** The label set of a series line and where its values begin. */
function splitLine(line: string): { labels: Labels; values: string } {
  let at = 0;
  let quote = "";
  let depth = 0;
  for (; at < line.length; at++) {
    const character = line[at] ?? "";
    if (quote !== "") {
      if (character === "\\" && quote !== "`") at++;
      else if (character === quote) quote = "";
    } else if ("\"'`".includes(character)) quote = character;
    else if (character === "{") depth++;
    else if (character === "}") depth--;
    else if (depth === 0 && /\s/.test(character)) break;
  }
  const metric = line.slice(0, at);
  const text = /^\{\s*\}$/.test(metric) ? undefined : metric;
  const labels = new Map<string, string>();
  if (text !== undefined) {
    const tree = parsePromql(/\{\s*\}$/.test(text) ? text.replace(/\{\s*\}$/, "") : text, {
      regexMatchesEmpty,
      experimental: true,
    });
    if (tree.kind !== "selector") throw new Error(`no series: ${line}`);
    for (const { name, value } of tree.matchers) if (value !== "") labels.set(name, value);
  }
  const sorted = [...labels].sort(([a], [b]) => (a < b ? -1 : 1));
  return { labels: sorted, values: line.slice(at).trim() };
}

function number(text: string): number {
  const plain = text.replaceAll("_", "").replace(/^\+/, "");
  if (/^-?inf$/i.test(plain)) return plain.startsWith("-") ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
  return /^-?nan$/i.test(plain) ? Number.NaN : Number(plain);
}

function parseItems(text: string): Line["items"] {
  const items: (number | "stale" | "histogram" | undefined)[] = [];
  for (const word of text.match(/\{\{.*?\}\}(?:[+-]\{\{.*?\}\})?(?:x\d+)?|\S+/g) ?? []) {
    if (word.startsWith("{{")) {
      const times = Number(/\}x(\d+)$/.exec(word)?.[1] ?? 0) + 1;
      for (let i = 0; i < times; i++) items.push("histogram");
      continue;
    }
    if (word === "stale") {
      items.push("stale");
      continue;
    }
    const gap = /^_(?:x(\d+))?$/.exec(word);
    if (gap !== null) {
      for (let i = 0; i < Number(gap[1] ?? 1); i++) items.push(undefined);
      continue;
    }
    const parts =
      /^([+-]?(?:\d[\d_]*\.?\d*(?:e[+-]?\d+)?|\.\d+(?:e[+-]?\d+)?|inf|nan))(?:([+-](?:[\d_.]+(?:e[+-]?\d+)?|inf|nan)))?(?:x(\d+))?$/i.exec(
        word,
      );
    assert.ok(parts, `value ${word}`);
    let value = number(parts[1] ?? "");
    const step = parts[2] === undefined ? 0 : number(parts[2]);
    for (let i = 0; i <= Number(parts[3] ?? 0); i++) {
      items.push(value);
      value += step;
    }
  }
  return items;
}

/** Samples in memory, as the store's door gives them. */
class MemoryStore {
  #series = new Map<string, StoredSeries>();
  hasHistograms = false;

  clear(): void {
    this.#series = new Map();
    this.hasHistograms = false;
  }

  load(stepMs: number, lines: readonly string[]): void {
    const loaded = new Map<string, Line>();
    for (const line of lines) {
      if (/^\S+@st\s/.test(line)) continue;
      const { labels, values } = splitLine(line);
      loaded.set(labelsKey(labels), { labels, items: parseItems(values) });
    }
    for (const [key, { labels, items }] of loaded) {
      const series = this.#series.get(key) ?? { labels, times: [], values: [], stale: new Set<number>() };
      this.#series.set(key, series);
      for (const [index, item] of items.entries()) {
        if (item === "histogram") this.hasHistograms = true;
        if (item === undefined || item === "histogram") continue;
        if (item === "stale") series.stale.add(series.values.length);
        series.times.push(index * stepMs);
        series.values.push(item === "stale" ? -1 : item);
      }
    }
  }

  select(matchers: readonly Matcher[], minMs: number, maxMs: number): SeriesSamples[] {
    const out: SeriesSamples[] = [];
    for (const { labels, times, values, stale } of this.#series.values()) {
      if (!matchers.every((matcher) => matches(labels, matcher))) continue;
      const inside = times.flatMap((time, index) => (time >= minMs && time <= maxMs ? [index] : []));
      if (inside.length === 0) continue;
      const column = new Float64Array(inside.map((index) => values[index] ?? 0));
      for (const [at, index] of inside.entries()) if (stale.has(index)) column.set(STALE, at);
      out.push({ labels, timestampsMs: new Float64Array(inside.map((index) => times[index] ?? 0)), values: column });
    }
    return out;
  }
}

function matches(labels: Labels, { name, kind, value }: Matcher): boolean {
  const actual = labelValue(labels, name);
  switch (kind) {
    case "=":
      return actual === value;
    case "!=":
      return actual !== value;
    case "=~":
      return compileRegex(value).testExact(actual);
    case "!~":
      return !compileRegex(value).testExact(actual);
  }
}

function run(store: MemoryStore, query: PromqlQuery): PromqlOutcome {
  const plan = planQuery(query);
  const selected = plan.selections.map(({ matchers, minMs, maxMs }) => store.select(matchers, minMs, maxMs));
  return evaluateQuery(query, plan, selected, clock);
}

function near(a: number, b: number): boolean {
  if (Number.isNaN(a) || Number.isNaN(b)) return Number.isNaN(a) && Number.isNaN(b);
  if (a === b) return true;
  const sum = Math.abs(a) + Math.abs(b);
  const least = 2.2250738585072014e-308;
  if (a === 0 || b === 0 || sum < least) return Math.abs(a - b) < 1e-6 * least;
  return Math.abs(a - b) / Math.min(sum, Number.MAX_VALUE) < 1e-6;
}

interface Eval {
  readonly header: string;
  readonly line: number;
  readonly expects: readonly string[];
  readonly series: readonly string[];
  readonly scalar: string | undefined;
}

interface Tally {
  passed: number;
  failed: string[];
  unsupported: number;
}

function checkEval(store: MemoryStore, one: Eval): void {
  const instant = /^eval(?:_(\w+))?\s+instant\s+at\s+(\S+)\s+(.+)$/.exec(one.header);
  const range = /^eval(?:_(\w+))?\s+range\s+from\s+(\S+)\s+to\s+(\S+)\s+step\s+(\S+)\s+(.+)$/.exec(one.header);
  const [, old, from = "", to = "", step = ""] = range ?? [undefined, instant?.[1], instant?.[2], instant?.[2], "0"];
  const text = range?.[5] ?? instant?.[3] ?? "";
  const query: PromqlQuery = {
    text,
    startMs: milliseconds(from),
    endMs: milliseconds(to),
    stepMs: step === "0" ? 0 : milliseconds(step),
    timeoutMs: 100_000,
    settings,
  };
  const fail = one.expects.find((line) => line.startsWith("expect fail"));
  if (fail !== undefined || old === "fail") {
    const wanted = /^expect fail\s+msg:\s*(.*)$/.exec(fail ?? "")?.[1];
    const pattern = /^expect fail\s+regex:\s*(.*)$/.exec(fail ?? "")?.[1];
    let message: string | undefined;
    try {
      run(store, query);
    } catch (cause) {
      message = (cause as Error).message;
    }
    assert.notEqual(message, undefined, "should fail");
    if (wanted !== undefined) assert.equal(message, wanted);
    if (pattern !== undefined) assert.match(message ?? "", new RegExp(pattern));
    return;
  }
  const outcome = run(store, query);
  checkAnnotations(one, old, outcome);
  if (query.stepMs === 0) checkInstant(one, old, outcome);
  else checkRange(one, query, outcome);
  if (
    query.stepMs === 0 &&
    !one.expects.some((line) => /string|range vector/.test(line)) &&
    !/\b(?:start|end|range|step)\(\)/i.test(text)
  ) {
    checkMiddleStep(store, one, query);
  }
}

function checkAnnotations(one: Eval, old: string | undefined, outcome: PromqlOutcome): void {
  for (const [kind, said] of [
    ["warn", outcome.warnings],
    ["info", outcome.infos],
  ] as const) {
    const lines = one.expects.filter((line) => new RegExp(`^expect ${kind}\\b`).test(line));
    if (one.expects.includes(`expect no_${kind}`)) assert.deepEqual(said, [], `no ${kind}`);
    if (old === kind) assert.ok(said.length > 0, `wants ${kind}`);
    if (lines.length === 0) continue;
    assert.ok(said.length > 0, `wants ${kind}`);
    const meets = lines.map((line) => {
      const message = /msg:\s*(.*)$/.exec(line)?.[1];
      const pattern = /regex:\s*(.*)$/.exec(line)?.[1];
      if (message !== undefined) return (text: string) => text === message;
      return pattern === undefined ? () => true : (text: string) => new RegExp(pattern).test(text);
    });
    for (const [index, meet] of meets.entries()) assert.ok(said.some(meet), `${lines[index]} in ${said.join("; ")}`);
    for (const text of said)
      assert.ok(
        meets.some((meet) => meet(text)),
        `unexpected ${text}`,
      );
  }
}

function checkInstant(one: Eval, old: string | undefined, { result }: PromqlOutcome): void {
  const text = one.expects.find((line) => line.startsWith("expect string"));
  if (text !== undefined) {
    const tree = parsePromql(text.slice("expect string".length), { regexMatchesEmpty, experimental: true });
    assert.equal(result.kind === "string" && tree.kind === "string" && result.value === tree.value, true);
    return;
  }
  const raw = one.expects.find((line) => line.startsWith("expect range vector"));
  if (raw !== undefined) {
    const [, from = "", , step = ""] = /from (\S+) to (\S+) step (\S+)/.exec(raw) ?? [];
    assert.equal(result.kind, "samples");
    if (result.kind !== "samples") return;
    const wanted = one.series.map(splitLine);
    assert.equal(result.series.length, wanted.length);
    for (const { labels, values } of wanted) {
      const found: SampleSeries | undefined = result.series.find(
        (series) => labelsKey(series.labels) === labelsKey(labels),
      );
      assert.ok(found, `lacks ${JSON.stringify(labels)}`);
      const points = parseItems(values).flatMap((item, k) =>
        item === undefined ? [] : [[milliseconds(from) + k * milliseconds(step), item]],
      );
      assert.deepEqual(
        Array.from(found.values, (value, i) => [found.timestampsMs[i], value]),
        points,
      );
    }
    return;
  }
  if (one.scalar !== undefined) {
    assert.equal(result.kind, "scalar");
    if (result.kind === "scalar")
      assert.ok(near(result.value, number(one.scalar)), `${result.value} is not ${one.scalar}`);
    return;
  }
  assert.equal(result.kind, "vector");
  if (result.kind !== "vector") return;
  const wanted = one.series.map(splitLine);
  const got = result.series.map((series) => ({
    key: labelsKey(series.labels),
    value: series.values[0] ?? 0,
    labels: series.labels,
  }));
  assert.equal(got.length, wanted.length, `got ${JSON.stringify(got.map(({ labels, value }) => [labels, value]))}`);
  for (const [index, { labels, values }] of wanted.entries()) {
    const at = got.findIndex(({ key }) => key === labelsKey(labels));
    assert.ok(at !== -1, `lacks ${JSON.stringify(labels)} in ${JSON.stringify(got)}`);
    if (one.expects.includes("expect ordered") || old === "ordered") assert.equal(at, index, "order");
    const [item] = parseItems(values);
    assert.ok(near(got[at]?.value ?? 0, item as number), `${JSON.stringify(labels)}: ${got[at]?.value} is not ${item}`);
  }
}

function checkRange(one: Eval, query: PromqlQuery, { result }: PromqlOutcome): void {
  assert.equal(result.kind, "steps");
  if (result.kind !== "steps") return;
  const wanted = one.series.map(splitLine);
  assert.deepEqual(
    result.series.map((series) => series.labels),
    result.series.map((series) => series.labels).sort(compareLabels),
    "order",
  );
  const shown = JSON.stringify(
    result.series.map(({ labels, values, present }) => [
      labels,
      Array.from(values, (v, k) => (present[k] === 1 ? v : null)),
    ]),
  );
  assert.equal(result.series.length, wanted.length, `got ${shown}`);
  for (const { labels, values } of wanted) {
    const found = result.series.find((series) => labelsKey(series.labels) === labelsKey(labels));
    assert.ok(found, `lacks ${JSON.stringify(labels)}: ${shown}`);
    const items = parseItems(values);
    for (let k = 0; k < Math.max(found.present.length, items.length); k++) {
      const item = items[k];
      const value = found.present[k] === 1 ? found.values[k] : undefined;
      const fits = item === undefined ? value === undefined : value !== undefined && near(value, item as number);
      assert.ok(fits, `${JSON.stringify(labels)} step ${k}: ${value} is not ${item} (${query.text})`);
    }
  }
}

/** Prometheus' runner asks every instant query also as a range query around its time. */
function checkMiddleStep(store: MemoryStore, one: Eval, query: PromqlQuery): void {
  const { result } = run(store, {
    ...query,
    startMs: query.startMs - 60_000,
    endMs: query.endMs + 60_000,
    stepMs: 60_000,
  });
  assert.equal(result.kind, "steps");
  if (result.kind !== "steps") return;
  const here = result.series.filter((series) => series.present[1] === 1);
  if (one.scalar !== undefined) {
    assert.ok(near(here[0]?.values[1] ?? 0, number(one.scalar)), "as a range query");
    return;
  }
  const wanted = one.series.map(splitLine);
  assert.equal(here.length, wanted.length, "as a range query");
  for (const { labels, values } of wanted) {
    const found: StepSeries | undefined = here.find((series) => labelsKey(series.labels) === labelsKey(labels));
    const [item] = parseItems(values);
    assert.ok(
      found && near(found.values[1] ?? 0, item as number),
      `as a range query: ${found?.values[1]} is not ${item}`,
    );
  }
}

const NUMBER_LINE = /^[+-]?(?:0x[\da-f]+|\d[\d.]*(?:e[+-]?\d+)?|\.\d+|inf|nan)$/i;

/** Runs the commands of one file. */
function runFile(text: string): Tally {
  const tally: Tally = { passed: 0, failed: [], unsupported: 0 };
  const store = new MemoryStore();
  const lines = text.split("\n").map((line) => (line.trim().startsWith("#") ? "" : line.trim()));
  for (let at = 0; at < lines.length; ) {
    const header = lines[at] ?? "";
    const line = ++at;
    const word = header.split(/\s/)[0]?.toLowerCase() ?? "";
    if (header === "") continue;
    if (word === "clear") {
      store.clear();
      continue;
    }
    const block: string[] = [];
    let scalar: string | undefined;
    while (at < lines.length && lines[at] !== "" && scalar === undefined) {
      const next = lines[at++] ?? "";
      if (word.startsWith("eval") && NUMBER_LINE.test(next)) scalar = next;
      else block.push(next);
    }
    if (word.startsWith("load")) {
      if (word === "load_with_nhcb" || block.some((one) => /^\S+@st\s/.test(one))) store.hasHistograms = true;
      store.load(milliseconds(header.split(/\s+/)[1] ?? ""), block);
      continue;
    }
    const expects = block.filter((one) => /^expect\s/.test(one)).map((one) => one.replace(/\s+/g, " "));
    const series = block.filter((one) => !/^expect\s/.test(one));
    try {
      checkEval(store, { header, line, expects, series, scalar });
      tally.passed++;
    } catch (cause) {
      const { message } = cause as Error;
      const native = store.hasHistograms || series.some((one) => one.includes("{{"));
      if (native || message.includes("is not supported here")) tally.unsupported++;
      else tally.failed.push(`${line}: ${header}\n      ${message.split("\n")[0]}`);
    }
  }
  return tally;
}

const files = existsSync(FOLDER) ? readdirSync(FOLDER).filter((name) => name.endsWith(".test")) : [];

test("promqltest files are there", (t) => {
  requireOrSkip(t, "suites", files.length > 0 ? "" : `${FOLDER.pathname} holds none`);
});

for (const name of files) {
  test(`promqltest ${name}`, (context) => {
    const tally = runFile(readFileSync(new URL(name, FOLDER), "utf8"));
    const { passed, failed, unsupported } = tally;
    context.diagnostic(
      `${name}: ${passed} passed, ${failed.length} failed, ${unsupported} need what is not evaluated here`,
    );
    for (const line of failed) context.diagnostic(`  ${line}`);
    assert.deepEqual(failed, []);
    const least = PASSED_MIN[name.replace(".test", "")] ?? 0;
    assert.ok(passed >= least, `${passed} passed, at least ${least} must`);
  });
}
