import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { goSort } from "./go-sort.ts";

/** Keys of a list, and in which order Go 1.26 puts its members when it sorts them by key. */
const RECORDED = readFileSync(new URL("./testdata/go-sort.txt", import.meta.url), "utf8");

test("equal members come in the order in which Go leaves them", () => {
  for (const line of RECORDED.trim().split("\n")) {
    const [keys = [], order] = line.split("|").map((part) => part.trim().split(" ").map(Number));
    const sorted = goSort([...keys.keys()], (a, b) => (keys[a] ?? 0) < (keys[b] ?? 0));
    assert.deepEqual(sorted, order);
  }
});

test("lists that are hard for a quicksort are sorted", () => {
  for (const length of [0, 1, 13, 1000]) {
    const keys = Array.from({ length }, (_, i) => (i * 7919) % 101);
    assert.deepEqual(
      goSort([...keys], (a, b) => a < b),
      keys.toSorted((a, b) => a - b),
    );
  }
});
