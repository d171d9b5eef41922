import { testSuiteOverFiles } from "../suite-test.ts";
import { runField } from "./suite.ts";

testSuiteOverFiles("field", "field", (dir) => runField({ dir }));
