import { testSuite } from "../suite-test.ts";
import { runRemoteWriteOut } from "./suite.ts";

testSuite("remote-write-out", runRemoteWriteOut);
