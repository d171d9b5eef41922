import { testSuite } from "../suite-test.ts";
import { runLimits } from "./suite.ts";

testSuite("limits", () => runLimits({ args: ["--short"] }));
