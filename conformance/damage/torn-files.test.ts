import { testSuite } from "../suite-test.ts";
import { runDamage } from "./suite.ts";

testSuite("damage: torn files", () => runDamage({ args: ["--only", "torn"] }));
