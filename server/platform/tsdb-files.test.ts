import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { BlockFiles } from "./tsdb-files.ts";

test("a block of any time has a name that Prometheus reads", (context) => {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-blocks-"));
  context.after(() => rmSync(directory, { recursive: true }));
  for (const timeMs of [-7_200_000, -1, 0, 1_795_767_570_000, 8.64e15]) {
    const { ulid } = new BlockFiles(directory, timeMs, () => 0);
    assert.match(ulid, /^[0-7][0-9A-HJKMNP-TV-Z]{25}$/, String(timeMs));
  }
});
