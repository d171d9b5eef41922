import assert from "node:assert/strict";
import { test } from "node:test";
import type { Labels } from "../../model/series.ts";
import { forgetKeptLabels, keepJson, keepLabels, keptJoined, keptJson, keptKey, keptNameless } from "./kept-labels.ts";

const labels: Labels = [
  ["__name__", "a"],
  ["x", "1"],
];

test("what is made of kept labels is made once, of others each time", () => {
  let made = 0;
  const nameless = (of: Labels) => {
    made++;
    return of.slice(1);
  };
  const json = new Uint8Array([1, 2, 3]);
  keepJson(labels, json);
  assert.equal(keptJson(labels), undefined);
  assert.notEqual(keptNameless(labels, nameless), keptNameless(labels, nameless));
  keepLabels(labels);
  made = 0;
  const short = keptNameless(labels, nameless);
  assert.equal(keptNameless(labels, nameless), short);
  assert.deepEqual([short, made], [[["x", "1"]], 1]);
  for (const each of [labels, short]) {
    keepJson(each, json);
    json.fill(9); // a copy is kept
    assert.equal(keptJson(each)?.length, 3);
  }
  assert.deepEqual(keptJson(labels), new Uint8Array([1, 2, 3]));
  forgetKeptLabels();
  assert.equal(keptJson(labels), undefined);
});

test("what labels became with others is kept until they are joined otherwise", () => {
  const others: Labels = [["y", "2"]];
  let made = 0;
  const join = (): Labels => {
    made++;
    return [...labels, ...others];
  };
  const key = (of: Labels) => {
    made++;
    return JSON.stringify(of);
  };
  assert.notEqual(keptJoined(labels, others, "on", join), keptJoined(labels, others, "on", join));
  keepLabels(labels);
  made = 0;
  const joined = keptJoined(labels, others, "on", join);
  assert.equal(keptJoined(labels, others, "on", join), joined);
  assert.deepEqual([joined, made], [[...labels, ...others], 1]);
  assert.equal(keptKey(joined, key), keptKey(joined, key));
  assert.equal(made, 2);
  keptJoined(labels, others, "ignoring", join);
  keptJoined(labels, [...others], "ignoring", join);
  assert.equal(made, 4);
  forgetKeptLabels();
  keptKey(joined, key);
  assert.equal(made, 5);
});

test("labels joined with others that are new each time leave room for what comes again", () => {
  keepLabels(labels);
  const json = new Uint8Array(8_000);
  for (let i = 0; i < 2_000; i++) {
    const joined = keptJoined(labels, [["y", "2"]], "on", () => [...labels]);
    keepJson(joined, json);
    keptKey(joined, () => "k".repeat(8_000));
  }
  const others: Labels = [["x", "2"]];
  keepLabels(others);
  keepJson(others, json);
  assert.equal(keptJson(others)?.length, json.length);
  let made = 0;
  for (let i = 0; i < 2; i++) keptKey(others, () => `${made++}`);
  assert.equal(made, 1);
  forgetKeptLabels();
});
