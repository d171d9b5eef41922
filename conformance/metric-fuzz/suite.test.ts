import { IN_CI, testSuite } from "../suite-test.ts";
import { runMetricFuzz } from "./suite.ts";

/** The same inputs each time: a change is judged by what it does, and not by chance. */
const SEED = ["--seed", "4711"];

testSuite("metric-fuzz", () => runMetricFuzz({ args: IN_CI ? SEED : [...SEED, "--rounds", "3000"] }));
