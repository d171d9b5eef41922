import { testSuite } from "../suite-test.ts";
import { runHops } from "./suite.ts";

testSuite("hops", runHops);
