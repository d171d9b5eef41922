/**
 * Labels of series made of OpenTelemetry's metrics: of a point from its own attributes, its scope and its resource, of
 * `target_info` from the resource's attributes; and the labels of exemplars.
 *
 * Invariants: `begin` comes first, `startResource` and `startScope` before the points of each. An attribute of a point goes
 * before one of its resource that is promoted; `job`, `instance` and what scope and metric give go before both.
 */

import { quotedText } from "../model/labels-text.ts";
import type { Labels, MetricMetadata } from "../model/series.ts";
import type { Attribute, Scope } from "../model/span-batch.ts";
import type { OtlpRest } from "./otlp-rest.ts";
import { DEFAULT_TRANSLATION, escapesNames, type OtlpTranslation } from "./otlp-translation.ts";
import { plainValue } from "./plain-value.ts";
import { prometheusLabelName } from "./prometheus-names.ts";
import { checkLabels, type LabelFault } from "./series-labels.ts";
import { takeUnits, type WireBudget, wireBudget } from "./wire-budget.ts";

/** The metric of a resource's attributes. */
export const TARGET_INFO = "target_info";
const NAME = "__name__";
const TYPE = "__type__";
const UNIT = "__unit__";
const JOB = "job";
const INSTANCE = "instance";
/** Attributes of a resource that make `job` and `instance`. */
const IDENTIFYING: ReadonlySet<string> = new Set(["service.namespace", "service.name", "service.instance.id"]);
const SCOPE_PREFIX = "otel_scope_";
const LABEL_NAMES_KNOWN_MAX = 4_096;
/** UTF-8 characters of an exemplar's labels; attributes that do not fit are left out. */
const EXEMPLAR_CHARACTERS_MAX = 128;
/** Labels of one request that are known to be made of several attributes. */
const COLLISIONS_MAX = 1_000;
/** Of so many the sender is told, with so many keys of so many UTF-16 units each. */
const COLLISIONS_TOLD_MAX = 10;
const KEYS_TOLD_MAX = 10;
const KEY_UNITS_TOLD_MAX = 100;

/** Labels, or what is wrong with them. */
type LabelsOrFault = Labels | LabelFault["reason"];

/** Whose attributes become labels. */
type Source = "data point" | "resource";

/** Makes labels of one resource after another. */
export class OtlpLabels {
  /** What labels that a series gets beside its point's own are taken from, one unit each. */
  #budget: WireBudget = wireBudget();
  #translation: OtlpTranslation = DEFAULT_TRANSLATION;
  #escapes = true;
  readonly #names = new Map<string, string | undefined>();
  #resource: readonly Attribute[] = [];
  #job = "";
  #instance = "";
  /** Labels of every series of the resource; undefined where an attribute gives none. */
  #promoted: ReadonlyMap<string, string> | undefined = new Map();
  #scope: ReadonlyMap<string, string> = new Map();
  /** Type and unit of the metric, where series tell them. */
  #metric: (readonly [name: string, value: string])[] = [];
  #collisions = new Set<string>();
  #told: string[] = [];

  /** Begins a request. */
  begin(translation: OtlpTranslation, budget: WireBudget): void {
    if (translation !== this.#translation) this.#names.clear();
    this.#translation = translation;
    this.#escapes = escapesNames(translation.strategy);
    this.#budget = budget;
    this.#collisions = new Set();
    this.#told = [];
    this.#metric = [];
    this.startResource([]);
  }

  /** Labels of the request that several attributes of a point or resource became. */
  get collisions(): number {
    return this.#collisions.size;
  }

  /** What the sender is told of those. */
  get told(): readonly string[] {
    return this.#told;
  }

  /** Begins a resource, whose attributes stay as they are. */
  startResource(attributes: readonly Attribute[]): void {
    this.#resource = attributes;
    const namespace = attributes.find(({ key }) => key === "service.namespace");
    const service = attributes.find(({ key }) => key === "service.name");
    const instance = attributes.find(({ key }) => key === "service.instance.id");
    const job = service === undefined ? "" : plainValue(service);
    this.#job = service === undefined || namespace === undefined ? job : `${plainValue(namespace)}/${job}`;
    this.#instance = instance === undefined ? "" : plainValue(instance);
    const { all, keys } = this.#translation.promoted;
    this.#promoted = this.#lastOf(attributes.filter(({ key }) => keys.has(key) !== all));
    this.#scope = new Map();
  }

  /** Begins a scope of the resource. */
  startScope({ name, version }: Scope, rest: OtlpRest | undefined): void {
    this.#scope = new Map();
    if (!this.#translation.promoteScope || name === "") return;
    const attributes = rest?.attributes ?? [];
    // With their prefix all of them have a name.
    const labels = new Map(this.#lastOf(attributes.map((each) => ({ ...each, key: SCOPE_PREFIX + each.key }))));
    labels.set("otel_scope_name", name);
    labels.set("otel_scope_version", version);
    labels.set("otel_scope_schema_url", rest?.schemaUrl ?? "");
    this.#scope = labels;
  }

  /** Begins a metric of the scope. */
  startMetric({ type, unit }: MetricMetadata): void {
    if (!this.#translation.typeAndUnitLabels) return;
    this.#metric = [[TYPE, type]];
    if (unit !== "") this.#metric.push([UNIT, unit]);
  }

  /** Labels of a point of the metric `name`. @throws WireError where the request makes too many */
  ofPoint(attributes: readonly Attribute[], name: string): LabelsOrFault {
    const promoted = this.#promoted;
    const byName = promoted === undefined ? undefined : this.#joined(attributes, "data point");
    if (promoted === undefined || byName === undefined) return "labels_invalid";
    takeUnits(this.#budget, promoted.size + this.#scope.size + this.#metric.length, 0);
    for (const [label, value] of promoted) if (!byName.get(label)) byName.set(label, value);
    this.#identify(byName);
    for (const [label, value] of this.#scope) byName.set(label, value);
    for (const [label, value] of this.#metric) byName.set(label, value);
    return checked(byName, name);
  }

  /** Labels of the resource's `target_info`; undefined where it has none. */
  ofTarget(): LabelsOrFault | undefined {
    const others = this.#resource.filter(({ key }) => !IDENTIFYING.has(key));
    if (others.length === 0) return undefined;
    const byName = this.#joined(this.#translation.keepIdentifying ? this.#resource : others, "resource");
    if (byName === undefined) return "labels_invalid";
    this.#identify(byName);
    const labels = checked(byName, TARGET_INFO);
    // An attribute of that name will do.
    const isNamed = typeof labels === "string" || labels.some(([name]) => name === JOB || name === INSTANCE);
    return isNamed ? labels : undefined;
  }

  #identify(byName: Map<string, string>): void {
    if (this.#job !== "") byName.set(JOB, this.#job);
    if (this.#instance !== "") byName.set(INSTANCE, this.#instance);
  }

  /** Attributes in order of their keys; values of those that become one label are joined. */
  #joined(attributes: readonly Attribute[], source: Source): Map<string, string> | undefined {
    const byName = new Map<string, string>();
    const sorted = attributes.length < 2 ? attributes : attributes.toSorted(byKey);
    for (const attribute of sorted) {
      if (attribute.key === NAME) continue;
      const name = this.#nameOf(attribute.key);
      if (name === undefined) return undefined;
      const value = plainValue(attribute);
      const before = byName.get(name) ?? "";
      if (before !== "") this.#collide(name, sorted, source);
      byName.set(name, before === "" ? value : `${before};${value}`);
    }
    return byName;
  }

  /** Values by label; of attributes that become one label the last counts. */
  #lastOf(attributes: readonly Attribute[]): ReadonlyMap<string, string> | undefined {
    const byName = new Map<string, string>();
    for (const attribute of attributes) {
      const name = this.#nameOf(attribute.key);
      if (name === undefined) return undefined;
      byName.set(name, plainValue(attribute));
    }
    return byName;
  }

  #nameOf(key: string): string | undefined {
    if (!this.#escapes) return key;
    if (!this.#names.has(key)) {
      if (this.#names.size > LABEL_NAMES_KNOWN_MAX) this.#names.clear();
      this.#names.set(key, prometheusLabelName(key, this.#translation.labels));
    }
    return this.#names.get(key);
  }

  /** Remembers a label that several attributes became, once a request. */
  #collide(label: string, sorted: readonly Attribute[], source: Source): void {
    const collisions = this.#collisions;
    if (collisions.has(label) || collisions.size >= COLLISIONS_MAX) return;
    collisions.add(label);
    if (this.#told.length >= COLLISIONS_TOLD_MAX) return;
    const keys = sorted.filter(({ key }) => key !== NAME && this.#nameOf(key) === label).map(({ key }) => key);
    const told = keys.slice(0, KEYS_TOLD_MAX).map((key) => quotedText(key.slice(0, KEY_UNITS_TOLD_MAX)));
    if (keys.length > told.length) told.push("…");
    const name = quotedText(label.slice(0, KEY_UNITS_TOLD_MAX));
    this.#told.push(
      `OTLP ${source} attributes ${told.join(", ")} collide as label ${name} after name sanitization, values are concatenated with ';'`,
    );
  }
}

function checked(byName: Map<string, string>, name: string): LabelsOrFault {
  byName.set(NAME, name);
  const { labels, fault } = checkLabels([...byName], true);
  return fault?.reason ?? labels;
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
