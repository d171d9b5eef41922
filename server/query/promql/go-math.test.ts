import assert from "node:assert/strict";
import { test } from "node:test";
import { exp2, ln, log2, log10 } from "./go-math.ts";

test("powers of two are exact", () => {
  for (let exponent = -1074; exponent < 1024; exponent++) {
    assert.equal(log2(2 ** exponent), exponent);
    assert.equal(exp2(exponent), 2 ** exponent);
  }
  assert.equal(exp2(1024), Infinity);
  assert.equal(exp2(-1075), 0);
});

test("special values", () => {
  for (const log of [ln, log2, log10]) {
    assert.equal(log(0), -Infinity);
    assert.equal(log(Infinity), Infinity);
    assert.ok(Number.isNaN(log(-1)) && Number.isNaN(log(Number.NaN)));
    assert.equal(log(1), 0);
  }
  assert.equal(exp2(Infinity), Infinity);
  assert.equal(exp2(-Infinity), 0);
  assert.ok(Number.isNaN(exp2(Number.NaN)));
});

test("never further from Math than the last digit", () => {
  const near = (actual: number, wanted: number, value: number) =>
    assert.ok(Math.abs(actual - wanted) <= 4 * Number.EPSILON * Math.abs(wanted), `${value}: ${actual}, ${wanted}`);
  for (let k = 1; k < 2000; k++) {
    const value = 1.37 ** (k % 1000) * 1e-120 * k;
    near(ln(value), Math.log(value), value);
    near(log2(value), Math.log2(value), value);
    near(log10(value), Math.log10(value), value);
    near(exp2(k / 7 - 130), 2 ** (k / 7 - 130), k);
  }
});
