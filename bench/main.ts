/**
 * `npm run -s bench -- NAME [ARGS]`: runs `bench/NAME.ts` in a process of its own, which prints one JSON line a figure.
 */

import { spawn } from "node:child_process";
import { existsSync, readdirSync } from "node:fs";
import { join } from "node:path";
import process from "node:process";

/** Parts of benches, which do not run by themselves. */
const PARTS = /^main\.ts$|\.test\.ts$|-kit\.ts$/;

function main(): void {
  const [name, ...args] = process.argv.slice(2);
  const file = join(import.meta.dirname, `${name}.ts`);
  if (name === undefined || !/^[a-z0-9-]+$/.test(name) || PARTS.test(`${name}.ts`) || !existsSync(file)) {
    const names = readdirSync(import.meta.dirname).filter((entry) => entry.endsWith(".ts") && !PARTS.test(entry));
    process.stderr.write(
      `There is no bench '${name ?? ""}'. Benches: ${names.map((entry) => entry.slice(0, -3)).join(", ")}\n`,
    );
    process.exitCode = 2;
    return;
  }
  const child = spawn(process.execPath, [file, ...args], { stdio: "inherit" });
  for (const signal of ["SIGINT", "SIGTERM"] as const) process.on(signal, () => child.kill(signal));
  child.on("error", (error) => {
    process.stderr.write(`${file} does not run: ${error.message}\n`);
    process.exitCode = 1;
  });
  child.on("exit", (code) => {
    process.exitCode = code ?? 1;
  });
}

main();
