/** Libraries that are preloaded into the program under test. */

import { spawnSync } from "node:child_process";
import { basename, join } from "node:path";

/** Compiles `source` into `directory`. @returns The library's path, or why there is none. */
export function buildPreload(source: string, directory: string): string | { readonly why: string } {
  const library = join(directory, basename(source).replace(/\.c$/, ".so"));
  const built = spawnSync("gcc", ["-O1", "-shared", "-fPIC", "-w", "-o", library, source, "-ldl", "-lpthread"], {
    encoding: "utf8",
  });
  return built.status === 0 ? library : { why: `gcc does not build it: ${built.error?.message ?? built.stderr}` };
}
