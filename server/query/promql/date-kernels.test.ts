import assert from "node:assert/strict";
import { test } from "node:test";
import { DATE_KERNELS } from "./date-kernels.ts";

const NAMES = ["year", "month", "day_of_month", "day_of_week", "day_of_year", "days_in_month", "hour", "minute"];

test("parts of dates, also where JavaScript has none", () => {
  const ok = (seconds: number, ...parts: number[]) =>
    assert.deepEqual(
      NAMES.map((name) => DATE_KERNELS.get(name)?.(seconds)),
      parts,
      String(seconds),
    );
  ok(0, 1970, 1, 1, 4, 1, 31, 0, 0);
  ok(-1.5, 1969, 12, 31, 3, 365, 31, 23, 59);
  ok(951_782_400, 2000, 2, 29, 2, 60, 29, 0, 0);
  ok(8_640_000_000_001, 275_760, 9, 13, 6, 257, 30, 0, 0);
  ok(-8_640_000_000_001, -271_821, 4, 19, 1, 109, 30, 23, 59);
  // As Go on amd64: what is no 64-bit integer is the least one, and lies beyond the last year that is counted.
  for (const none of [Number.NaN, Number.POSITIVE_INFINITY, -1e300])
    ok(none, 292_277_026_596, 12, 4, 0, 339, 31, 15, 30);
});
