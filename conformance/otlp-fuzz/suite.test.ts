import { IN_CI, testSuite } from "../suite-test.ts";
import { runOtlpFuzz } from "./suite.ts";

testSuite("otlp-fuzz", () => runOtlpFuzz({ args: IN_CI ? [] : ["--rounds", "3000"] }));
