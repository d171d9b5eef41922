import { IN_CI, testSuite } from "../suite-test.ts";
import { runDamage } from "./suite.ts";

testSuite("damage: full disk", () => runDamage({ args: ["--only", "full"] }));
if (IN_CI) testSuite("damage: failing disk", () => runDamage({ args: ["--only", "failing"] }));
