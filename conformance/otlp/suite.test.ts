import { testSuiteOverFiles } from "../suite-test.ts";
import { runOtlp } from "./suite.ts";

testSuiteOverFiles("otlp", "conformance/otlp", (dir) => runOtlp({ dir }));
