/** Relabelling rules as they stand in a configuration, with what is wrong with them in Prometheus' words. */

import type { Node } from "yaml";
import { quoteGo } from "../../grammar/promql-error.ts";
import { compileRegex } from "../query/promql/regex.ts";
import type { Fields, YamlFields } from "../rules/yaml-fields.ts";
import { RELABEL_ACTIONS, type RelabelAction, type RelabelRule } from "./relabel.ts";

const RELABEL_KEYS = ["source_labels", "separator", "regex", "modulus", "target_label", "replacement", "action"];
const NEEDS_TARGET: readonly RelabelAction[] = [
  "replace",
  "hashmod",
  "lowercase",
  "uppercase",
  "keepequal",
  "dropequal",
];

/** Reads the list of rules under a key. */
export function readRelabelRules(yaml: YamlFields, fields: Fields, name: string): RelabelRule[] {
  return yaml.items(fields.get(name), name).map((node) => {
    const rule = readRule(yaml, node);
    const fault = ruleFault(rule);
    if (fault !== undefined) yaml.fault(node, fault);
    return rule;
  });
}

function readRule(yaml: YamlFields, node: Node): RelabelRule {
  const fields = yaml.fields(node, RELABEL_KEYS, "relabel_config");
  const or = (name: string, fallback: string) => (fields.has(name) ? yaml.text(fields, name) : fallback);
  const action = or("action", "replace").toLowerCase();
  const known = RELABEL_ACTIONS.find((each) => each === action);
  if (known === undefined) yaml.fault(node, `unknown relabel action ${quoteGo(action)}`);
  return {
    action: known ?? "replace",
    sourceLabels: yaml.items(fields.get("source_labels"), "source_labels").map((each) => yaml.textOf(each)),
    separator: or("separator", ";"),
    regex: or("regex", "(.*)"),
    modulus: BigInt(yaml.integer(fields, "modulus")),
    targetLabel: yaml.text(fields, "target_label"),
    replacement: or("replacement", "$1"),
  };
}

/** What is wrong with a rule, in Prometheus' words. */
function ruleFault(rule: RelabelRule): string | undefined {
  const { action, targetLabel, replacement, modulus, separator, sourceLabels, regex } = rule;
  try {
    compileRegex(regex);
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
  if (action === "hashmod" && modulus <= 0n) return "relabel configuration for hashmod requires non-zero modulus";
  if (NEEDS_TARGET.includes(action) && targetLabel === "") {
    return `relabel configuration for ${action} action requires 'target_label' value`;
  }
  const isPlain = modulus === 0n && separator === ";" && replacement === "$1";
  if ((action === "lowercase" || action === "uppercase") && replacement !== "$1") {
    return `'replacement' can not be set for ${action} action`;
  }
  if ((action === "keepequal" || action === "dropequal") && !(isPlain && regex === "(.*)")) {
    return `${action} action requires only 'source_labels' and \`target_label\`, and no other fields`;
  }
  if (
    (action === "labeldrop" || action === "labelkeep") &&
    !(isPlain && targetLabel === "" && sourceLabels.length === 0)
  ) {
    return `${action} action requires only 'regex', and no other fields`;
  }
  return undefined;
}
