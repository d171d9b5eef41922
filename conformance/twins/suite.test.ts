import { testSuite } from "../suite-test.ts";
import { runTwins } from "./suite.ts";

testSuite("twins", runTwins);
