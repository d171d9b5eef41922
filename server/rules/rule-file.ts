/**
 * Rule files in Prometheus' format: YAML to groups of rules, with everything that is wrong and where.
 *
 * @see https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
 */

import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
  type YAMLMap,
} from "yaml";
import { parseDuration } from "../../grammar/promql-duration.ts";
import { PromqlSyntaxError, quoteGo } from "../../grammar/promql-error.ts";
import { type ParseOptions, parsePromql } from "../../grammar/promql-parse.ts";
import { printPromql } from "../../grammar/promql-print.ts";
import type { Labels } from "../model/series.ts";
import { alertTemplate } from "./alert-template.ts";
import { TemplateError } from "./template/template-error.ts";
import { isTemplateFunction } from "./template/template-functions.ts";
import { parseTemplate } from "./template/template-parse.ts";

/** Rules of one file; anchors could make more of them than its bytes say. */
const FILE_RULES_MAX = 20_000;

/** Mappings that may be merged into each other by `<<`. */
const MERGES_MAX = 20;

/** Bytes of the largest rule file. */
export const RULE_FILE_BYTES_MAX = 8 * 2 ** 20;

/** A rule as it was written; durations in milliseconds. */
export type RuleSpec = {
  /** Name of the series, or of the alert. */
  readonly name: string;
  /** The expression in canonical form. */
  readonly expression: string;
  /** Those of the group and, winning over them, those of the rule; sorted by name. An empty value takes a label away. */
  readonly labels: Labels;
} & (
  | { readonly kind: "recording" }
  | {
      readonly kind: "alerting";
      readonly holdMs: number;
      readonly keepFiringMs: number;
      readonly annotations: Labels;
    }
);

/** Rules that are evaluated one after the other. */
export interface RuleGroupSpec {
  readonly name: string;
  readonly file: string;
  /** The server's own where undefined. */
  readonly intervalMs: number | undefined;
  readonly queryOffsetMs: number | undefined;
  /** Alerts or series that a rule may give; 0 for any number. */
  readonly limit: number;
  readonly rules: readonly RuleSpec[];
}

/** Groups of a file, or what is wrong with it, each with `FILE: ` in front. */
export type RuleFileOutcome =
  | { readonly kind: "groups"; readonly groups: readonly RuleGroupSpec[]; readonly warnings: readonly string[] }
  | { readonly kind: "refused"; readonly reasons: readonly string[] };

const FILE_KEYS = ["groups"];
const GROUP_KEYS = ["name", "interval", "query_offset", "limit", "rules", "labels"];
const RULE_KEYS = ["record", "alert", "expr", "for", "keep_firing_for", "labels", "annotations"];

/**
 * Reads a rule file.
 *
 * @param file Its name, as groups and messages show it.
 */
export function readRuleFile(file: string, text: string, syntax: ParseOptions): RuleFileOutcome {
  const reader = new RuleFileReader(file, syntax);
  const groups = reader.read(text);
  if (reader.faults.length > 0) return { kind: "refused", reasons: reader.faults.map((fault) => `${file}: ${fault}`) };
  return { kind: "groups", groups, warnings: reader.warnings.map((warning) => `${file}: ${warning}`) };
}

type Fields = ReadonlyMap<string, Node>;

/** Faults so far, and lines of the text. */
class RuleFileReader {
  readonly faults: string[] = [];
  readonly warnings: string[] = [];
  readonly #file: string;
  readonly #syntax: ParseOptions;
  readonly #lines = new LineCounter();
  #document: Document | undefined;
  #rulesSeen = 0;

  constructor(file: string, syntax: ParseOptions) {
    this.#file = file;
    this.#syntax = syntax;
  }

  read(text: string): RuleGroupSpec[] {
    const documents = parseAllDocuments(text, { lineCounter: this.#lines, uniqueKeys: true });
    const [first, second] = Array.isArray(documents) ? documents : [];
    if (first === undefined) return [];
    for (const error of first.errors) {
      const { line } = this.#lines.linePos(error.pos[0]);
      this.faults.push(`yaml: line ${line}: ${error.message.split("\n")[0]?.replace(/ at line \d+.*$/, "") ?? ""}`);
    }
    if (this.faults.length > 0 || first.contents === null) return [];
    this.#document = first;
    if (second !== undefined) {
      this.warnings.push("multiple YAML documents are not supported, only the first document is processed");
    }
    const fields = this.#fields(first.contents, FILE_KEYS, "a rule file");
    const names = new Set<string>();
    return this.#items(fields.get("groups"), "groups").flatMap((node) => {
      const group = this.#group(node);
      if (group === undefined) return [];
      if (group.name === "") this.faults.push(`${this.#place(node)}: Groupname must not be empty`);
      if (names.has(group.name)) {
        this.faults.push(`${this.#place(node)}: groupname: "${group.name}" is repeated in the same file`);
      }
      names.add(group.name);
      return [group];
    });
  }

  /** What an alias stands for. */
  #resolved(node: Node | null | undefined): Node | undefined {
    if (node === null || node === undefined || this.#document === undefined) return undefined;
    // What an anchor marks is a node of this document.
    const found = isAlias(node) ? (node.resolve(this.#document) as Node | undefined) : node;
    return found === undefined || isNull(found) ? undefined : found;
  }

  /** Entries of a mapping with those that `<<` brings in, which its own win over; aliases are what they stand for. */
  #pairs(node: YAMLMap, depth = 0): { readonly key: Node; readonly name: string; readonly value: Node | undefined }[] {
    const own: { key: Node; name: string; value: Node | undefined }[] = [];
    const merged: typeof own = [];
    // Keys and values of a parsed mapping are nodes.
    for (const { key, value: given } of node.items as Pair<Node, Node | null>[]) {
      const value = this.#resolved(given);
      if (!isMergeKey(key)) {
        own.push({ key, name: scalarText(this.#resolved(key)), value });
        continue;
      }
      const sources = isSeq(value) ? (value.items as Node[]).map((item) => this.#resolved(item)) : [value];
      for (const source of sources) {
        if (isMap(source) && depth < MERGES_MAX) merged.push(...this.#pairs(source, depth + 1));
        else this.faults.push(`yaml: line ${this.#line(key)}: map merge requires map or sequence of maps as the value`);
      }
    }
    const names = new Set(own.map(({ name }) => name));
    for (const pair of merged) {
      if (names.has(pair.name)) continue;
      names.add(pair.name);
      own.push(pair);
    }
    return own;
  }

  /** `LINE:COLUMN` of where a node starts. */
  #place(node: Node | undefined): string {
    const { line, col } = this.#lines.linePos(node?.range?.[0] ?? 0);
    return `${line}:${col}`;
  }

  #line(node: Node | undefined): number {
    return this.#lines.linePos(node?.range?.[0] ?? 0).line;
  }

  /** Values of a mapping by key; unknown keys are faults. */
  #fields(given: Node, known: readonly string[], what: string): Fields {
    const fields = new Map<string, Node>();
    const node = this.#resolved(given);
    if (node === undefined) return fields;
    if (!isMap(node)) {
      this.faults.push(`yaml: line ${this.#line(node)}: cannot unmarshal into ${what}: it takes a mapping`);
      return fields;
    }
    for (const { key, name, value } of this.#pairs(node)) {
      if (!known.includes(name)) this.faults.push(`yaml: line ${this.#line(key)}: field ${name} not found in ${what}`);
      else if (value !== undefined) fields.set(name, value);
    }
    return fields;
  }

  #items(node: Node | undefined, what: string): readonly Node[] {
    if (node === undefined) return [];
    // A list of this library holds nodes.
    if (isSeq(node)) return node.items as Node[];
    this.faults.push(`yaml: line ${this.#line(node)}: cannot unmarshal into ${what}: it takes a list`);
    return [];
  }

  /** A scalar as it was written, but for quotes. */
  #text(fields: Fields, name: string): string {
    const node = fields.get(name);
    if (node === undefined) return "";
    if (!isScalar(node)) {
      this.faults.push(`yaml: line ${this.#line(node)}: cannot unmarshal ${kindOf(node)} into string`);
      return "";
    }
    return scalarText(node);
  }

  #durationMs(fields: Fields, name: string): number | undefined {
    const node = fields.get(name);
    if (node === undefined) return undefined;
    const outcome = parseDuration(this.#text(fields, name));
    if (outcome.kind === "ok") return outcome.milliseconds;
    this.faults.push(`yaml: line ${this.#line(node)}: ${name}: ${outcome.reason}`);
    return undefined;
  }

  #limit(fields: Fields): number {
    const text = this.#text(fields, "limit");
    if (text === "" || /^[+-]?\d+$/.test(text)) return Number(text);
    this.faults.push(`yaml: line ${this.#line(fields.get("limit"))}: cannot unmarshal ${quoteGo(text)} into int`);
    return 0;
  }

  /** Names and texts of a mapping. */
  #texts(fields: Fields, name: string): ReadonlyMap<string, string> {
    const node = fields.get(name);
    const texts = new Map<string, string>();
    if (node === undefined) return texts;
    if (!isMap(node)) {
      this.faults.push(`yaml: line ${this.#line(node)}: cannot unmarshal ${kindOf(node)} into map[string]string`);
      return texts;
    }
    for (const { name: label, value } of this.#pairs(node)) {
      if (value === undefined) texts.set(label, "");
      else if (isScalar(value)) texts.set(label, scalarText(value));
      else this.faults.push(`yaml: line ${this.#line(value)}: cannot unmarshal ${kindOf(value)} into string`);
    }
    return texts;
  }

  #group(node: Node): RuleGroupSpec | undefined {
    const faults = this.faults.length;
    const fields = this.#fields(node, GROUP_KEYS, "a group");
    const name = this.#text(fields, "name");
    const labels = this.#texts(fields, "labels");
    const intervalMs = this.#durationMs(fields, "interval");
    const queryOffsetMs = this.#durationMs(fields, "query_offset");
    const limit = this.#limit(fields);
    for (const fault of labelFaults(labels)) this.faults.push(fault);
    const rules = this.#items(fields.get("rules"), "rules").flatMap((rule, index) => {
      return this.#rule(rule, labels, `group ${quoteGo(name)}, rule ${index + 1}`) ?? [];
    });
    if (this.faults.length > faults && rules.length === 0)
      return { name, file: this.#file, intervalMs, queryOffsetMs, limit, rules };
    return { name, file: this.#file, intervalMs: intervalMs || undefined, queryOffsetMs, limit, rules };
  }

  #rule(node: Node, groupLabels: ReadonlyMap<string, string>, where: string): RuleSpec | undefined {
    if (++this.#rulesSeen > FILE_RULES_MAX) {
      if (this.#rulesSeen === FILE_RULES_MAX + 1) this.faults.push(`more than ${FILE_RULES_MAX} rules`);
      return undefined;
    }
    const before = this.faults.length;
    const fields = this.#fields(node, RULE_KEYS, "a rule");
    const text = this.#text(fields, "expr");
    const record = this.#text(fields, "record");
    const alert = this.#text(fields, "alert");
    const labels = this.#texts(fields, "labels");
    const annotations = this.#texts(fields, "annotations");
    const holdMs = this.#durationMs(fields, "for") ?? 0;
    const keepFiringMs = this.#durationMs(fields, "keep_firing_for") ?? 0;
    // What is no YAML of a rule is told before what is wrong with the rule.
    if (this.faults.length > before) return undefined;
    const refuse = (reason: string, ...places: (Node | undefined)[]) => {
      const at = places.map((place) => `${place === undefined ? "0:0" : this.#place(place)}: `).join("");
      this.faults.push(`${at}${where}, ${quoteGo(alert || record)}: ${reason}`);
    };
    const name = fields.get("record");
    if (record !== "" && alert !== "") {
      refuse("only one of 'record' and 'alert' must be set", name, fields.get("alert"));
    } else if (record === "" && alert === "")
      refuse("one of 'record' or 'alert' must be set", name, fields.get("alert"));
    const expression = this.#expression(text, fields.get("expr"), refuse);
    if (record !== "") {
      if (annotations.size > 0) refuse("invalid field 'annotations' in recording rule", name);
      if (holdMs !== 0) refuse("invalid field 'for' in recording rule", name);
      if (keepFiringMs !== 0) refuse("invalid field 'keep_firing_for' in recording rule", name);
      if (!record.isWellFormed()) refuse(`invalid recording rule name: ${record}`, name);
      if (/[{}]/.test(record)) {
        refuse(`braces present in the recording rule name; should it be in expr?: ${record}`, name);
      }
    }
    for (const fault of labelFaults(labels)) refuse(fault);
    for (const label of annotations.keys()) if (label === "") refuse(`invalid annotation name: ${label}`);
    if (alert !== "") {
      for (const fault of templateFaults(alert, "label", labels)) refuse(fault);
      for (const fault of templateFaults(alert, "annotation", annotations)) refuse(fault);
    }
    if (this.faults.length > before) return undefined;
    const shared = { expression, labels: sorted(new Map([...groupLabels, ...labels])) };
    if (record !== "") return { kind: "recording", name: record, ...shared };
    return { kind: "alerting", name: alert, ...shared, holdMs, keepFiringMs, annotations: sorted(annotations) };
  }

  /** The canonical text of `expr`; what is wrong with it is refused. */
  #expression(text: string, node: Node | undefined, refuse: (reason: string, node: Node | undefined) => void): string {
    if (text === "") refuse("field 'expr' must be set in rule", node);
    else {
      try {
        return printPromql(parsePromql(text, this.#syntax), this.#syntax);
      } catch (cause) {
        if (!(cause instanceof PromqlSyntaxError)) throw cause;
        refuse(`could not parse expression: ${cause.message}`, node);
      }
    }
    return "";
  }
}

function isMergeKey(key: Node): boolean {
  return isScalar(key) && key.value === "<<" && key.type === "PLAIN";
}

function isNull(node: Node): boolean {
  return isScalar(node) && node.value === null;
}

/** YAML would make numbers and truth of what rules mean as text. */
function scalarText(node: Node | undefined): string {
  if (!isScalar(node)) return "";
  return typeof node.value === "string" ? node.value : (node.source ?? String(node.value));
}

function kindOf(node: Node): string {
  return isMap(node) ? "!!map" : isSeq(node) ? "!!seq" : "!!str";
}

function sorted(texts: ReadonlyMap<string, string>): Labels {
  return [...texts].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}

function labelFaults(labels: ReadonlyMap<string, string>): string[] {
  return [...labels].flatMap(([name, value]) => {
    if (name === "" || name === "__name__" || !name.isWellFormed()) return [`invalid label name: ${name}`];
    return value.isWellFormed() ? [] : [`invalid label value: ${value}`];
  });
}

function templateFaults(alert: string, what: string, texts: ReadonlyMap<string, string>): string[] {
  return [...texts].flatMap(([name, text]) => {
    try {
      parseTemplate(`__alert_${alert}`, alertTemplate(text), isTemplateFunction);
      return [];
    } catch (cause) {
      if (!(cause instanceof TemplateError)) throw cause;
      return [`${what} ${quoteGo(name)}: ${cause.message}`];
    }
  });
}
