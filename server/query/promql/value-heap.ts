/**
 * The heap by which Prometheus picks series: which of several equal values stay, and in which order, depends on it.
 *
 * @see Go, container/heap
 */

import { goSort } from "./go-sort.ts";

/** Whether `a` comes before `b`; need not be an order where values are NaN. */
export type Less = (a: number, b: number) => boolean;

/** Adds a member. */
export function pushHeap(heap: number[], member: number, less: Less): void {
  heap.push(member);
  siftUp(heap, heap.length - 1, less);
}

/** Puts a member in place of the first. */
export function replaceTop(heap: number[], member: number, less: Less): void {
  heap[0] = member;
  siftDown(heap, 0, less);
}

function swap(heap: number[], i: number, j: number): void {
  const [a, b] = [heap[i], heap[j]];
  if (a === undefined || b === undefined) return;
  heap[i] = b;
  heap[j] = a;
}

function isLess(heap: readonly number[], i: number, j: number, less: Less): boolean {
  const [a, b] = [heap[i], heap[j]];
  return a !== undefined && b !== undefined && less(a, b);
}

function siftUp(heap: number[], from: number, less: Less): void {
  let at = from;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    if (!isLess(heap, at, parent, less)) return;
    swap(heap, parent, at);
    at = parent;
  }
}

function siftDown(heap: number[], from: number, less: Less): void {
  let at = from;
  for (;;) {
    const left = 2 * at + 1;
    if (left >= heap.length) return;
    const right = left + 1;
    const child = right < heap.length && isLess(heap, right, left, less) ? right : left;
    if (!isLess(heap, child, at, less)) return;
    swap(heap, at, child);
    at = child;
  }
}

/** Sorts a heap in place, last first. */
export function sortDescending(heap: number[], less: Less): number[] {
  return goSort(heap, (a, b) => less(b, a));
}
