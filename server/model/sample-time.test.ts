import assert from "node:assert/strict";
import { test } from "node:test";
import { parseSampleTimeMs } from "./sample-time.ts";

test("times of samples() are dates, or numbers whose size tells their unit", () => {
  const gives = (value: unknown, ms: number | undefined) =>
    assert.equal(parseSampleTimeMs(value), ms, JSON.stringify(value));
  gives(0, 0);
  gives(1_700_000_000, 1_700_000_000_000);
  gives("1700000000.25", 1_700_000_000_250);
  gives(1_700_000_000_000, 1_700_000_000_000);
  gives("1700000000000000", 1_700_000_000_000);
  gives("1700000000000000000", 1_700_000_000_000);
  gives(-1_700_000_000_000, -1_700_000_000_000);
  gives("2023-11-14T22:13:20Z", 1_700_000_000_000);
  gives("2023-11-14 22:13:20", 1_700_000_000_000);
  gives("2023-11-15T00:13:20+02:00", 1_700_000_000_000);
  gives("2023-11-14T22:13:20.000000000Z", 1_700_000_000_000);
  gives("2023-11-14", 1_699_920_000_000);
  gives("now", undefined);
  gives("", undefined);
  gives("2023-13-45T00:00:00Z", undefined);
  gives(Number.NaN, undefined);
  gives(null, undefined);
  gives(true, undefined);
});
