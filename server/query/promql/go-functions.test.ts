import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { fusedMultiplyAdd } from "./fused-multiply-add.ts";
import * as goExp from "./go-exp.ts";
import * as goMath from "./go-math.ts";
import * as goTrig from "./go-trig.ts";

/** Function, arguments and result as Go 1.26 gives it on amd64; doubles as the hexadecimal digits of their bits. */
const RECORDED = readFileSync(new URL("./testdata/go-math.txt", import.meta.url), "utf8");

const FUNCTIONS: ReadonlyMap<string, (a: number, b: number) => number> = new Map(
  Object.entries({ ...goExp, ...goTrig, ln: goMath.ln, log2: goMath.log2, log10: goMath.log10 }),
);

const view = new DataView(new ArrayBuffer(8));

function double(hex: string): number {
  view.setBigUint64(0, BigInt(`0x${hex}`));
  return view.getFloat64(0);
}

test("functions give what Go gives, to the last bit", () => {
  for (const line of RECORDED.trim().split("\n")) {
    const [name = "", a = "", b = "", result = ""] = line.split(" ");
    const compute = FUNCTIONS.get(name);
    assert.ok(compute, name);
    const value = compute(double(a), double(b));
    assert.ok(Object.is(value, double(result)), `${name}(${double(a)}, ${double(b)}): ${value}, not ${double(result)}`);
  }
});

test("a product and a sum are rounded once", () => {
  const more = 1 + 2 ** -30;
  assert.equal(fusedMultiplyAdd(more, more, -(1 + 2 ** -29)), 2 ** -60);
  assert.equal(fusedMultiplyAdd(0.1, 10, -1), 5.551115123125783e-17);
  assert.equal(fusedMultiplyAdd(3, 4, 5), 17);
});
