/**
 * Writes the parsers of `*.peggy` to `generated/`; the same grammar always gives the same bytes.
 *
 * Run `node grammar/generate.ts`, or with `--check` to be told (exit status 1) that a committed parser is stale.
 * Needs peggy, which is a development dependency: running the product does not.
 */

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import peggy from "peggy";

/** Grammars by the name of their file, with the functions they export. */
export const GRAMMARS: readonly string[] = ["promql", "sql"];

/** Rules of a grammar from which a text may be read, where there is more than one. */
const STARTS: Readonly<Record<string, string[]>> = { promql: ["start", "metric_selector"] };

/** Text of the parser module made from one grammar. */
export function generateParser(name: string): string {
  const grammar = readFileSync(grammarPath(name), "utf8");
  const source = peggy.generate(grammar, {
    output: "source",
    format: "es",
    cache: false,
    allowedStartRules: STARTS[name] ?? ["start"],
  });
  return [
    "// @ts-nocheck",
    `// Generated from ${name}.peggy by generate.ts. Change the grammar, not this file.`,
    "",
    source,
    "",
  ].join("\n");
}

/** Where the parser of a grammar is committed. */
export function generatedPath(name: string): string {
  return fileURLToPath(new URL(`generated/${name}-parser.ts`, import.meta.url));
}

/** Names of grammars whose committed parser is not what they give now. */
export function staleParsers(): string[] {
  return GRAMMARS.filter((name) => {
    try {
      return readFileSync(generatedPath(name), "utf8") !== generateParser(name);
    } catch {
      return true; // not there yet
    }
  });
}

function grammarPath(name: string): string {
  return fileURLToPath(new URL(`${name}.peggy`, import.meta.url));
}

if (process.argv[1] === fileURLToPath(import.meta.url)) {
  const stale = staleParsers();
  if (process.argv.includes("--check")) {
    for (const name of stale)
      console.error(`grammar/generated/${name}-parser.ts is stale: run node grammar/generate.ts`);
    process.exitCode = stale.length > 0 ? 1 : 0;
  } else {
    for (const name of stale) writeFileSync(generatedPath(name), generateParser(name));
  }
}
