import { testSuite } from "../suite-test.ts";
import { runLineSenders } from "./suite.ts";

testSuite("line-senders", runLineSenders);
