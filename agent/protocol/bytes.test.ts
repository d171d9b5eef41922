import assert from "node:assert/strict";
import { test } from "node:test";
import { textOf } from "./bytes.ts";

test("text is what its bytes say, whatever was decoded before", () => {
  const bytes = new Uint8Array(64);
  let state = 11;
  for (let step = 0; step < 50_000; step++) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    // Few letters and lengths, so that most texts come again; now and then a byte beyond ASCII.
    const length = state % 5;
    const start = (state >>> 8) % 8;
    for (let at = 0; at < length; at++)
      bytes[start + at] = ((state >>> (9 + 3 * at)) & 7) + (step % 7 === 0 ? 0xc2 : 97);
    assert.equal(textOf(bytes, start, start + length), Buffer.from(bytes.subarray(start, start + length)).toString());
  }
});

test("a byte beyond ASCII is not the letter of its number", () => {
  assert.equal(textOf(Uint8Array.of(0xc3, 0xa9), 0, 2), "é");
  assert.equal(textOf(Uint8Array.of(0xe9), 0, 1), "\ufffd");
});
