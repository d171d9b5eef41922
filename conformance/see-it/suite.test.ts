import { testSuite } from "../suite-test.ts";
import { runSeeIt } from "./suite.ts";

testSuite("see-it", runSeeIt);
