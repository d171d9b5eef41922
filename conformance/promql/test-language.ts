/** The promqltest language: files of `load`, `clear` and `eval` commands. */

import { decodeStringLiteral } from "../../grammar/promql-string.ts";
import type { Labels } from "../../server/model/series.ts";
import { labelsKey } from "../../server/query/promql/series-labels.ts";
import { customBucketSeries } from "./classic-buckets.ts";
import {
  type LoadedSeries,
  milliseconds,
  parseMetric,
  parseStarts,
  parseValues,
  type TestValue,
} from "./series-notation.ts";

/** A condition on a message: any, one text, or an RE2 expression that matches somewhere. */
export interface MessageCondition {
  readonly kind: "any" | "msg" | "regex";
  readonly text: string;
}

/** A series of an expectation; undefined is a step without a value. */
export interface WantedSeries {
  readonly labels: Labels;
  readonly values: readonly (TestValue | undefined)[];
}

/** The result an eval wants. */
export type Wanted =
  | { readonly kind: "series"; readonly series: readonly WantedSeries[] }
  | { readonly kind: "scalar"; readonly value: number }
  | { readonly kind: "string"; readonly value: string }
  | {
      readonly kind: "range vector";
      readonly series: readonly WantedSeries[];
      readonly startMs: number;
      readonly endMs: number;
      readonly stepMs: number;
    };

/** One `eval` with everything it wants. */
export interface EvalCase {
  readonly kind: "eval";
  readonly line: number;
  /** The command's first line. */
  readonly header: string;
  /** All of its lines, trimmed. */
  readonly lines: readonly string[];
  readonly query: string;
  readonly startMs: number;
  readonly endMs: number;
  /** 0 for an instant query. */
  readonly stepMs: number;
  readonly fail: MessageCondition | undefined;
  readonly warnings: readonly MessageCondition[];
  readonly infos: readonly MessageCondition[];
  readonly noWarnings: boolean;
  readonly noInfos: boolean;
  readonly ordered: boolean;
  readonly wanted: Wanted;
}

/** A command of a file; `malformed` is one that could not be read. */
export type Command =
  | { readonly kind: "clear" }
  | { readonly kind: "load"; readonly line: number; readonly series: readonly LoadedSeries[] }
  | EvalCase
  | { readonly kind: "malformed"; readonly line: number; readonly header: string; readonly why: string };

const INSTANT = /^eval(?:_(fail|warn|ordered|info))?\s+instant\s+(?:at\s+(.+?))?\s+(.+)$/;
const RANGE = /^eval(?:_(fail|warn|info))?\s+range\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+?)\s+(.+)$/;
const EXPECT = /^expect\s+(ordered|fail|warn|no_warn|info|no_info)(?:\s+(regex|msg):(.+))?$/;
const RANGE_VECTOR = /^expect range vector\s+from\s+(.+)\s+to\s+(.+)\s+step\s+(.+)$/;
const ANY: MessageCondition = { kind: "any", text: "" };

/** Reads a whole file; what is malformed becomes a command of its own, so that the rest still runs. */
export function parseTestFile(text: string): Command[] {
  const lines = text.split("\n").map((line) => line.replace(/^[ \t\r]+|[ \t\r]+$/g, ""));
  const isEnd = (at: number) => at >= lines.length || lines[at] === "" || lines[at]?.startsWith("#") === true;
  const commands: Command[] = [];
  for (let at = 0; at < lines.length; ) {
    if (isEnd(at)) {
      at++;
      continue;
    }
    const header = lines[at] ?? "";
    const line = at + 1;
    const word = header.split(/[ \t]/)[0]?.toLowerCase() ?? "";
    const block: string[] = [];
    at++;
    while (word !== "clear" && !isEnd(at)) {
      const next = lines[at++] ?? "";
      block.push(next);
      if (word.startsWith("eval") && goNumber(next) !== undefined) break;
    }
    try {
      commands.push(parseCommand(word, header, block, line));
    } catch (cause) {
      const why = cause instanceof Error ? cause.message : String(cause);
      commands.push({ kind: "malformed", line, header, why });
    }
  }
  return commands;
}

function parseCommand(word: string, header: string, block: readonly string[], line: number): Command {
  if (word === "clear") return { kind: "clear" };
  if (word.startsWith("load")) return parseLoad(header, block, line);
  if (word.startsWith("eval")) return parseEval(header, block, line);
  throw new Error(`there is no command '${word}'`);
}

function parseLoad(header: string, block: readonly string[], line: number): Command {
  const [, name, step = ""] = /^(load|load_with_nhcb)\s+(\S+)$/i.exec(header) ?? [];
  if (name === undefined) throw new Error("a load names one step");
  const stepMs = milliseconds(step);
  const series = new Map<string, LoadedSeries>();
  let starts: { readonly key: string; readonly items: readonly (number | undefined)[] } | undefined;
  for (const text of block) {
    const { labels, end } = parseMetric(text);
    const key = labelsKey(labels);
    if (/^@st(?:[ \t]|$)/.test(text.slice(end))) {
      starts = { key, items: parseStarts(text.slice(end + 3)) };
      continue;
    }
    const values = parseValues(text.slice(end));
    if (starts !== undefined && (starts.key !== key || starts.items.length !== values.length))
      throw new Error(`start timestamps of ${starts.items.length} samples do not fit: ${text}`);
    const offsets = starts?.items;
    starts = undefined;
    const samples = values.flatMap((value, k) => {
      if (value === undefined) return [];
      const offset = offsets?.[k];
      return [{ timestampMs: k * stepMs, startMs: offset === undefined ? 0 : k * stepMs + offset, value }];
    });
    series.delete(key);
    series.set(key, { labels, samples });
  }
  const loaded = [...series.values()];
  if (name.toLowerCase() === "load_with_nhcb") loaded.push(...customBucketSeries(loaded));
  return { kind: "load", line, series: loaded };
}

function parseEval(header: string, block: readonly string[], line: number): EvalCase {
  const instant = INSTANT.exec(header);
  const range = /^eval\S*\s+instant/.test(header) ? null : RANGE.exec(header);
  if (instant === null && range === null) throw new Error("neither an instant nor a range eval");
  const expectations = readExpectations(block);
  const spelling = range?.[1] ?? instant?.[1];
  const isInstant = range === null;
  const startMs = isInstant ? milliseconds(instant?.[2] ?? "0") : milliseconds(range[2] ?? "");
  return {
    kind: "eval",
    line,
    header,
    lines: [header, ...block],
    query: (isInstant ? instant?.[3] : range[5]) ?? "",
    startMs,
    endMs: isInstant ? startMs : milliseconds(range[3] ?? ""),
    stepMs: isInstant ? 0 : milliseconds(range[4] ?? ""),
    ...expectations,
    fail: expectations.fail ?? (spelling === "fail" ? ANY : undefined),
    warnings: spelling === "warn" ? [...expectations.warnings, ANY] : expectations.warnings,
    infos: spelling === "info" ? [...expectations.infos, ANY] : expectations.infos,
    ordered: expectations.ordered || spelling === "ordered",
  };
}

type Expectations = Pick<EvalCase, "fail" | "warnings" | "infos" | "noWarnings" | "noInfos" | "ordered" | "wanted">;

function readExpectations(block: readonly string[]): Expectations {
  const warnings: MessageCondition[] = [];
  const infos: MessageCondition[] = [];
  const flags = new Set<string>();
  const series: WantedSeries[] = [];
  let fail: MessageCondition | undefined;
  let wanted: Wanted = { kind: "series", series };
  for (const line of block) {
    const scalar = goNumber(line);
    if (line.startsWith("expect range vector")) {
      const [, from = "", to = "", step = ""] = RANGE_VECTOR.exec(line) ?? [];
      const [startMs, endMs, stepMs] = [milliseconds(from), milliseconds(to), milliseconds(step)];
      wanted = { kind: "range vector", series, startMs, endMs, stepMs };
    } else if (line.startsWith("expect string")) {
      const literal = decodeStringLiteral(line.slice("expect string".length).trim());
      if (literal.kind === "refused") throw new Error(literal.reason);
      wanted = { kind: "string", value: literal.value };
    } else if (/^expect(?: |$)/.test(line)) {
      const [, what, how, text = ""] = EXPECT.exec(line) ?? [];
      const condition: MessageCondition = how === "msg" || how === "regex" ? { kind: how, text: text.trim() } : ANY;
      if (what === "warn") warnings.push(condition);
      else if (what === "info") infos.push(condition);
      else if (what === "fail") fail = condition;
      else if (what === undefined) throw new Error(`no expectation: ${line}`);
      else flags.add(what);
    } else if (/^expected_fail_(?:message|regexp)\s/.test(line)) {
      const text = line.replace(/^\S+\s+/, "");
      fail = { kind: line.startsWith("expected_fail_message") ? "msg" : "regex", text };
    } else if (scalar !== undefined) wanted = { kind: "scalar", value: scalar };
    else {
      const { labels, end } = parseMetric(line);
      series.push({ labels, values: parseValues(line.slice(end)) });
    }
  }
  return {
    fail,
    warnings,
    infos,
    noWarnings: flags.has("no_warn"),
    noInfos: flags.has("no_info"),
    ordered: flags.has("ordered"),
    wanted,
  };
}

/** A number as Go reads it from a line of its own: whole in base 2, 8, 10 or 16, or a float. */
function goNumber(text: string): number | undefined {
  const plain = text.replaceAll("_", "");
  const [, sign, digits = ""] = /^([+-]?)(.*)$/.exec(plain) ?? [];
  const signed = (value: number) => (sign === "-" ? -value : value);
  if (/^0[xX][\da-fA-F]+$/.test(digits) || /^0[bB][01]+$/.test(digits)) return signed(Number(digits));
  if (/^0[oO]?[0-7]+$/.test(digits)) return signed(Number.parseInt(digits.replace(/^0[oO]?/, ""), 8));
  if (/^(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(digits)) return signed(Number(digits));
  if (/^(?:inf|infinity)$/i.test(digits)) return signed(Number.POSITIVE_INFINITY);
  return /^nan$/i.test(plain) ? Number.NaN : undefined;
}
