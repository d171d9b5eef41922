import assert from "node:assert/strict";
import { test } from "node:test";
import { mixtureQuantile } from "./latency-mixture.ts";
import { normalizeTraceId } from "./trace.ts";

test("normalizeTraceId", () => {
  const id = (text: string, want: string | undefined) => assert.equal(normalizeTraceId(text), want, text);
  id("0AF7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319c");
  id("af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319c");
  id("1", `${"0".repeat(31)}1`);
  id("0", undefined);
  id("", undefined);
  id("g1", undefined);
  id("0af7651916cd43dd8448eb211c80319c0", undefined);
  id("0af76519-16cd-43dd-8448-eb211c80319c", undefined);
});

test("percentiles of equal minutes are the minutes' own", () => {
  const part = { requests: 10, p50Ms: 3, p95Ms: 20, p99Ms: 80 };
  assert.equal(mixtureQuantile([part, part], 0.5), 3);
  assert.equal(mixtureQuantile([part, part], 0.95), 20);
  assert.equal(mixtureQuantile([part], 0.99), 80);
  assert.equal(mixtureQuantile([], 0.99), null);
});

test("a slow minute with few requests moves the tail, not the middle", () => {
  const fast = { requests: 970, p50Ms: 10, p95Ms: 12, p99Ms: 14 };
  const slow = { requests: 30, p50Ms: 1000, p95Ms: 1200, p99Ms: 1300 };
  const median = mixtureQuantile([fast, slow], 0.5) ?? 0;
  assert.ok(median >= 10 && median < 10.2, String(median));
  const p99 = mixtureQuantile([fast, slow], 0.99) ?? 0;
  assert.ok(p99 > 500 && p99 < 1300, String(p99));
});
