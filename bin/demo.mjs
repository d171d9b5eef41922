/** `npm run demo`: installs what is missing, then starts the shop and a server to watch it. */

import { join } from "node:path";
import { ensureInstalled, runToEnd } from "./machine.mjs";

ensureInstalled(false);
runToEnd(join("conformance", "demo", "main.ts"), process.argv.slice(2));
