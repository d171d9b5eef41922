import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { openActiveQueryFile } from "./active-query-file.ts";

test("what ran when a process ended is told to the next one, in Prometheus' form", () => {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-active-"));
  const path = join(directory, "queries.active");
  try {
    const first = openActiveQueryFile(path, 3);
    assert.deepEqual(first.unfinished, []);
    assert.equal(readFileSync(path).length, 3001);
    first.enter(0, "sum(up)", 17);
    first.enter(1, "gone", 18);
    first.enter(2, `"ü\n😀${"x".repeat(5000)}`, 19);
    first.leave(1);
    const text = readFileSync(path, "latin1").replaceAll("\0", "");
    assert.ok(text.startsWith('[{"query":"sum(up)","timestamp_sec":17},{"query":'));
    assert.equal(JSON.parse(`${text.slice(0, -1)}]`).length, 2);
    // The process ends here, and another one with fewer places starts.
    const second = openActiveQueryFile(path, 1);
    assert.deepEqual(second.unfinished[0], { text: "sum(up)", startedSeconds: 17 });
    assert.match(second.unfinished[1]?.text ?? "", /^"ü\n😀x{900,}$/u);
    assert.equal(second.unfinished.length, 2);
    second.close();
    assert.equal(existsSync(path), false);
    writeFileSync(path, `[{"query":"half`);
    const third = openActiveQueryFile(path, 1);
    assert.deepEqual(third.unfinished, []);
    third.close();
  } finally {
    rmSync(directory, { recursive: true });
  }
});
