import assert from "node:assert/strict";
import { test } from "node:test";
import { printFixed, printGeneral } from "./number-text.ts";

test("numbers as Go's %g writes them", () => {
  const prints = (value: number, text: string, digits?: number) => assert.equal(printGeneral(value, digits), text);
  prints(0.1, "0.1");
  prints(123_456, "123456");
  prints(1_234_567, "1.234567e+06");
  prints(100_000, "1e+05", 2);
  prints(-2.5e-7, "-2.5e-07");
  prints(0.0001, "0.0001");
  prints(0.000123456789, "0.00012", 2);
  prints(1e21, "1e+21");
  prints(Number.POSITIVE_INFINITY, "+Inf");
  prints(Number.NaN, "NaN");
  prints(-0, "-0");
});

test("numbers as Go's %f writes them", () => {
  assert.equal(printFixed(2), "2.000000");
  assert.equal(printFixed(-0.1234567), "-0.123457");
  assert.equal(printFixed(1e22), "10000000000000000000000.000000");
  assert.equal(printFixed(Number.NEGATIVE_INFINITY), "-Inf");
});
