/**
 * Rule files in Prometheus' format: YAML to groups of rules, with everything that is wrong and where.
 *
 * @see https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
 */

import type { Node } from "yaml";
import { PromqlSyntaxError, quoteGo } from "../../grammar/promql-error.ts";
import { type ParseOptions, parsePromql } from "../../grammar/promql-parse.ts";
import { printPromql } from "../../grammar/promql-print.ts";
import type { Labels } from "../model/series.ts";
import { alertTemplate } from "./alert-template.ts";
import { TemplateError } from "./template/template-error.ts";
import { isTemplateFunction } from "./template/template-functions.ts";
import { parseTemplate } from "./template/template-parse.ts";
import { YamlFields } from "./yaml-fields.ts";

/** Rules of one file; anchors could make more of them than its bytes say. */
const FILE_RULES_MAX = 20_000;

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

/** Faults so far, and the document they are of. */
class RuleFileReader {
  readonly #yaml = new YamlFields();
  readonly #file: string;
  readonly #syntax: ParseOptions;
  #rulesSeen = 0;

  constructor(file: string, syntax: ParseOptions) {
    this.#file = file;
    this.#syntax = syntax;
  }

  get faults(): string[] {
    return this.#yaml.faults;
  }

  get warnings(): readonly string[] {
    return this.#yaml.warnings;
  }

  read(text: string): RuleGroupSpec[] {
    const yaml = this.#yaml;
    const fields = yaml.fields(yaml.read(text), FILE_KEYS, "a rule file");
    const names = new Set<string>();
    return yaml.items(fields.get("groups"), "groups").flatMap((node) => {
      const group = this.#group(node);
      if (group === undefined) return [];
      if (group.name === "") this.faults.push(`${yaml.place(node)}: Groupname must not be empty`);
      if (names.has(group.name)) {
        this.faults.push(`${yaml.place(node)}: groupname: "${group.name}" is repeated in the same file`);
      }
      names.add(group.name);
      return [group];
    });
  }

  #group(node: Node): RuleGroupSpec | undefined {
    const faults = this.faults.length;
    const fields = this.#yaml.fields(node, GROUP_KEYS, "a group");
    const name = this.#yaml.text(fields, "name");
    const labels = this.#yaml.texts(fields, "labels");
    const intervalMs = this.#yaml.durationMs(fields, "interval");
    const queryOffsetMs = this.#yaml.durationMs(fields, "query_offset");
    const limit = this.#yaml.integer(fields, "limit");
    for (const fault of labelFaults(labels)) this.faults.push(fault);
    const rules = this.#yaml.items(fields.get("rules"), "rules").flatMap((rule, index) => {
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
    const fields = this.#yaml.fields(node, RULE_KEYS, "a rule");
    const text = this.#yaml.text(fields, "expr");
    const record = this.#yaml.text(fields, "record");
    const alert = this.#yaml.text(fields, "alert");
    const labels = this.#yaml.texts(fields, "labels");
    const annotations = this.#yaml.texts(fields, "annotations");
    const holdMs = this.#yaml.durationMs(fields, "for") ?? 0;
    const keepFiringMs = this.#yaml.durationMs(fields, "keep_firing_for") ?? 0;
    // What is no YAML of a rule is told before what is wrong with the rule.
    if (this.faults.length > before) return undefined;
    const refuse = (reason: string, ...places: (Node | undefined)[]) => {
      const at = places.map((place) => `${place === undefined ? "0:0" : this.#yaml.place(place)}: `).join("");
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
