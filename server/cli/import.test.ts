import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";

const MAIN = join(import.meta.dirname, "main.ts");
const DIRECTORY = mkdtempSync(join(tmpdir(), "thalweg-import-"));
after(() => rmSync(DIRECTORY, { recursive: true }));
/** Nobody listens there. */
const URL = "http://127.0.0.1:9";

/** What a person reads of a verb that fails. */
function failure(...words: readonly string[]): string {
  const { status, stderr } = spawnSync(process.execPath, [MAIN, ...words, "--url", URL], { encoding: "utf8" });
  assert.equal(status, 1);
  return stderr;
}

test("import and export tell in one line what is wrong with what they were given", () => {
  const text = join(DIRECTORY, "a.om");
  writeFileSync(text, "a 1 1\n# EOF\n");
  const answer = /^thalweg: no server answers at http:\/\/127\.0\.0\.1:9 \(.*\)\. Start one with .*\n$/;
  assert.match(failure("import", text), answer);
  assert.match(failure("export", join(DIRECTORY, "out")), answer);
  assert.match(failure("import", DIRECTORY), /^thalweg: .*: there is no block of Prometheus in it\n$/);
  writeFileSync(text, "a 1\n# EOF\n");
  assert.match(failure("import", text), /^thalweg: .*a\.om: the sample of a has no time\n$/);
  assert.match(failure("export", join(DIRECTORY, "out"), "--from", "x"), /^thalweg: --from x is no time .*\n$/);
});
