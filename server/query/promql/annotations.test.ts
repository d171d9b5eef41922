import assert from "node:assert/strict";
import { test } from "node:test";
import { Annotations } from "./annotations.ts";

const at = (start: number) => ({ start, end: start + 1 });

test("a text is said once, with the last of its places, and details are added up", () => {
  const annotations = new Annotations("a +\nb");
  annotations.warn("one", at(0));
  annotations.warn("one", at(4));
  annotations.warn("two", at(0), { kind: "start_overlap", occurrences: 1 });
  annotations.warn("two", at(0), { kind: "start_overlap", occurrences: 1 });
  assert.deepEqual(annotations.warnings, ["PromQL warning: one (2:1)", "PromQL warning: two (2 occurrences) (1:1)"]);
  const lifted = { kind: "forced_monotonic", minBound: 0.1, maxBound: 0.5, maxDifference: 0.25, samples: 1n } as const;
  annotations.info("fixed", at(0), { ...lifted, minMs: 0, maxMs: 0 });
  annotations.info("fixed", at(4), { ...lifted, minMs: 60_999, maxMs: 60_999, maxBound: 2_000_000 });
  assert.deepEqual(annotations.infos, [
    "PromQL info: fixed, from buckets 0.1 to 2e+06, with a max diff of 0.25, over 2 samples from 1970-01-01T00:00:00Z to 1970-01-01T00:01:00Z (1:1)",
  ]);
});

test("ten of a kind are shown, the others counted", () => {
  const annotations = new Annotations("a");
  for (let i = 0; i < 1500; i++) annotations.info(`number ${i}`, at(0));
  assert.equal(annotations.infos.length, 11);
  assert.equal(annotations.infos[10], "1490 more info annotations omitted");
});
