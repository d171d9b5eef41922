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

// Members are in range: places of the heap. No pairs of them are made, each of which would be an object.

function siftUp(heap: number[], from: number, less: Less): void {
  const member = heap[from] as number;
  let at = from;
  while (at > 0) {
    const parent = (at - 1) >> 1;
    const above = heap[parent] as number;
    if (!less(member, above)) break;
    heap[at] = above;
    at = parent;
  }
  heap[at] = member;
}

function siftDown(heap: number[], from: number, less: Less): void {
  const member = heap[from] as number;
  let at = from;
  for (;;) {
    const left = 2 * at + 1;
    if (left >= heap.length) break;
    const right = left + 1;
    const isRight = right < heap.length && less(heap[right] as number, heap[left] as number);
    const child = isRight ? right : left;
    const below = heap[child] as number;
    if (!less(below, member)) break;
    heap[at] = below;
    at = child;
  }
  heap[at] = member;
}

/** Sorts a heap in place, last first. */
export function sortDescending(heap: number[], less: Less): number[] {
  return goSort(heap, (a, b) => less(b, a));
}
