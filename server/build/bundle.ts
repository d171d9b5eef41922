/**
 * Bundles the program with esbuild: for the npm package (modules, packages left outside) and for the executable
 * (CommonJS, everything inside but DuckDB's native files).
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { build, type Metafile, type Plugin } from "esbuild";

/** Directory of the clone. */
export const ROOT = join(import.meta.dirname, "..", "..");

const ENTRIES = {
  thalweg: "server/cli/main.ts",
  "agent-worker": "agent/agent-worker.ts",
  "syn-thread": "agent/capture/syn-thread.ts",
  "promql-worker": "server/query/promql-worker.ts",
  "decode-worker": "server/ingest/decode-worker.ts",
} as const;

/** DuckDB's bindings pick a package by platform; the executable loads the one file it carries. */
const duckdbFromDirectory: Plugin = {
  name: "duckdb-from-directory",
  setup(builder) {
    builder.onResolve({ filter: /^@duckdb\/node-bindings$/ }, () => ({ path: "duckdb", namespace: "natives" }));
    builder.onLoad({ filter: /.*/, namespace: "natives" }, () => ({
      resolveDir: ROOT,
      contents: `
        import { createRequire } from "node:module";
        import { join } from "node:path";
        import { unpackNatives } from "./server/cli/unpacked-natives.ts";
        module.exports = createRequire(process.execPath)(join(unpackNatives(), "duckdb.node"));
      `,
      loader: "ts",
    }));
  },
};

/** The version in package.json. */
export function manifestVersion(): string {
  const manifest: unknown = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
  if (typeof manifest === "object" && manifest !== null && "version" in manifest) return String(manifest.version);
  throw new Error("package.json has no version");
}

/**
 * Bundles into `directory`.
 *
 * @param form `package`: `.mjs` files that import their packages. `executable`: `.cjs` files with everything inside.
 * @returns What went in, for the notices.
 */
export async function bundleInto(directory: string, form: "package" | "executable"): Promise<Metafile> {
  const executable = form === "executable";
  const built = await build({
    entryPoints: Object.entries(ENTRIES).map(([out, file]) => ({ out, in: join(ROOT, file) })),
    outdir: directory,
    bundle: true,
    platform: "node",
    target: "node24",
    format: executable ? "cjs" : "esm",
    outExtension: { ".js": executable ? ".cjs" : ".mjs" },
    // Names are kept whole, since stack traces of the executable cannot be mapped back.
    minify: false,
    legalComments: "none",
    metafile: true,
    define: { THALWEG_VERSION: JSON.stringify(manifestVersion()) },
    logLevel: "error",
    logOverride: { "empty-import-meta": "silent" },
    ...(executable ? { plugins: [duckdbFromDirectory] } : { packages: "external" as const, external: ["node:*"] }),
  });
  return built.metafile;
}
