/** The suite `promql`: files of the promqltest language through the engine, over memory and over the real store. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { askEngine } from "./engine-answer.ts";
import { hasMiddle, judge, judgeMiddle, printAnswer } from "./judge.ts";
import { MemoryStore, type TestStore } from "./memory-store.ts";
import { type EvalCase, parseTestFile } from "./test-language.ts";

/** What is run of a folder. */
interface Choice {
  /** Only evals whose query matches. */
  readonly only: RegExp | undefined;
  /** Lists evals that pass too, and shows what the engine answered. */
  readonly show: boolean;
  readonly superseded: ReadonlySet<string>;
}

/**
 * Runs every `*.test` file of a folder.
 *
 * Options behind the suite's name: `--file PART` (files whose name holds it), `--only REGEX` (queries), `--show`.
 */
export async function runPromql({ dir, args = [] }: { dir: string; args?: readonly string[] }): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: { file: { type: "string" }, only: { type: "string" }, show: { type: "boolean" }, dir: { type: "string" } },
    allowPositionals: true,
  });
  const report = new SuiteReport({ quiet: values.show !== true });
  const choice: Choice = {
    only: values.only === undefined ? undefined : new RegExp(values.only),
    show: values.show === true,
    superseded: supersededOf(dir),
  };
  const files = readdirSync(dir).filter((name) => name.endsWith(".test") && name.includes(values.file ?? ""));
  for (const name of files) await runFile(join(dir, name), choice, new MemoryStore(), report);
  return report.outcome;
}

/** Evals that a later version answers differently: listed in the folder of that version, beside this one. */
function supersededOf(dir: string): Set<string> {
  const out = new Set<string>();
  const parent = join(dir, "..");
  for (const folder of existsSync(parent) ? readdirSync(parent) : []) {
    const file = join(parent, folder, "superseded.jsonl");
    if (folder.replace(/-\d[\d.]*$/, "") !== basename(dir) || !existsSync(file)) continue;
    for (const line of readFileSync(file, "utf8").split("\n")) {
      if (line === "") continue;
      const { file: name, old }: { file: string; old: string } = JSON.parse(line);
      out.add(identity(name, old.split("\n")));
    }
  }
  return out;
}

function identity(file: string, lines: readonly string[]): string {
  return `${file}\n${lines.map((line) => line.trim().replace(/\s+/g, " ")).join("\n")}`;
}

async function runFile(path: string, choice: Choice, store: TestStore, report: SuiteReport): Promise<void> {
  const name = basename(path);
  let passed = 0;
  let failed = 0;
  for (const command of parseTestFile(readFileSync(path, "utf8"))) {
    if (command.kind === "clear") await store.clear();
    else if (command.kind === "load") await store.load(command.series);
    else if (command.kind === "malformed") {
      failed++;
      report.add(`${name}:${command.line} ${command.header}`, command.why);
    } else {
      if (choice.only?.test(command.query) === false) continue;
      if (choice.superseded.has(identity(name, command.lines))) continue;
      const fault = await faultOf(command, store, choice.show);
      if (fault === "") passed++;
      else failed++;
      report.add(`${name}:${command.line} ${command.header}`, fault);
    }
  }
  if (passed + failed > 0) process.stdout.write(`${name}: ${passed} passed, ${failed} failed\n`);
}

async function faultOf(wanted: EvalCase, store: TestStore, show: boolean): Promise<string> {
  const answer = await askEngine(store, wanted);
  let fault = judge(wanted, answer);
  let shown = answer;
  if (fault === "" && hasMiddle(wanted)) {
    const minute = 60_000;
    shown = await askEngine(store, {
      query: wanted.query,
      startMs: wanted.startMs - minute,
      endMs: wanted.startMs + minute,
      stepMs: minute,
    });
    fault = judgeMiddle(wanted, shown);
  }
  if (fault === "" || !show) return fault;
  const lines = wanted.lines.slice(1).map((line) => `  ${line}`);
  const got = printAnswer(shown).replaceAll(/^/gm, "  ");
  return [fault, "wanted", ...(lines.length === 0 ? ["  (empty)"] : lines), "got", got].join("\n");
}
