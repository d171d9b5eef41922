import assert from "node:assert/strict";
import test from "node:test";
import { expectEnd, jsonCursorOver, peekToken } from "./json-reader.ts";
import { readHalves, readHexBytes } from "./otlp-json-values.ts";

function halvesOf(text: string): [value: bigint, at: number] {
  const cursor = jsonCursorOver(text);
  let value = -1n;
  readHalves(cursor, (low, high) => {
    value = (BigInt(high) << 32n) | BigInt(low);
  });
  return [value, cursor.at];
}

test("times are read to the last digit, bare and in quotes", () => {
  const values = [0n, 1n, 999_999_999n, 1_000_000_000n, 2n ** 32n - 1n, 2n ** 32n, 2n ** 48n, 2n ** 53n + 1n];
  values.push(2n ** 63n - 1n, 2n ** 63n, 2n ** 64n - 1n, 9_999_999_999_999_999_999n, 1_700_000_000_123_456_789n);
  for (let seed = 88_172_645_463_325_252n, round = 0; round < 2_000; round++) {
    seed ^= BigInt.asUintN(64, seed << 13n);
    seed ^= seed >> 7n;
    seed ^= BigInt.asUintN(64, seed << 17n);
    values.push(seed >> BigInt(round % 64));
  }
  for (const value of values) {
    const digits = String(value);
    assert.deepEqual(halvesOf(`${digits},`), [value, digits.length]);
    assert.deepEqual(halvesOf(` "${digits}"}`), [value, digits.length + 3]);
  }
});

test("other forms of a whole number are read as before, and what is none is refused", () => {
  assert.equal(halvesOf('"007"')[0], 7n);
  assert.equal(halvesOf("1e3,")[0], 1_000n);
  assert.equal(halvesOf("1.0}")[0], 1n);
  assert.equal(halvesOf('"12e1"')[0], 120n);
  for (const text of ["07,", "-1,", '"-1"', '""', '"1 "', "1.5,", "18446744073709551616,", "x", '"1', ""]) {
    assert.throws(() => halvesOf(text), { name: "WireError" }, text);
  }
});

test("ids are hex of any case and length", () => {
  const ok = (text: string, hex: string) => {
    const cursor = jsonCursorOver(`${text},`);
    assert.equal(Buffer.from(readHexBytes(cursor)).toString("hex"), hex);
    assert.equal(cursor.at, text.length);
  };
  ok('""', "");
  ok('"00fFaB"', "00ffab");
  ok(' "8AF7651916cd43dd8448eb211c80319c"', "8af7651916cd43dd8448eb211c80319c");
  ok('"\\u0030a"', "0a");
  ok(`"${"5c".repeat(32)}"`, "5c".repeat(32));
  ok(`"${"5c".repeat(33)}"`, "5c".repeat(33));
  for (const text of ['"0"', '"0g"', '"abc"', '"é0"', "12", '"ab', "null", ""]) {
    assert.throws(() => readHexBytes(jsonCursorOver(text)), { name: "WireError" }, text);
  }
});

test("white space of every kind and length stands between tokens, and nothing else does", () => {
  for (const length of [1, 63, 64, 65, 1_000]) {
    const space = " \n\r\t".repeat(length).slice(0, length);
    const cursor = jsonCursorOver(`${space}7${space}`);
    assert.equal(peekToken(cursor), "7".charCodeAt(0));
    assert.equal(cursor.at, length);
    cursor.at++;
    expectEnd(cursor);
    assert.throws(() => expectEnd(jsonCursorOver(`${space}\u00a0`)), /the end/);
  }
});
