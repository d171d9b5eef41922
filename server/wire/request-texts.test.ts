import assert from "node:assert/strict";
import test from "node:test";
import { RequestTexts, TEXT_BYTES_MAX } from "./request-texts.ts";

test("texts longer than a mebibyte end there, at the end of a character", () => {
  const texts = new RequestTexts();
  const read = (text: string | Buffer): string => {
    const bytes = Buffer.from(text);
    texts.begin(bytes);
    return texts.read(texts.at(0, bytes.length));
  };
  assert.equal(read("a".repeat(TEXT_BYTES_MAX)).length, TEXT_BYTES_MAX);
  assert.equal(read("a".repeat(TEXT_BYTES_MAX + 1)).length, TEXT_BYTES_MAX);
  const cut = read("€".repeat(TEXT_BYTES_MAX));
  assert.equal(cut, "€".repeat(Math.floor(TEXT_BYTES_MAX / 3)));
  assert.equal(texts.repaired, 0);
  const broken = read(Buffer.alloc(4 * TEXT_BYTES_MAX, 0xff));
  assert.equal(broken, "\ufffd".repeat(TEXT_BYTES_MAX));
  assert.equal(texts.repaired, 1);
  texts.begin(Buffer.alloc(0));
  assert.equal(texts.read(texts.of("b".repeat(2 * TEXT_BYTES_MAX))).length, TEXT_BYTES_MAX);
});
