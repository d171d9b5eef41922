import { IN_CI, testSuite } from "../suite-test.ts";
import { runLedger } from "./suite.ts";

testSuite("ledger", () => runLedger({ args: IN_CI ? [] : ["--kills", "2", "--images", "2"] }));
