import assert from "node:assert/strict";
import { test } from "node:test";
import { placeInCode } from "./libuv-recipe.ts";

const bytes = (hex: string): Buffer => Buffer.from(hex.replaceAll(" ", ""), "hex");

test("placeInCode reads where libuv looks first", () => {
  // mov 0x28(%rdi),%rax; mov 0x1b8(%rax),%r10
  assert.equal(placeInCode(bytes("48 8b 47 28 4c 8b 90 b8 01 00 00 4d 85 d2 00 00 00 00 00 00")), 0x1b8);
  // push %rbp; mov 0x28(%rdi),%rax; mov %rsp,%rbp; mov 0x1d8(%rax),%rcx
  assert.equal(placeInCode(bytes("55 48 8b 47 28 48 89 e5 48 8b 88 d8 01 00 00 00 00 00 00 00")), 0x1d8);
  assert.equal(placeInCode(bytes("48 8b 47 30 4c 8b 90 b8 01 00 00 4d 85 d2 00 00 00 00 00 00")), undefined);
  assert.equal(placeInCode(bytes("48 8b 47 28 4c 8b 90 b9 01 00 00 4d 85 d2 00 00 00 00 00 00")), undefined);
  assert.equal(placeInCode(Buffer.alloc(64)), undefined);
});
