import { testSuiteOverFiles } from "../suite-test.ts";
import { runPromqlParser } from "./suite.ts";

for (const name of ["promql-parser", "promql-parser-3.16"]) {
  testSuiteOverFiles(name, `conformance/${name}`, (dir) => runPromqlParser({ dir }));
}
