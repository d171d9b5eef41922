import assert from "node:assert/strict";
import { test } from "node:test";
import { parseGoNumber, printBound, printFixed, printGeneral } from "./number-text.ts";

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

test("a number half-way between two shorter ones becomes the even one", () => {
  const ok = (value: number, digits: number, text: string) => assert.equal(printGeneral(value, digits), text);
  ok(74.5, 2, "74");
  ok(75.5, 2, "76");
  ok(-74.5, 2, "-74");
  ok(74.5000001, 2, "75");
  ok(0.125, 2, "0.12");
  ok(0.375, 2, "0.38");
  ok(2.5, 1, "2");
  ok(2.5e20, 1, "2e+20");
  ok(1250, 2, "1.2e+03");
});

test("numbers in labels, as Go reads them", () => {
  const reads = (text: string, value: number | undefined) => assert.equal(parseGoNumber(text), value);
  for (const text of ["1", "1.0", "+1", "1e0", "1.", "0x1p0", "10e-1"]) reads(text, 1);
  for (const text of ["+Inf", "inf", "Infinity"]) reads(text, Number.POSITIVE_INFINITY);
  reads("-Inf", Number.NEGATIVE_INFINITY);
  reads("nan", Number.NaN);
  reads(".5", 0.5);
  reads("1_000.5", 1000.5);
  reads("-0x_1.8p+2", -6);
  reads("1e-400", 0);
  for (const text of ["", " 1", "1 ", "+", ".", "1e", "0x10", "_1", "1_", "1__0", "1_e5", "1e400", "+nan", "one"]) {
    reads(text, undefined);
  }
});

test("bounds in labels have a point or an exponent", () => {
  assert.equal(printBound(1), "1.0");
  assert.equal(printBound(-0), "0.0");
  assert.equal(printBound(0.99), "0.99");
  assert.equal(printBound(1e6), "1e+06");
  assert.equal(printBound(0.00001), "1e-05");
  assert.equal(printBound(Number.POSITIVE_INFINITY), "+Inf");
});
