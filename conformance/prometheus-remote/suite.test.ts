import { testSuite } from "../suite-test.ts";
import { runPrometheusRemote } from "./suite.ts";

testSuite("prometheus-remote", runPrometheusRemote);
