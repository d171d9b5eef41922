/** `npm start`: installs what is missing, then starts the server and shows it working. */

import { join } from "node:path";
import { ensureInstalled, runToEnd } from "./machine.mjs";

ensureInstalled(false);
runToEnd(join("server", "cli", "main.ts"), ["start", ...process.argv.slice(2)]);
