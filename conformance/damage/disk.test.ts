import { IN_CI, testSuite } from "../suite-test.ts";
import { runDamage } from "./suite.ts";

testSuite("damage: full disk", () => runDamage({ args: ["--only", "full"] }));
testSuite("damage: second server", () => runDamage({ args: ["--only", "second"] }));
if (IN_CI) testSuite("damage: no room for a checkpoint", () => runDamage({ args: ["--only", "checkpoint"] }));
if (IN_CI) testSuite("damage: failing disk", () => runDamage({ args: ["--only", "failing"] }));
