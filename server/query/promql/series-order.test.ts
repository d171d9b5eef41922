import assert from "node:assert/strict";
import { test } from "node:test";
import type { Labels } from "../../model/series.ts";
import { keepLabels } from "./kept-labels.ts";
import { inOrderOfLabels, resultInOrder } from "./series-order.ts";

test("series come in the order of their labels, also where others with the same first one came before", () => {
  const labelsOf = (number: number): Labels => [["n", String(number).padStart(3, "0")]];
  const all = Array.from({ length: 40 }, (_, i) => ({ labels: labelsOf((i * 7) % 40), of: "first" }));
  const wanted = (series: typeof all) => series.map(({ labels }) => labels[0]?.[1]).sort();
  const told = (series: typeof all) => inOrderOfLabels(series).map(({ labels }) => labels[0]?.[1]);
  assert.deepEqual(told(all), wanted(all));
  const again = all.map(({ labels }) => ({ labels, of: "second" }));
  assert.deepEqual(told(again), wanted(all));
  assert.ok(inOrderOfLabels(again).every(({ of }) => of === "second"));
  const others = [...all.slice(0, 39), { labels: labelsOf(99), of: "third" }];
  assert.deepEqual(told(others), wanted(others));
  assert.deepEqual(told(all.slice(0, 36)), wanted(all.slice(0, 36)));
  assert.deepEqual(told(all), wanted(all));
});

test("results come in the order of their labels, whichever of the selected series they are", () => {
  const all = Array.from({ length: 40 }, (_, i) => {
    const labels: Labels = [["n", String((i * 7) % 40).padStart(3, "0")]];
    return { labels };
  });
  const told = (series: typeof all) => resultInOrder(series).map(({ labels }) => labels[0]?.[1]);
  const wanted = (series: typeof all) => series.map(({ labels }) => labels[0]?.[1]).sort();
  for (let times = 0; times < 2; times++) {
    for (const series of [all, all.slice(0, 35), inOrderOfLabels(all), inOrderOfLabels(all).slice(2)]) {
      assert.deepEqual(told(series), wanted(series));
    }
    for (const { labels } of all) keepLabels(labels);
  }
});
