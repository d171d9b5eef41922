import { testSuiteOverFiles } from "../suite-test.ts";
import { runPromql } from "./suite.ts";

testSuiteOverFiles("promql", "conformance/promql", (dir) => runPromql({ dir }));
