import assert from "node:assert/strict";
import { test } from "node:test";
import { systemClock } from "./system-clock.ts";

test("nanoseconds run with the wall clock and tell readings of one millisecond apart", () => {
  const clock = systemClock();
  let last = clock.nowUnixNano();
  for (let reading = 0; reading < 1000; reading++) {
    const now = clock.nowUnixNano();
    assert.ok(now > last);
    assert.ok(Math.abs(Number(now / 1_000_000n) - Date.now()) <= 5);
    last = now;
  }
});

test("a wall clock that steps is followed", (t) => {
  const clock = systemClock();
  t.mock.method(Date, "now", () => 1_000_000);
  assert.ok(Math.abs(Number(clock.nowUnixNano() / 1_000_000n) - 1_000_000) <= 5);
});
