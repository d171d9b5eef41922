import { testSuite } from "../suite-test.ts";
import { runPromqlFuzz } from "./suite.ts";

testSuite("promql-fuzz", () => runPromqlFuzz());
testSuite("promql-fuzz over sealed samples", () => runPromqlFuzz({ args: ["--engine", "blocks"] }));
