/** Suites as tests of `npm test`. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import type { SuiteOutcome } from "./suite.ts";

const SHARED = join(import.meta.dirname, "..", "..", "shared");

/** Whether the long forms of suites are asked for, which are too slow for a newcomer's `npm test`. */
export const IN_CI = (process.env["THALWEG_REQUIRE"] ?? "").split(",").includes("suites");

/** A suite that makes its own input. */
export function testSuite(name: string, run: () => Promise<SuiteOutcome>): void {
  test(`suite ${name}`, async (t) => judge(t, await run()));
}

/** A suite over files beside the clone; where they are absent it is skipped by name. */
export function testSuiteOverFiles(name: string, folder: string, run: (dir: string) => Promise<SuiteOutcome>): void {
  test(`suite ${name}`, async (t) => {
    const dir = join(SHARED, folder);
    if (existsSync(dir)) return judge(t, await run(dir));
    if (IN_CI) assert.fail(`${dir} is required here`);
    return t.skip(`its files are not beside the clone (${folder})`);
  });
}

function judge(t: TestContext, outcome: SuiteOutcome): void {
  assert.deepEqual(outcome.faults, []);
  if (outcome.passed === 0) t.skip(outcome.skipped.join("; "));
}
