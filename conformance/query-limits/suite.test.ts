import { testSuite } from "../suite-test.ts";
import { runQueryLimits } from "./suite.ts";

// A fifth of the series keeps this under three minutes; the suite by hand takes all.
testSuite("query-limits", () => runQueryLimits({ args: ["--series", "20000"] }));
