import { testSuite } from "../suite-test.ts";
import { runAppendRules } from "./suite.ts";

testSuite("append-rules", () => runAppendRules());
