import { testSuite } from "../suite-test.ts";
import { runBlocks } from "./suite.ts";

testSuite("blocks", runBlocks);
