/**
 * Labels that come to a thread again with later queries as the same object, and what was made of them: their form without
 * the name, the key of the group that they were last put into, what they became joined with others, their key and JSON.
 *
 * Invariant: an entry is added for labels that never change; all go at once when the thread forgets the labels.
 */

import type { Labels } from "../../model/series.ts";

/** JSON that is kept, all together. */
const JSON_BYTES_MAX = 8 * 2 ** 20;
/** Characters of keys that are kept, all together. */
const KEY_UNITS_MAX = 4 * 2 ** 20;
/** Many small texts lie in one buffer: one of its own takes more than the text. */
const PAGE_BYTES = 2 ** 16;

interface Kept {
  nameless: Labels | undefined;
  json: Uint8Array | undefined;
  groupedBy: string;
  groupKey: string;
  /** Labels of that group; undefined where nobody asked since it was found. */
  groupLabels: Labels | undefined;
  key: string | undefined;
  /** What they became joined with others, and how. */
  joined: Labels | undefined;
  joinedWith: Labels | undefined;
  joinedBy: string;
  isJoinedKept: boolean;
}

let kept = new WeakMap<Labels, Kept>();
let jsonBytes = 0;
let keyUnits = 0;
let page = new Uint8Array(0);
let pageUsed = 0;

/** From here on what is made of these labels is kept. */
export function keepLabels(labels: Labels): void {
  kept.set(labels, {
    nameless: undefined,
    json: undefined,
    groupedBy: "",
    groupKey: "",
    groupLabels: undefined,
    key: undefined,
    joined: undefined,
    joinedWith: undefined,
    joinedBy: "",
    isJoinedKept: false,
  });
}

/** Whether what is made of these labels is kept. */
export function areKept(labels: Labels): boolean {
  return kept.has(labels);
}

/** Lets go of all of it. */
export function forgetKeptLabels(): void {
  kept = new WeakMap();
  jsonBytes = 0;
  keyUnits = 0;
  page = new Uint8Array(0);
  pageUsed = 0;
}

/** Labels without their name, made by `make` where that was not done before. */
export function keptNameless(labels: Labels, make: (labels: Labels) => Labels): Labels {
  const one = kept.get(labels);
  if (one === undefined) return make(labels);
  if (one.nameless === undefined) {
    one.nameless = make(labels);
    if (one.nameless !== labels) keepLabels(one.nameless);
  }
  return one.nameless;
}

/** Key of labels that a grouping makes, by `make` where that was not done since labels were grouped otherwise. @param grouping Tells it from others; not empty. */
export function keptGroupKey(labels: Labels, grouping: string, make: () => string): string {
  const one = kept.get(labels);
  if (one === undefined) return make();
  if (one.groupedBy !== grouping) {
    one.groupKey = make();
    one.groupedBy = grouping;
    one.groupLabels = undefined;
  }
  return one.groupKey;
}

/** Labels of the group whose key was asked for last, by `make` where they were not made since. */
export function keptGroupLabels(labels: Labels, grouping: string, make: (labels: Labels) => Labels): Labels {
  const one = kept.get(labels);
  if (one === undefined || one.groupedBy !== grouping) return make(labels);
  one.groupLabels ??= make(labels);
  return one.groupLabels;
}

/**
 * Labels of the result of an operator with others, by `make` where that was not done last.
 *
 * What is made of them is kept from the second time on: others that an aggregation made are new in each query, and keys
 * and JSON for those would take up all room for none to find.
 *
 * @param joining Tells the operator from others; not empty.
 */
export function keptJoined(labels: Labels, others: Labels, joining: string, make: () => Labels): Labels {
  const one = kept.get(labels);
  if (one === undefined) return make();
  if (one.joined === undefined || one.joinedWith !== others || one.joinedBy !== joining) {
    one.joined = make();
    one.joinedWith = others;
    one.joinedBy = joining;
    one.isJoinedKept = false;
  } else if (!one.isJoinedKept) {
    one.isJoinedKept = true;
    if (!kept.has(one.joined)) keepLabels(one.joined);
  }
  return one.joined;
}

/** Key of all labels, by `make` where none is kept. */
export function keptKey(labels: Labels, make: (labels: Labels) => string): string {
  const one = kept.get(labels);
  if (one?.key !== undefined) return one.key;
  const key = make(labels);
  if (one === undefined || keyUnits + key.length > KEY_UNITS_MAX) return key;
  keyUnits += key.length;
  one.key = key;
  return key;
}

/** JSON of labels; undefined where none is kept. The caller only reads it. */
export function keptJson(labels: Labels): Uint8Array | undefined {
  return kept.get(labels)?.json;
}

/** Keeps a copy of JSON for labels that are kept, where there is room. */
export function keepJson(labels: Labels, json: Uint8Array): void {
  const one = kept.get(labels);
  if (one === undefined || json.length > PAGE_BYTES / 8 || jsonBytes + json.length > JSON_BYTES_MAX) return;
  jsonBytes += json.length;
  if (pageUsed + json.length > page.length) {
    page = new Uint8Array(PAGE_BYTES);
    pageUsed = 0;
  }
  one.json = page.subarray(pageUsed, pageUsed + json.length);
  one.json.set(json);
  pageUsed += json.length;
}
