/** `npm test`: installs what is missing, then runs every test that this machine allows. */

import { join } from "node:path";
import { ensureInstalled, runToEnd } from "./machine.mjs";

ensureInstalled(true);
runToEnd(join("conformance", "run-tests.ts"), process.argv.slice(2));
