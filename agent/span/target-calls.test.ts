import assert from "node:assert/strict";
import { test } from "node:test";
import { TargetCalls } from "./target-calls.ts";

test("a target that is called outside of requests in more than one of fifty calls is background work's too", () => {
  const calls = new TargetCalls();
  assert.equal(calls.isBackground(1, false), true);
  for (let call = 1; call < 49; call++) assert.equal(calls.isBackground(1, true), true, `${call} inside`);
  assert.equal(calls.isBackground(1, true), false);
  assert.equal(calls.isBackground(2, true), false);
});

test("what a target was long ago counts less", () => {
  const calls = new TargetCalls();
  for (let call = 0; call < 999; call++) calls.isBackground(1, false);
  let inside = 0;
  while (calls.isBackground(1, true)) inside++;
  // Without forgetting it would take 49 calls for each of the 999.
  assert.ok(inside < 6_000, `${inside} calls`);
});

test("the target that was seen first is forgotten for the 513th", () => {
  const calls = new TargetCalls();
  for (let target = 0; target < 512; target++) calls.isBackground(target, false);
  assert.equal(calls.isBackground(0, true), true);
  calls.isBackground(512, true);
  assert.equal(calls.isBackground(0, true), false);
});
