import { testSuite } from "../suite-test.ts";
import { runPromqlClients } from "./suite.ts";

testSuite("promql-clients", () => runPromqlClients());
