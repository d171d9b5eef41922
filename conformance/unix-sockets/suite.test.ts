import { testSuite } from "../suite-test.ts";
import { runUnixSockets } from "./suite.ts";

testSuite("unix-sockets", runUnixSockets);
