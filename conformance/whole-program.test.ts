/** The suites that start the whole program, as part of `npm test`. */

import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { runCrash } from "./crash/suite.ts";
import { runField } from "./field/suite.ts";
import { runHops } from "./hops/suite.ts";
import { runOtlp } from "./otlp/suite.ts";
import { runProtocols } from "./protocols/suite.ts";
import { takeScreenshots } from "./screenshots.ts";
import { runSeeIt } from "./see-it/suite.ts";
import { type SuiteOutcome, SuiteReport } from "./suite.ts";

const SHARED = join(import.meta.dirname, "..", "..", "shared");

function judge(t: TestContext, outcome: SuiteOutcome): void {
  assert.equal(outcome.failed, 0, "cases of the suite failed; run it alone to see them");
  if (outcome.passed === 0) t.skip(outcome.skipped.join("; "));
}

async function withFiles(t: TestContext, folder: string, run: (dir: string) => Promise<SuiteOutcome>): Promise<void> {
  const dir = join(SHARED, folder);
  if (existsSync(dir)) judge(t, await run(dir));
  else if ((process.env["THALWEG_REQUIRE"] ?? "").includes("suites")) assert.fail(`${dir} is required here`);
  else t.skip(`the public suites are not beside the clone (${folder})`);
}

test("suite see-it: one curl to each running server", async (t) => judge(t, await runSeeIt()));
test("suite hops: nginx → Node → Python at 24 in flight", async (t) => judge(t, await runHops()));
test("suite crash: kill -9 under load", async (t) => judge(t, await runCrash()));
test("suite otlp: SDK app and recorded SDK bodies", async (t) =>
  withFiles(t, "conformance/otlp", (dir) => runOtlp({ dir })));
test("suite field: reports of users of other systems", async (t) => withFiles(t, "field", (dir) => runField({ dir })));
test("suite protocols: captures of other projects", async (t) =>
  withFiles(t, "conformance/protocols", (dir) => runProtocols({ dir, rest: [] })));
test("screenshots of the demo", async (t) => {
  const report = new SuiteReport();
  await takeScreenshots(join(import.meta.dirname, "..", "build", "screenshots"), "auto", report);
  judge(t, report.outcome);
});
