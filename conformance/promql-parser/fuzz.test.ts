import { testSuite } from "../suite-test.ts";
import { runPromqlParserFuzz } from "./fuzz.ts";

testSuite("promql-parser-fuzz", () => runPromqlParserFuzz());
