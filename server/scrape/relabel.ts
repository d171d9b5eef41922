/**
 * Relabelling: rules that change, keep or drop a set of labels.
 *
 * @see https://prometheus.io/docs/prometheus/latest/configuration/configuration/#relabel_config
 */

import { createHash } from "node:crypto";
import { expandTemplate } from "../query/promql/label-functions.ts";
import { compileRegex } from "../query/promql/regex.ts";

/** What a rule does. */
export type RelabelAction =
  | "replace"
  | "keep"
  | "drop"
  | "keepequal"
  | "dropequal"
  | "hashmod"
  | "labelmap"
  | "labeldrop"
  | "labelkeep"
  | "lowercase"
  | "uppercase";

/** Every action, as configuration names them. */
export const RELABEL_ACTIONS: readonly RelabelAction[] = [
  "replace",
  "keep",
  "drop",
  "keepequal",
  "dropequal",
  "hashmod",
  "labelmap",
  "labeldrop",
  "labelkeep",
  "lowercase",
  "uppercase",
];

/** One rule. */
export interface RelabelRule {
  readonly action: RelabelAction;
  readonly sourceLabels: readonly string[];
  readonly separator: string;
  /** RE2, anchored at both ends; known to compile. */
  readonly regex: string;
  readonly modulus: bigint;
  readonly targetLabel: string;
  readonly replacement: string;
}

/**
 * Applies rules in their order.
 *
 * @param labels Changed in place; a label without a value is not there.
 * @returns False where a rule drops the whole set.
 */
export function relabel(labels: Map<string, string>, rules: readonly RelabelRule[]): boolean {
  for (const rule of rules) if (!apply(labels, rule)) return false;
  return true;
}

function apply(labels: Map<string, string>, rule: RelabelRule): boolean {
  const { action, targetLabel } = rule;
  const value = rule.sourceLabels.map((name) => labels.get(name) ?? "").join(rule.separator);
  switch (action) {
    case "keep":
      return compileRegex(rule.regex).matches(value);
    case "drop":
      return !compileRegex(rule.regex).matches(value);
    case "keepequal":
      return (labels.get(targetLabel) ?? "") === value;
    case "dropequal":
      return (labels.get(targetLabel) ?? "") !== value;
    case "replace":
      replace(labels, rule, value);
      return true;
    case "lowercase":
      set(labels, targetLabel, value.toLowerCase());
      return true;
    case "uppercase":
      set(labels, targetLabel, value.toUpperCase());
      return true;
    case "hashmod":
      set(labels, targetLabel, String(createHash("md5").update(value).digest().readBigUInt64BE(8) % rule.modulus));
      return true;
    case "labelmap":
      for (const [name, text] of [...labels]) {
        const mapped = expanded(rule.regex, name, rule.replacement);
        if (mapped !== undefined) set(labels, mapped, text);
      }
      return true;
    case "labeldrop":
    case "labelkeep": {
      const regex = compileRegex(rule.regex);
      for (const name of [...labels.keys()]) if (regex.matches(name) === (action === "labeldrop")) labels.delete(name);
    }
  }
  return true;
}

function replace(labels: Map<string, string>, rule: RelabelRule, value: string): void {
  const target = expanded(rule.regex, value, rule.targetLabel);
  // A template that makes no name of a label changes nothing.
  if (target === undefined || target === "" || !target.isWellFormed()) return;
  set(labels, target, expanded(rule.regex, value, rule.replacement) ?? "");
}

/** A template with the groups of a match in it; undefined where the expression does not match the whole text. */
function expanded(pattern: string, text: string, template: string): string | undefined {
  const regex = compileRegex(pattern);
  const matcher = regex.matcher(text);
  if (!matcher.matches()) return undefined;
  if (!template.includes("$")) return template;
  const names = regex.namedGroups();
  return expandTemplate(template, (name) => {
    const index = /^\d+$/.test(name) ? Number(name) : names[name];
    return index === undefined || index > regex.groupCount() ? "" : (matcher.group(index) ?? "");
  });
}

function set(labels: Map<string, string>, name: string, value: string): void {
  if (value === "") labels.delete(name);
  else labels.set(name, value);
}
