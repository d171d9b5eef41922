import { testSuite } from "../suite-test.ts";
import { runCrash } from "./suite.ts";

testSuite("crash", runCrash);
