import { testSuiteOverFiles } from "../suite-test.ts";
import { runProtocols } from "./suite.ts";

testSuiteOverFiles("protocols", "conformance/protocols", (dir) => runProtocols({ dir, rest: [] }));
