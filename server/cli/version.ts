/** The verb `version`, and what the program knows of itself. */

import { readFileSync } from "node:fs";
import { join } from "node:path";

declare const THALWEG_VERSION: string | undefined;

/** The version of package.json; bundles carry it as a constant. */
export function productVersion(): string {
  if (typeof THALWEG_VERSION === "string") return THALWEG_VERSION;
  const manifest: unknown = JSON.parse(readFileSync(join(import.meta.dirname, "..", "..", "package.json"), "utf8"));
  if (typeof manifest === "object" && manifest !== null && "version" in manifest) return String(manifest.version);
  throw new Error("package.json has no version");
}

/** Prints the version; `--json` adds runtime and platform. */
export async function printVersion(args: readonly string[]): Promise<number> {
  const version = productVersion();
  process.stdout.write(
    args.includes("--json")
      ? `${JSON.stringify({ version, node: process.versions.node, platform: process.platform, arch: process.arch })}\n`
      : `thalweg ${version}\n`,
  );
  return 0;
}
