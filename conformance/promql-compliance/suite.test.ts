import { testSuiteOverFiles } from "../suite-test.ts";
import { runPromqlCompliance } from "./suite.ts";

testSuiteOverFiles("promql-compliance", "conformance/promql-compliance", (dir) => runPromqlCompliance({ dir }));
