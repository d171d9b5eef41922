import { testSuite } from "../suite-test.ts";
import { runLedger } from "./suite.ts";

testSuite("ledger", runLedger);
