import assert from "node:assert/strict";
import { test } from "node:test";
import { xxh64 } from "./label-hash.ts";

test("XXH64 with seed 0 gives the published values", () => {
  const ok = (text: string, hex: string) => {
    const [high, low] = xxh64(new TextEncoder().encode(text));
    assert.equal(((BigInt(high) << 32n) | BigInt(low)).toString(16), hex, text);
  };
  ok("", "ef46db3751d8e999");
  ok("a", "d24ec4f1a98c6e5b");
  ok("as", "1c330fb2d66be179");
  ok("asd", "631c37ce72a97393");
  ok("asdf", "415872f599cea71e");
  ok("Call me Ishmael. Some years ago--never mind how long precisely-", "2a2e85470d6fd96");
});
