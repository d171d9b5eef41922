/** `npm pack` calls this first: bundles the program into `dist/`, which the package carries instead of TypeScript. */

import { rmSync } from "node:fs";
import { join } from "node:path";
import { bundleInto, ROOT } from "./bundle.ts";

const directory = join(ROOT, "dist");
rmSync(directory, { recursive: true, force: true });
await bundleInto(directory, "package");
