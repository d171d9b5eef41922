/**
 * `npm test`: runs every test file, prints failures whole and skips by name, and ends with the three counts.
 *
 * `--unit` leaves out the whole-program tests of this folder; words after it choose files by a part of their name.
 */

import { globSync } from "node:fs";
import { relative } from "node:path";
import { run } from "node:test";

const ROOT = new URL("..", import.meta.url).pathname;
/** A test file that takes longer hangs. */
const FILE_TIMEOUT_MS = 600_000;
/** More than two processors have work for, since most of a whole-program test is waiting. */
const FILES_AT_ONCE = 3;
/** Tests that watch the whole machine: whoever speaks beside them would be counted too, so they run one by one and last. */
const ALONE =
  /^conformance\/(see-it|hops|databases|secrets|unix-sockets|twins|field|loss|limits|query-limits|screenshots)/;
/** Tests that compute for minutes, speak to nobody and give way to all: they run beside those. */
const SILENT = /^conformance\/(otlp|metric)-fuzz/;

interface Outcome {
  passed: number;
  failed: number;
  readonly skipped: string[];
}

/** Test files relative to the root, in the order they are run. */
export function testFiles(words: readonly string[]): string[] {
  const unitOnly = words.includes("--unit");
  const parts = words.filter((word) => !word.startsWith("--"));
  const found = globSync("{server,grammar,agent,bpf,conformance,bench,bin}/**/*.test.ts", { cwd: ROOT })
    .filter((file) => !file.includes("node_modules"))
    .filter((file) => !(unitOnly && file.startsWith("conformance/")))
    .filter((file) => parts.length === 0 || parts.some((part) => file.includes(part)));
  // The long ones first, so that the short ones fill the other core.
  const rank = (file: string) => (ALONE.test(file) ? 2 : file.startsWith("conformance/") ? 0 : 1);
  return found.sort((left, right) => rank(left) - rank(right) || left.localeCompare(right));
}

/** Runs files in their order, at most `atOnce` at any time. */
async function runFiles(files: readonly string[], atOnce: number, outcome: Outcome): Promise<void> {
  if (files.length === 0) return;
  const stream = run({
    files: files.map((file) => `${ROOT}${file}`),
    concurrency: atOnce,
    timeout: FILE_TIMEOUT_MS,
    cwd: ROOT,
  });
  for await (const event of stream) {
    if (event.type === "test:stdout" || event.type === "test:stderr") continue;
    if (event.type === "test:summary" && event.data.file !== undefined) {
      const { passed, skipped, topLevel: _ } = event.data.counts;
      process.stdout.write(
        `${relative(ROOT, event.data.file)}: ${passed} passed${skipped > 0 ? `, ${skipped} skipped` : ""}, ${(event.data.duration_ms / 1000).toFixed(1)} s\n`,
      );
      continue;
    }
    if (event.type === "test:pass") {
      if (event.data.details.type === "suite") continue;
      const { skip } = event.data;
      if (skip === undefined || skip === false) outcome.passed++;
      else outcome.skipped.push(`${event.data.name}: ${skip === true || skip === "" ? "no reason given" : skip}`);
    } else if (event.type === "test:fail") {
      if (event.data.details.type === "suite") continue;
      outcome.failed++;
      const file = event.data.file === undefined ? "" : relative(ROOT, event.data.file);
      process.stdout.write(`\nFAILED ${file}:${event.data.line ?? 0} ${event.data.name}\n`);
      const error = event.data.details.error;
      process.stdout.write(
        `${error.cause instanceof Error ? (error.cause.stack ?? error.cause.message) : error.message}\n`,
      );
    }
  }
}

async function main(): Promise<void> {
  const files = testFiles(process.argv.slice(2));
  const startedMs = performance.now();
  const outcome: Outcome = { passed: 0, failed: 0, skipped: [] };
  const those = (kind: RegExp) => files.filter((file) => kind.test(file));
  await runFiles(
    files.filter((file) => !ALONE.test(file) && !SILENT.test(file)),
    FILES_AT_ONCE,
    outcome,
  );
  await Promise.all([runFiles(those(ALONE), 1, outcome), runFiles(those(SILENT), 1, outcome)]);
  for (const line of outcome.skipped) process.stdout.write(`skipped: ${line}\n`);
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
  process.stdout.write(
    `${outcome.passed} passed, ${outcome.failed} failed, ${outcome.skipped.length} skipped (${files.length} files, ${seconds} s)\n`,
  );
  process.exitCode = outcome.failed === 0 && outcome.passed > 0 ? 0 : 1;
}

if (import.meta.main) await main();
