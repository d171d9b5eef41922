import { IN_CI, testSuite } from "../suite-test.ts";
import { runOtlpFuzz } from "./suite.ts";

/** The same bodies each time: a change is judged by what it does, and not by chance. */
const SEED = ["--seed", "4711"];

testSuite("otlp-fuzz", () => runOtlpFuzz({ args: IN_CI ? SEED : [...SEED, "--rounds", "3000"] }));
