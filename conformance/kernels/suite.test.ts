import { testSuite } from "../suite-test.ts";
import { runKernels } from "./suite.ts";

testSuite("kernels", runKernels);
