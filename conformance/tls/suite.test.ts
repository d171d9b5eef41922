import { testSuite } from "../suite-test.ts";
import { runTls } from "./suite.ts";

testSuite("tls", () => runTls());
