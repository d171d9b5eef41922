/** Runs a file of this directory with the right Node: `node bin/run.mjs FILE ARGS…`. For the scripts of package.json. */

import { runToEnd } from "./machine.mjs";

const [file, ...args] = process.argv.slice(2);
if (file === undefined) throw new Error("no file to run");
runToEnd(file, args);
