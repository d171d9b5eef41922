#!/usr/bin/env node
/** The command `thalweg VERB …` of a clone and of the npm package. */

import { existsSync } from "node:fs";
import { join } from "node:path";
import { ROOT, runToEnd } from "./machine.mjs";

const bundle = join("dist", "thalweg.cjs");
runToEnd(
  existsSync(join(ROOT, bundle)) && !existsSync(join(ROOT, ".git")) ? bundle : join("server", "cli", "main.ts"),
  process.argv.slice(2),
);
