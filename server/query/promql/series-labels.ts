/** Label sets of results: order, equality, dropping, printing. */

import { quoteGo } from "../../../grammar/promql-error.ts";
import type { Labels } from "../../model/series.ts";
import { keptNameless } from "./kept-labels.ts";

/** The label that holds a metric's name. */
export const METRIC_NAME = "__name__";
/** The label that holds what kind of metric it is, where types are labels. */
export const METRIC_TYPE = "__type__";

/** Most names do not begin with it, which is seen at once. */
const UNDERSCORE = 0x5f;

/** Cannot occur in text that was UTF-8, so keys of different label sets differ. */
const AFTER_NAME = "\ud800";
const AFTER_VALUE = "\ud801";

/** Value of a label; empty where it is missing. */
export function labelValue(labels: Labels, name: string): string {
  for (const [key, value] of labels) if (key === name) return value;
  return "";
}

/** Text that is equal for equal label sets only. */
export function labelsKey(labels: Labels): string {
  let key = "";
  for (const [name, value] of labels) key += name + AFTER_NAME + value + AFTER_VALUE;
  return key;
}

/** Key of the labels that `keep` lets pass. */
export function partialKey(labels: Labels, keep: (name: string) => boolean): string {
  let key = "";
  for (const [name, value] of labels) if (keep(name)) key += name + AFTER_NAME + value + AFTER_VALUE;
  return key;
}

/** Labels that `keep` lets pass. */
export function filterLabels(labels: Labels, keep: (name: string) => boolean): Labels {
  return labels.filter(([name]) => keep(name));
}

/** Labels that describe the metric itself: gone whenever a value no longer is that metric. */
export function isMetricLabel(name: string): boolean {
  return name.charCodeAt(0) === UNDERSCORE && (name === METRIC_NAME || name === METRIC_TYPE || name === "__unit__");
}

/** Labels without the name. */
export function dropMetricName(labels: Labels): Labels {
  return keptNameless(labels, filterMetricName);
}

function filterMetricName(labels: Labels): Labels {
  return labels.some(([name]) => isMetricLabel(name)) ? filterLabels(labels, (name) => !isMetricLabel(name)) : labels;
}

/** Labels with one set, replaced or, where `value` is empty, removed. */
export function setLabel(labels: Labels, name: string, value: string): Labels {
  const rest = labels.filter(([key]) => key !== name);
  if (value === "") return rest;
  const at = rest.findIndex(([key]) => key > name);
  rest.splice(at === -1 ? rest.length : at, 0, [name, value]);
  return rest;
}

/** Byte order of the UTF-8 forms. */
export function compareText(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const left = a.charCodeAt(i);
    const right = b.charCodeAt(i);
    if (left === right) continue;
    const leftHigh = left >= 0xd800 && left < 0xe000;
    const rightHigh = right >= 0xd800 && right < 0xe000;
    if (leftHigh !== rightHigh) return leftHigh ? 1 : -1;
    return left - right;
  }
  return a.length - b.length;
}

/** Order of results: label by label, name then value; a set that is the beginning of another comes first. */
export function compareLabels(a: Labels, b: Labels): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const left = a[i];
    const right = b[i];
    // Most pairs of series that are sorted are equal, and one object.
    if (left === right || left === undefined || right === undefined) continue;
    if (left[0] !== right[0]) return compareText(left[0], right[0]);
    if (left[1] !== right[1]) return compareText(left[1], right[1]);
  }
  return a.length - b.length;
}

/** `{a="b", c="d"}`, as errors show it. */
export function printLabels(labels: Labels): string {
  const inside = labels.map(([name, value]) => {
    const plain = /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(name);
    return `${plain ? name : quoteGo(name)}=${quoteGo(value)}`;
  });
  return `{${inside.join(", ")}}`;
}
