import { testSuite } from "../suite-test.ts";
import { runAdmin } from "./suite.ts";

testSuite("admin", runAdmin);
