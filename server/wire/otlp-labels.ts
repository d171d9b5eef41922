/**
 * Labels of series made of OpenTelemetry's metrics: of a point from its own attributes and its resource's service, of
 * `target_info` from the resource's other attributes; and the labels of exemplars.
 *
 * Invariant: `startResource` comes before the points of a resource.
 */

import type { Labels } from "../model/series.ts";
import type { Attribute } from "../model/span-batch.ts";
import { plainValue } from "./any-value.ts";
import { prometheusLabelName } from "./prometheus-names.ts";
import { checkLabels, type LabelFault } from "./series-labels.ts";

/** The metric of a resource's attributes. */
export const TARGET_INFO = "target_info";
const NAME = "__name__";
const JOB = "job";
const INSTANCE = "instance";
/** Attributes of a resource that make `job` and `instance`, and do not stand in `target_info`. */
const IDENTIFYING: ReadonlySet<string> = new Set(["service.namespace", "service.name", "service.instance.id"]);
const LABEL_NAMES_KNOWN_MAX = 4_096;
/** UTF-8 characters of an exemplar's labels; attributes that do not fit are left out. */
const EXEMPLAR_CHARACTERS_MAX = 128;

/** Labels, or what is wrong with them. */
type LabelsOrFault = Labels | LabelFault["reason"];

/** Makes labels of one resource after another. */
export class OtlpLabels {
  readonly #names = new Map<string, string | undefined>();
  #resource: readonly Attribute[] = [];
  #job = "";
  #instance = "";

  /** Begins a resource, whose attributes stay as they are. */
  startResource(attributes: readonly Attribute[]): void {
    this.#resource = attributes;
    const namespace = attributes.find(({ key }) => key === "service.namespace");
    const service = attributes.find(({ key }) => key === "service.name");
    const instance = attributes.find(({ key }) => key === "service.instance.id");
    const job = service === undefined ? "" : plainValue(service);
    this.#job = service === undefined || namespace === undefined ? job : `${plainValue(namespace)}/${job}`;
    this.#instance = instance === undefined ? "" : plainValue(instance);
  }

  /** Labels of a point of the metric `name`. */
  ofPoint(attributes: readonly Attribute[], name: string): LabelsOrFault {
    return this.#of(attributes, name);
  }

  /** Labels of the resource's `target_info`; undefined where it has none. */
  ofTarget(): LabelsOrFault | undefined {
    const others = this.#resource.filter(({ key }) => !IDENTIFYING.has(key));
    if (others.length === 0) return undefined;
    const labels = this.#of(others, TARGET_INFO);
    // An attribute of that name will do.
    const isNamed = typeof labels === "string" || labels.some(([name]) => name === JOB || name === INSTANCE);
    return isNamed ? labels : undefined;
  }

  #of(attributes: readonly Attribute[], name: string): LabelsOrFault {
    const byName = this.#sanitized(attributes);
    if (byName === undefined) return "labels_invalid";
    if (this.#job !== "") byName.set(JOB, this.#job);
    if (this.#instance !== "") byName.set(INSTANCE, this.#instance);
    byName.set(NAME, name);
    const { labels, fault } = checkLabels([...byName], true);
    return fault?.reason ?? labels;
  }

  /** Attributes in order of their keys; values of those that become one label are joined. */
  #sanitized(attributes: readonly Attribute[]): Map<string, string> | undefined {
    const byName = new Map<string, string>();
    const sorted = attributes.length < 2 ? attributes : attributes.toSorted(byKey);
    for (const attribute of sorted) {
      if (attribute.key === NAME) continue;
      const name = this.#nameOf(attribute.key);
      if (name === undefined) return undefined;
      const value = plainValue(attribute);
      const before = byName.get(name) ?? "";
      byName.set(name, before === "" ? value : `${before};${value}`);
    }
    return byName;
  }

  #nameOf(key: string): string | undefined {
    if (!this.#names.has(key)) {
      if (this.#names.size > LABEL_NAMES_KNOWN_MAX) this.#names.clear();
      this.#names.set(key, prometheusLabelName(key));
    }
    return this.#names.get(key);
  }
}

/** Labels of another metric of the same family. */
export function named(labels: Labels, name: string): Labels {
  return labels.map((pair) => (pair[0] === NAME ? ([NAME, name] as const) : pair));
}

/** Labels with one more, in its place; one of the same name gives way. */
export function withLabel(labels: Labels, name: string, value: string): Labels {
  const pair = [name, value] as const;
  const more: (readonly [string, string])[] = [];
  let isIn = false;
  for (const each of labels) {
    if (!isIn && each[0] >= name) {
      more.push(pair);
      isIn = true;
    }
    if (each[0] !== name) more.push(each);
  }
  if (!isIn) more.push(pair);
  return more;
}

/**
 * Labels of an exemplar: trace and span id go before attributes, which are left out together where they do not fit.
 *
 * @param exemplar Ids in hex, empty where there is none.
 * @returns undefined where a name comes twice.
 */
export function exemplarLabels(exemplar: {
  readonly traceId: string;
  readonly spanId: string;
  readonly attributes: readonly Attribute[];
}): Labels | undefined {
  const { traceId, spanId, attributes } = exemplar;
  const ids = new Map<string, string>();
  if (traceId !== "") ids.set("trace_id", traceId);
  if (spanId !== "") ids.set("span_id", spanId);
  const own = attributes.filter(({ key }) => !ids.has(key)).map((each) => [each.key, plainValue(each)] as const);
  let characters = 0;
  for (const [key, value] of [...ids, ...own]) characters += charactersOf(key) + charactersOf(value);
  const all = characters <= EXEMPLAR_CHARACTERS_MAX ? [...ids, ...own] : [...ids];
  const pairs = all.filter(([, value]) => value !== "").sort(([a], [b]) => (a < b ? -1 : 1));
  return new Set(pairs.map(([name]) => name)).size < pairs.length ? undefined : pairs;
}

/** Texts longer than the limit are not counted to their end. */
function charactersOf(text: string): number {
  return text.length > 2 * EXEMPLAR_CHARACTERS_MAX ? text.length : [...text].length;
}

function byKey(a: Attribute, b: Attribute): number {
  return a.key < b.key ? -1 : a.key > b.key ? 1 : 0;
}
