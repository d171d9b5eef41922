import { join } from "node:path";
import { takeScreenshots } from "./screenshots.ts";
import { SuiteReport } from "./suite.ts";
import { testSuite } from "./suite-test.ts";

testSuite("screenshots", async () => {
  const report = new SuiteReport();
  await takeScreenshots(join(import.meta.dirname, "..", "build", "screenshots"), "auto", report);
  return report.outcome;
});
