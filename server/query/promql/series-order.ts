/** Selected series and results in the order of their labels, which the same series mostly were asked for before. */

import type { Labels } from "../../model/series.ts";
import { areKept } from "./kept-labels.ts";
import { compareLabels } from "./series-labels.ts";

/** Places that are remembered, of all selections and results together. */
const PLACES_MAX = 131_072;
/** Fewer are sorted at once. */
const SERIES_MIN = 32;

interface Order {
  /** Labels as they came. */
  readonly labels: readonly Labels[];
  /** For each place the series that belongs there. */
  readonly from: Uint32Array;
}

/** By the labels that came first: a selection that comes again comes in the same order. */
const selections = new Map<Labels, Order>();
/** The same of results, which hold some of those series, or all in another order. */
const results = new Map<Labels, Order>();
let places = 0;

/** Lets go of all places: labels that come from here on are other objects. */
export function forgetOrders(): void {
  selections.clear();
  results.clear();
  places = 0;
}

/** The same selected series, sorted. */
export function inOrderOfLabels<Series extends { readonly labels: Labels }>(series: readonly Series[]): Series[] {
  return inOrder(series, selections);
}

/** The same series of a result, sorted. */
export function resultInOrder<Series extends { readonly labels: Labels }>(series: readonly Series[]): Series[] {
  const first = series[0]?.labels;
  // Labels that come to no other query are looked for in vain.
  return first === undefined || !areKept(first) ? sorted(series) : inOrder(series, results);
}

function inOrder<Series extends { readonly labels: Labels }>(
  series: readonly Series[],
  orders: Map<Labels, Order>,
): Series[] {
  const first = series[0]?.labels;
  if (first === undefined || series.length < SERIES_MIN || series.length > PLACES_MAX) return sorted(series);
  const known = orders.get(first);
  const from = known !== undefined && isOf(known, series) ? known.from : note(first, series, orders);
  const out: Series[] = [];
  for (let i = 0; i < from.length; i++) out.push(series[from[i] as number] as Series); // in range: a place for each
  return out;
}

function sorted<Series extends { readonly labels: Labels }>(series: readonly Series[]): Series[] {
  return series.toSorted((a, b) => compareLabels(a.labels, b.labels));
}

function isOf({ labels }: Order, series: readonly { readonly labels: Labels }[]): boolean {
  if (labels.length !== series.length) return false;
  for (let i = 0; i < labels.length; i++) if (labels[i] !== series[i]?.labels) return false;
  return true;
}

function note(first: Labels, series: readonly { readonly labels: Labels }[], orders: Map<Labels, Order>): Uint32Array {
  const labels = series.map((one) => one.labels);
  const from = new Uint32Array(series.length);
  for (let i = 0; i < from.length; i++) from[i] = i;
  const nothing: Labels = [];
  from.sort((a, b) => compareLabels(labels[a] ?? nothing, labels[b] ?? nothing) || a - b);
  const before = orders.get(first);
  places += labels.length - (before?.labels.length ?? 0);
  if (places > PLACES_MAX) {
    forgetOrders();
    places = labels.length;
  }
  orders.set(first, { labels, from });
  return from;
}
