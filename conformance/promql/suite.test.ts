import { join } from "node:path";
import { testSuite, testSuiteOverFiles } from "../suite-test.ts";
import { runPromql } from "./suite.ts";

testSuiteOverFiles("promql", "conformance/promql", (dir) => runPromql({ dir }));
testSuiteOverFiles("promql of 3.16", "conformance/promql-3.16", (dir) => runPromql({ dir }));
testSuite("promql, our own files", () => runPromql({ dir: join(import.meta.dirname, "cases") }));
