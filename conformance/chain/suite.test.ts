import { IN_CI, testSuite } from "../suite-test.ts";
import { runChain } from "./suite.ts";

testSuite("chain", () => runChain({ args: IN_CI ? [] : ["--short"] }));
