/** Writes everything that is generated and committed: grammars and the page. `--check` fails where one is stale. */

import { spawnSync } from "node:child_process";
import { join } from "node:path";

const ROOT = join(import.meta.dirname, "..", "..");

for (const script of ["grammar/generate.ts", "server/web/build.ts"]) {
  const ran = spawnSync(process.execPath, [script, ...process.argv.slice(2)], { cwd: ROOT, stdio: "inherit" });
  if (ran.status !== 0) process.exitCode = 1;
}
