import assert from "node:assert/strict";
import { test } from "node:test";
import { JsonBytes, printTexts } from "./json-bytes.ts";
import { printSample } from "./number-text.ts";

const NONE_MAX = Number.POSITIVE_INFINITY;

function written(write: (json: JsonBytes) => void): string {
  const json = new JsonBytes(NONE_MAX);
  write(json);
  return new TextDecoder().decode(json.finish());
}

test("a number is written as it is printed", () => {
  const edges = [
    0,
    -0,
    1,
    9,
    10,
    99,
    100,
    999_999_999,
    1e9,
    2 ** 31 - 1,
    2 ** 31,
    2 ** 32,
    1e15 - 1,
    1e15,
    1e21,
    2 ** 53,
  ];
  const fractions = [
    0.1,
    0.01,
    0.29,
    1.005,
    0.5,
    12.3,
    12.34,
    1e-7,
    0.07,
    123_456_789_012.34,
    9_999_999_999_999.99,
    0.1 + 0.2,
  ];
  const others = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, Number.MIN_VALUE, Number.MAX_VALUE];
  const random = Array.from({ length: 20_000 }, (_, i) => {
    const size = 10 ** ((i % 40) - 18);
    const value = Math.random() * size;
    return i % 3 === 0 ? Math.round(value) : i % 3 === 1 ? Math.round(value * 100) / 100 : value;
  });
  for (const value of [...edges, ...fractions, ...others, ...random]) {
    for (const one of [value, -value])
      assert.equal(
        written((json) => json.sample(one)),
        printSample(one),
      );
  }
});

test("texts of any length and alphabet cross pages whole", () => {
  const texts = [
    "",
    "a",
    "é",
    "x".repeat(255),
    "ж".repeat(300),
    "😀".repeat(400_000),
    `a${"😀".repeat(400_000)}`,
    "b".repeat(3_000_000),
  ];
  const wanted = [...texts, ...texts].join("");
  const got = written((json) => {
    for (const text of [...texts, ...texts]) json.add(text);
  });
  assert.equal(got === wanted, true);
});

test("many numbers and printed texts cross pages whole", () => {
  const heads = printTexts(["[1,", "{[],", ""]);
  let wanted = "";
  const got = written((json) => {
    for (let i = 0; i < 400_000; i++) {
      json.addPrinted(heads, i % 3);
      json.sample(i * 977);
      wanted += `${["[1,", "{[],", ""][i % 3]}${i * 977}`;
    }
  });
  assert.equal(got === wanted, true);
});

test("what is repeated is written whole, or not at all where a page ends", () => {
  let wanted = "";
  let [repeated, whole] = [0, 0];
  const got = written((json) => {
    const text = "0123456789".repeat(24);
    for (let i = 0; i < 3_000; i++) {
      const from = json.mark();
      json.add(text);
      const to = json.mark();
      const isRepeated = json.repeat(from, to);
      wanted += isRepeated ? text + text : text;
      if (isRepeated) repeated++;
      else whole++;
    }
    assert.equal(json.repeat(0, text.length), false);
  });
  assert.equal(got === wanted, true);
  assert.ok(repeated > 0 && whole > 0, `${repeated} repeated, ${whole} not`);
});

test("an answer longer than its limit is refused, and the next one is whole", () => {
  const json = new JsonBytes(10);
  json.add("12345678901");
  assert.throws(() => json.finish(), { code: "query_answer_max" });
  const long = new JsonBytes(10);
  assert.throws(() => long.add("x".repeat(3_000_000)), { code: "query_answer_max" });
  assert.equal(
    written((other) => other.add("1")),
    "1",
  );
});
