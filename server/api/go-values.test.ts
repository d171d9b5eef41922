import assert from "node:assert/strict";
import test from "node:test";
import { numberValue } from "../../grammar/promql-number.ts";
import { parseSampleTimeMs } from "../model/sample-time.ts";
import { parseGoNumber } from "../query/promql/number-text.ts";
import { floatOf } from "../wire/exposition.ts";
import { parseFloatGo, parseIntGo } from "./go-values.ts";

test("parseFloatGo", () => {
  const ok = (text: string, want: number) => assert.equal(parseFloatGo(text), want, text);
  const bad = (text: string) => assert.equal(parseFloatGo(text), undefined, text);
  ok("1_000.5_0e1_0", 1_000.5e10);
  ok("-1.", -1);
  ok("+.5", 0.5);
  ok("0x1p-2", 0.25);
  ok("0x_1.8p1", 3);
  ok("-0x.8p0", -0.5);
  ok("0x1.p0", 1);
  for (const text of ["", ".", "1__0", "_1", "1_", "1_.5", "1._5", "0x.p1", "0xp1", "0x1", "0x1._8p1", "1e", "1e999"])
    bad(text);
});

test("parseIntGo", () => {
  const ok = (text: string, value: number) => assert.deepEqual(parseIntGo(text), { kind: "value", value }, text);
  const bad = (text: string, why: RegExp) => {
    const outcome = parseIntGo(text);
    assert.match(outcome.kind === "refused" ? outcome.reason : "", why, text);
  };
  ok("0", 0);
  ok("-00", 0);
  ok("+0007", 7);
  ok("-12", -12);
  ok("9223372036854775807", 2 ** 63);
  ok("-9223372036854775808", -(2 ** 63));
  bad("9223372036854775808", /value out of range/);
  bad("-9223372036854775809", /value out of range/);
  bad("10000000000000000000", /value out of range/);
  bad("--1", /invalid syntax/);
  bad("", /invalid syntax/);
});

test("long texts that are no number are refused in time proportional to their length", () => {
  const digits = "1".repeat(500_000);
  const before = process.threadCpuUsage();
  assert.equal(parseFloatGo(`${digits}!`), undefined);
  assert.equal(parseFloatGo(`0x${digits}!`), undefined);
  assert.equal(parseFloatGo(`1${"_1".repeat(250_000)}!`), undefined);
  assert.equal(parseIntGo(digits).kind, "refused");
  assert.equal(parseGoNumber(`${digits}!`), undefined);
  assert.equal(parseGoNumber(`0x${digits}!`), undefined);
  assert.equal(parseSampleTimeMs(`${digits}!`), undefined);
  assert.throws(() => floatOf(`${digits}!`));
  assert.match(numberValue(`${digits}.!`).reason ?? "", /invalid syntax/);
  // A step for each pair of digits would take minutes.
  assert.ok(process.threadCpuUsage(before).user < 5_000_000);
});
