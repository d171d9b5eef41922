import assert from "node:assert/strict";
import { test } from "node:test";
import { staleParsers } from "./generate.ts";

test("committed parsers are what the grammars give", () => {
  assert.deepEqual(staleParsers(), []);
});
