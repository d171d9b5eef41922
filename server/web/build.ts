/**
 * Builds the page into `assets/`, which is committed: a clone without the development packages serves it as it is.
 *
 * `--check` builds in memory and fails where the committed files differ.
 */

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { build } from "esbuild";

const HERE = import.meta.dirname;
const CLIENT = join(HERE, "client");
const ASSETS = join(HERE, "assets");

/** File names under `assets/` with their bytes. */
export async function buildAssets(): Promise<Map<string, Uint8Array>> {
  const built = await build({
    entryPoints: [join(CLIENT, "main.tsx")],
    bundle: true,
    minify: true,
    write: false,
    format: "esm",
    target: "es2022",
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
  });
  const script = built.outputFiles[0];
  if (script === undefined) throw new Error("esbuild wrote no file");
  const css = await build({ entryPoints: [join(CLIENT, "app.css")], minify: true, write: false });
  const style = css.outputFiles[0];
  if (style === undefined) throw new Error("esbuild wrote no style sheet");
  return new Map<string, Uint8Array>([
    ["app.css", style.contents],
    ["app.js", script.contents],
    ["icon.svg", readFileSync(join(CLIENT, "icon.svg"))],
    ["index.html", readFileSync(join(CLIENT, "index.html"))],
  ]);
}

async function main(): Promise<void> {
  const check = process.argv.includes("--check");
  mkdirSync(ASSETS, { recursive: true });
  for (const [name, bytes] of await buildAssets()) {
    const file = join(ASSETS, name);
    if (!check) writeFileSync(file, bytes);
    else if (!readFileSync(file).equals(bytes)) {
      process.stderr.write(`${file} is stale: run 'node server/web/build.ts'\n`);
      process.exitCode = 1;
    }
  }
}

if (import.meta.main) await main();
