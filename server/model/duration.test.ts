import assert from "node:assert/strict";
import { test } from "node:test";
import { parseDurationMs, printDurationMs } from "./duration.ts";

test("durations are read in Prometheus' form and printed so that they read the same", () => {
  const ok = (text: string, wantMs: number, printed = text) => {
    assert.equal(parseDurationMs(text), wantMs);
    assert.equal(printDurationMs(wantMs), printed);
  };
  ok("15d", 1_296_000_000);
  ok("1h30m", 5_400_000);
  ok("1d1ms", 86_400_001);
  ok("1y2w", 32_745_600_000, "379d");
  for (const text of ["", "5", "1m2h", "1h1h", "1.5h", "-1s", "300y"]) assert.equal(parseDurationMs(text), undefined);
});
