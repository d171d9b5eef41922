import assert from "node:assert/strict";
import { test } from "node:test";
import { QuickPrograms } from "./tls-quick-programs.ts";

function textsOf(programs: QuickPrograms): string[] {
  const bytes = Buffer.from(programs.texts);
  return Array.from({ length: 8 }, (_, at) => bytes.toString("latin1", 16 * at, 16 * (at + 1)).replace(/\0+$/, ""));
}

test("names are those of the kernel: 15 bytes, and of Node's threads", () => {
  const programs = new QuickPrograms();
  assert.deepEqual([programs.add("a-program-of-long-name"), programs.add("node")], [true, true]);
  assert.equal(programs.has("a-program-of-long-title"), true);
  assert.deepEqual(programs.names, ["a-program-of-lo", "node"]);
  assert.deepEqual(textsOf(programs).slice(0, 4), ["a-program-of-lo", "MainThread", "node", ""]);
});

test("each program is added once, and eight at most", () => {
  const programs = new QuickPrograms();
  const added = Array.from({ length: 10 }, (_, at) => programs.add(`program${at}`));
  assert.deepEqual([added.filter((one) => one).length, programs.add("program0"), programs.names.length], [8, false, 8]);
  assert.equal(textsOf(programs).at(-1), "program7");
});

test("of 256 processes that ended soon it is known what they ran, until their id is another's", () => {
  const programs = new QuickPrograms();
  for (let pid = 1; pid <= 256; pid++) programs.ended(pid, "curl");
  programs.forget(1);
  assert.deepEqual([programs.programOf(1), programs.programOf(2)], [undefined, "curl"]);
  programs.ended(257, "curl");
  programs.ended(258, "curl");
  assert.deepEqual([programs.programOf(2), programs.programOf(258)], [undefined, "curl"]);
});
