import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { requireOrSkip } from "./test-ability.ts";

/** The part of a test that is used, so that a skip here does not count as one of ours. */
function skipping(): { t: TestContext; skips: string[] } {
  const skips: string[] = [];
  // Only `skip` is called.
  return { t: { skip: (reason: string) => skips.push(reason) } as unknown as TestContext, skips };
}

test("requireOrSkip", (t) => {
  const before = process.env["THALWEG_REQUIRE"];
  t.after(() => {
    if (before === undefined) delete process.env["THALWEG_REQUIRE"];
    else process.env["THALWEG_REQUIRE"] = before;
  });
  const { t: inner, skips } = skipping();
  delete process.env["THALWEG_REQUIRE"];
  assert.equal(requireOrSkip(inner, "capture", undefined), true);
  assert.equal(requireOrSkip(inner, "capture", "needs CAP_BPF"), false);
  process.env["THALWEG_REQUIRE"] = "servers, capture";
  assert.equal(requireOrSkip(inner, "capture", undefined), true);
  assert.throws(() => requireOrSkip(inner, "capture", "needs CAP_BPF"), /capture.*needs CAP_BPF/);
  assert.equal(requireOrSkip(inner, "suites", "no such directory"), false);
  assert.deepEqual(skips, ["needs CAP_BPF", "no such directory"]);
});
