import { testSuite } from "../suite-test.ts";
import { runDatabases } from "./suite.ts";

testSuite("databases", runDatabases);
