import assert from "node:assert/strict";
import { test } from "node:test";
import { RE2JS } from "re2js";
import { quickTest } from "./regex-quick.ts";

test("quickTest says what RE2 says, or that it cannot", () => {
  const quick = [
    "a",
    "",
    "a|bb|",
    ".*",
    ".+",
    "a.*",
    "a.+",
    ".*a",
    ".+a",
    ".*a.*",
    ".+a.+",
    "a.*b",
    "a.+b.*c",
    ".*aa.*aa.*",
    ".*.*",
    ".+.+",
    ".*.+a",
    "a\\.b.*",
    "10\\.0\\..+:9100",
    ".+😀",
    ".+.+b",
    "a.*a",
    "ab.*ba",
    "a\\*.*",
  ];
  const texts = ["", "a", "b", "aa", "ab", "ba", "aba", "abba", "aaaa", "aaa", "bab", "a\nb", "xaay", "aa-aa", "bb"];
  texts.push(
    "a.b",
    "a.bc",
    "axb",
    "10.0.0.1:9100",
    "10.0.:9100",
    "😀",
    "😀😀",
    "x😀",
    "😀b",
    "😀😀b",
    "abc",
    "axbxc",
    "a*",
    "ab.ba",
  );
  for (const pattern of quick) {
    const matches = quickTest(pattern);
    assert.ok(matches !== undefined, pattern);
    const regex = RE2JS.compile(pattern, RE2JS.DOTALL);
    for (const text of texts) assert.equal(matches(text), regex.matches(text), `${pattern} on ${JSON.stringify(text)}`);
  }
  const others = [
    "a*",
    "a+",
    "a?",
    "a{2}",
    "(a)",
    "[a]",
    "^a",
    "a$",
    ".",
    "a.b",
    ".*?",
    ".*+",
    ".+?a",
    "a|b.*",
    ".*|a",
    "\\d",
    "a.{2}",
    ".{1,2}",
  ];
  for (const pattern of others) assert.equal(quickTest(pattern), undefined, pattern);
});

test("quickTest against RE2 on random texts", () => {
  let seed = 7;
  const random = (below: number) => {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    return (seed >>> 8) % below;
  };
  const pieces = ["a", "b", "ab", ".*", ".+", "\\.", "aa"];
  let compared = 0;
  for (let round = 0; round < 3000; round++) {
    const pattern = Array.from({ length: 1 + random(6) }, () => pieces[random(pieces.length)]).join("");
    const matches = quickTest(pattern);
    if (matches === undefined) continue;
    const regex = RE2JS.compile(pattern, RE2JS.DOTALL);
    for (let k = 0; k < 5; k++) {
      const text = Array.from({ length: random(9) }, () => "ab."[random(3)]).join("");
      assert.equal(matches(text), regex.matches(text), `${pattern} on ${JSON.stringify(text)}`);
      compared++;
    }
  }
  assert.ok(compared > 10_000, String(compared));
});
