import { testSuite } from "../suite-test.ts";
import { runDownsampling } from "./suite.ts";

testSuite("downsampling", runDownsampling);
