/**
 * Go's sort, which is not stable: which of equal values comes first depends on its steps.
 *
 * @see Orson Peters, Pattern-defeating Quicksort, 2021; Go, package sort
 */

/** So few members are sorted by insertion. */
const INSERTION_MAX = 12;

/** From so many members on the pivot is a median of medians, and pairs that are out of order are put right first. */
const LARGE = 50;

const PAIRS_MAX = 5;

/** Swaps in the search for a pivot that show a descending order. */
const SWAPS_MAX = 12;

/** Sorts in place. @param less Whether the first must come before the second; need not be an order. */
export function goSort<Member>(members: Member[], less: (a: Member, b: Member) => boolean): Member[] {
  const { length } = members;
  if (length > 1) new Sorter(members, less).sort(0, length, 32 - Math.clz32(length));
  return members;
}

/** Sorts parts of one list. Bounds are `[from, to)`. */
class Sorter<Member> {
  readonly #members: Member[];
  readonly #less: (a: Member, b: Member) => boolean;

  constructor(members: Member[], less: (a: Member, b: Member) => boolean) {
    this.#members = members;
    this.#less = less;
  }

  #isLess(i: number, j: number): boolean {
    return this.#less(this.#at(i), this.#at(j));
  }

  #at(index: number): Member {
    return this.#members[index] as Member; // every index lies in the list
  }

  #swap(i: number, j: number): void {
    const kept = this.#at(i);
    this.#members[i] = this.#at(j);
    this.#members[j] = kept;
  }

  /** @param badMax Unbalanced partitions until the heap is used. */
  sort(first: number, end: number, badMax: number): void {
    let [from, to, left] = [first, end, badMax];
    let wasBalanced = true;
    let wasPartitioned = true;
    for (;;) {
      const length = to - from;
      if (length <= INSERTION_MAX || left === 0) {
        if (length <= INSERTION_MAX) this.#insertionSort(from, to);
        else this.#heapSort(from, to);
        return;
      }
      if (!wasBalanced) {
        this.#breakPatterns(from, to);
        left--;
      }
      let { pivot, swaps } = this.#choosePivot(from, to);
      if (swaps === SWAPS_MAX) {
        this.#reverse(from, to);
        pivot = to - 1 - (pivot - from);
        swaps = 0;
      }
      if (wasBalanced && wasPartitioned && swaps === 0 && this.#sortsByFewSwaps(from, to)) return;
      if (from > 0 && !this.#isLess(from - 1, pivot)) {
        from = this.#partitionEqual(from, to, pivot);
        continue;
      }
      const { middle, isPartitioned } = this.#partition(from, to, pivot);
      wasPartitioned = isPartitioned;
      const [before, after] = [middle - from, to - middle];
      wasBalanced = Math.min(before, after) >= Math.trunc(length / 8);
      if (before < after) {
        this.sort(from, middle, left);
        from = middle + 1;
      } else {
        this.sort(middle + 1, to, left);
        to = middle;
      }
    }
  }

  #insertionSort(from: number, to: number): void {
    for (let i = from + 1; i < to; i++) {
      for (let j = i; j > from && this.#isLess(j, j - 1); j--) this.#swap(j, j - 1);
    }
  }

  #heapSort(from: number, to: number): void {
    const length = to - from;
    for (let i = Math.trunc((length - 1) / 2); i >= 0; i--) this.#siftDown(i, length, from);
    for (let i = length - 1; i >= 0; i--) {
      this.#swap(from, from + i);
      this.#siftDown(0, i, from);
    }
  }

  #siftDown(low: number, high: number, from: number): void {
    let root = low;
    for (let child = 2 * root + 1; child < high; child = 2 * root + 1) {
      if (child + 1 < high && this.#isLess(from + child, from + child + 1)) child++;
      if (!this.#isLess(from + root, from + child)) return;
      this.#swap(from + root, from + child);
      root = child;
    }
  }

  /** Smaller members before the pivot, others after it. */
  #partition(from: number, to: number, pivot: number): { middle: number; isPartitioned: boolean } {
    this.#swap(from, pivot);
    let [i, j] = [from + 1, to - 1];
    let isPartitioned = true;
    for (;;) {
      while (i <= j && this.#isLess(i, from)) i++;
      while (i <= j && !this.#isLess(j, from)) j--;
      if (i > j) break;
      isPartitioned = false;
      this.#swap(i++, j--);
    }
    this.#swap(j, from);
    return { middle: j, isPartitioned };
  }

  /** Members equal to the pivot, of which none is smaller, before the others. */
  #partitionEqual(from: number, to: number, pivot: number): number {
    this.#swap(from, pivot);
    let [i, j] = [from + 1, to - 1];
    for (;;) {
      while (i <= j && !this.#isLess(from, i)) i++;
      while (i <= j && this.#isLess(from, j)) j--;
      if (i > j) return i;
      this.#swap(i++, j--);
    }
  }

  /** Puts a few neighbours right; true where that was all. */
  #sortsByFewSwaps(from: number, to: number): boolean {
    let i = from + 1;
    for (let pair = 0; pair < PAIRS_MAX; pair++) {
      while (i < to && !this.#isLess(i, i - 1)) i++;
      if (i === to) return true;
      if (to - from < LARGE) return false;
      this.#swap(i, i - 1);
      if (i - from >= 2) for (let j = i - 1; j >= 1 && this.#isLess(j, j - 1); j--) this.#swap(j, j - 1);
      if (to - i >= 2) for (let j = i + 1; j < to && this.#isLess(j, j - 1); j++) this.#swap(j, j - 1);
    }
    return false;
  }

  /** Moves three members of the middle to places that depend on the length only. */
  #breakPatterns(from: number, to: number): void {
    const length = to - from;
    if (length < 8) return;
    let random = BigInt(length);
    const mask = (1n << BigInt(length.toString(2).length)) - 1n;
    const middle = from + Math.trunc(length / 4) * 2;
    for (let index = middle - 1; index <= middle + 1; index++) {
      random ^= BigInt.asUintN(64, random << 13n);
      random ^= random >> 7n;
      random ^= BigInt.asUintN(64, random << 17n);
      const other = Number(random & mask);
      this.#swap(index, from + (other >= length ? other - length : other));
    }
  }

  #choosePivot(from: number, to: number): { pivot: number; swaps: number } {
    const quarter = Math.trunc((to - from) / 4);
    const places = [from + quarter, from + quarter * 2, from + quarter * 3] as const;
    let swaps = 0;
    const median = (a: number, b: number, c: number): number => {
      let [low, middle, high] = [a, b, c];
      const order = (i: number, j: number): [number, number] => {
        if (!this.#isLess(j, i)) return [i, j];
        swaps++;
        return [j, i];
      };
      [low, middle] = order(low, middle);
      [middle, high] = order(middle, high);
      [low, middle] = order(low, middle);
      return middle;
    };
    const near = (place: number) => (to - from >= LARGE ? median(place - 1, place, place + 1) : place);
    const [a, b, c] = [near(places[0]), near(places[1]), near(places[2])];
    return { pivot: median(a, b, c), swaps };
  }

  #reverse(from: number, to: number): void {
    for (let [i, j] = [from, to - 1]; i < j; i++, j--) this.#swap(i, j);
  }
}
