import { testSuite } from "../suite-test.ts";
import { runDamage } from "./suite.ts";

testSuite("damage: damaged files", () => runDamage({ args: ["--only", "files"] }));
