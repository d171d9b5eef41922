/**
 * The heap by which Prometheus picks series: which of several equal values stay, and in which order, depends on it.
 *
 * @see Go, container/heap
 */

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

/** Longer lists than this Go does not sort by insertion; which of equal values comes first is then not looked at. */
const INSERTION_MAX = 12;

/** Sorts a heap in place, last first. */
export function sortDescending(heap: number[], less: Less): number[] {
  if (heap.length > INSERTION_MAX) {
    return heap.sort((a, b) => {
      const [before, after] = [less(b, a), less(a, b)];
      return before === after ? 0 : before ? -1 : 1;
    });
  }
  for (let i = 1; i < heap.length; i++) {
    for (let j = i; j > 0 && isLess(heap, j - 1, j, less); j--) swap(heap, j, j - 1);
  }
  return heap;
}
