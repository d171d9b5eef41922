/** Groups of targets, as `static_configs`, files and HTTP endpoints of discovery write them. */

import type { Node } from "yaml";
import { quoteGo } from "../../grammar/promql-error.ts";
import { YamlFields } from "../rules/yaml-fields.ts";
import type { TargetGroup } from "./scrape-job.ts";

/** Targets that one list may hold. */
const TARGETS_MAX = 100_000;

/** Reads one group; what is wrong becomes a fault of `yaml`. */
export function readTargetGroup(yaml: YamlFields, node: Node, source: string): TargetGroup {
  const fields = yaml.fields(node, ["targets", "labels"], "target group");
  const addresses = yaml.items(fields.get("targets"), "targets").map((each) => yaml.textOf(each));
  if (addresses.length > TARGETS_MAX) yaml.fault(node, `${addresses.length} targets; the limit is ${TARGETS_MAX}`);
  const labels = yaml.texts(fields, "labels");
  for (const name of labels.keys()) if (name === "") yaml.fault(node, `${quoteGo(name)} is not a valid label name`);
  return { source, labels, targets: addresses.map((address) => new Map([["__address__", address]])) };
}

/**
 * Reads a list of groups, in JSON or YAML (of which JSON is a part).
 *
 * @param source Where it is from; groups are named after it.
 * @param more Labels that every group gets.
 * @throws Error that says what is wrong.
 */
export function readTargetGroups(text: string, source: string, more: ReadonlyMap<string, string>): TargetGroup[] {
  const yaml = new YamlFields();
  const groups = yaml.items(yaml.read(text), "target groups").map((node, index) => {
    const group = readTargetGroup(yaml, node, `${source}:${index}`);
    return { ...group, labels: new Map([...group.labels, ...more]) };
  });
  if (yaml.faults.length > 0) throw new Error(yaml.faults.join("; "));
  return groups;
}
