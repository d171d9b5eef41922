import assert from "node:assert/strict";
import test from "node:test";
import { textTableOf } from "../model/text-table.ts";
import { StagePad } from "./stage-pad.ts";
import { placeBytes, placeTable, placeText, STRING_WORDS, writeString } from "./text-heap.ts";

/** Texts of every length around the limits of a string, also at the very end of the bytes. */
const TEXTS = [
  "",
  ...Array.from({ length: 40 }, (_, length) => `é${"abcdefgh".repeat(6).slice(0, length)}`),
  "xyz",
  "q",
];

test("a table is placed as its strings one by one, and as the same texts", () => {
  const pad = new StagePad();
  const table = textTableOf(TEXTS);
  const { words } = placeTable(table, pad);
  const address = (words[STRING_WORDS * 20 + 2] ?? 0) - (table.starts[20] ?? 0);
  const high = words[STRING_WORDS * 20 + 3] ?? 0;
  const placed = { bytes: table.bytes, address: high * 2 ** 32 + address };
  const one = new Uint32Array(words.length);
  const oneBytes = new Uint8Array(one.buffer);
  for (const [index, length] of table.lengths.entries()) {
    const start = table.starts[index] ?? 0;
    writeString(one, oneBytes, index, placed, start, start + length);
  }
  assert.deepEqual(words, one);
  const again = placeText(TEXTS, pad).words;
  for (const index of TEXTS.keys()) {
    const at = index * STRING_WORDS;
    const inPlace: number = (words[at] ?? 0) > 12 ? 2 : 4;
    assert.deepEqual(again.slice(at, at + inPlace), words.slice(at, at + inPlace), `text ${index}`);
  }
});

test("a pad hands out zeros and is used again", () => {
  const pad = new StagePad();
  for (let round = 0; round < 3; round++) {
    const columns = [pad.uint32(3000), pad.uint8(7), pad.int32(5), pad.uint32(9000)];
    for (const column of columns) assert.ok(column.every((value) => value === 0));
    for (const column of columns) column.fill(7);
    assert.equal(placeBytes(new Uint8Array(12), pad).address, 0);
    const address = placeBytes(new Uint8Array(13), pad).address;
    assert.ok(Number.isSafeInteger(address) && address > 0);
    assert.ok(pad.clear());
  }
  pad.uint8(2 ** 21);
  assert.equal(pad.clear(), false, "one that grew too large is not kept");
});
