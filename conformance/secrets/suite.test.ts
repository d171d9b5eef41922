import { testSuite } from "../suite-test.ts";
import { runSecrets } from "./suite.ts";

testSuite("secrets", () => runSecrets(["--short"]));
