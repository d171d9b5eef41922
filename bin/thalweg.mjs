#!/usr/bin/env node
/** The command `thalweg VERB …` of a clone and of the npm package. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT, runToEnd } from "./machine.mjs";

const source = join("server", "cli", "main.ts");
runToEnd(existsSync(join(ROOT, source)) ? source : join("dist", "thalweg.mjs"), process.argv.slice(2));
