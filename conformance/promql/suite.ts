/** The suite `promql`: files of the promqltest language through the engine, over memory and over the real store. */

import { existsSync, readdirSync, readFileSync } from "node:fs";
import { basename, join } from "node:path";
import { parseArgs } from "node:util";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { type Asked, askEngine } from "./engine-answer.ts";
import { fixedTimeQueries } from "./fixed-time.ts";
import { hasMiddle, judge, judgeMiddle, printAnswer } from "./judge.ts";
import { MemoryStore, type TestStore } from "./memory-store.ts";
import { RealStore } from "./real-store.ts";
import { type EvalCase, parseTestFile } from "./test-language.ts";

/** Ways to run a file. */
const RUNS: Readonly<Record<string, { readonly open: () => TestStore; readonly fixesTimes: boolean }>> = {
  /** Samples in the head of the product's own store. */
  head: { open: () => new RealStore(false), fixesTimes: false },
  /** Samples in its blocks. */
  blocks: { open: () => new RealStore(true), fixesTimes: false },
  /** The engine alone, fast. */
  memory: { open: () => new MemoryStore(), fixesTimes: false },
  /** The engine alone; each query is asked at other times too, bound to its own by `@`. */
  fixed: { open: () => new MemoryStore(), fixesTimes: true },
};
const MINUTE_MS = 60_000;
/** Files run at the same time: a store waits for the disk most of its time. */
const FILES_AT_ONCE = 4;
/** What runs unless `--run` says otherwise. */
const RUNS_DEFAULT = ["head", "blocks", "fixed"];

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
 * Options behind the suite's name: `--file PART` (files whose name holds it), `--only REGEX` (queries), `--show`,
 * `--run NAME` (`memory` is the fast one).
 */
export async function runPromql({ dir, args = [] }: { dir: string; args?: readonly string[] }): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      file: { type: "string" },
      only: { type: "string" },
      show: { type: "boolean" },
      run: { type: "string" },
      dir: { type: "string" },
    },
    allowPositionals: true,
  });
  const report = new SuiteReport({ quiet: values.show !== true });
  const choice: Choice = {
    only: values.only === undefined ? undefined : new RegExp(values.only),
    show: values.show === true,
    superseded: supersededOf(dir),
  };
  const files = readdirSync(dir).filter((name) => name.endsWith(".test") && name.includes(values.file ?? ""));
  for (const name of values.run === undefined ? RUNS_DEFAULT : [values.run]) {
    const way = RUNS[name];
    if (way === undefined) throw new Error(`there is no run '${name}'; there are ${Object.keys(RUNS).join(", ")}`);
    const waiting = [...files];
    const work = async () => {
      for (let file = waiting.shift(); file !== undefined; file = waiting.shift())
        await runFile(join(dir, file), { ...choice, run: name, fixesTimes: way.fixesTimes }, way.open(), report);
    };
    await Promise.all(Array.from({ length: FILES_AT_ONCE }, work));
  }
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

async function runFile(
  path: string,
  choice: Choice & { readonly run: string; readonly fixesTimes: boolean },
  store: TestStore,
  report: SuiteReport,
): Promise<void> {
  const file = basename(path);
  const commands = parseTestFile(readFileSync(path, "utf8"));
  let passed = 0;
  let failed = 0;
  // Where a load went wrong, every eval over it would tell the same.
  let loadFault = "";
  const add = (line: number, header: string, fault: string) => {
    if (fault === "") passed++;
    else failed++;
    report.add(`${file}:${line} ${choice.run} ${header}`, fault);
  };
  try {
    for (const command of commands) {
      switch (command.kind) {
        case "clear":
          await store.clear();
          loadFault = "";
          break;
        case "load":
          try {
            await store.load(command.series);
          } catch (cause) {
            loadFault = `the load of line ${command.line}: ${cause instanceof Error ? cause.message : cause}`;
          }
          break;
        case "malformed":
          add(command.line, command.header, command.why);
          break;
        case "eval":
          if (choice.only?.test(command.query) === false) break;
          if (choice.superseded.has(identity(file, command.lines))) break;
          add(command.line, command.header, loadFault || (await faultOf(command, store, choice)));
      }
    }
  } finally {
    await store.clear();
  }
  if (passed + failed > 0) process.stdout.write(`${file}, ${choice.run}: ${passed} passed, ${failed} failed\n`);
}

async function faultOf(
  wanted: EvalCase,
  store: TestStore,
  { show, fixesTimes }: { readonly show: boolean; readonly fixesTimes: boolean },
): Promise<string> {
  const asked: readonly Asked[] = [wanted, ...(fixesTimes ? fixedTimeQueries(wanted) : [])];
  for (const one of asked) {
    const answer = await askEngine(store, one);
    let fault = judge(wanted, answer);
    let shown = answer;
    if (fault === "" && hasMiddle(wanted)) {
      const times = { startMs: one.startMs - MINUTE_MS, endMs: one.startMs + MINUTE_MS, stepMs: MINUTE_MS };
      shown = await askEngine(store, { query: one.query, ...times });
      fault = judgeMiddle(wanted, shown, one.startMs);
    }
    if (fault === "") continue;
    if (one !== wanted) fault = `asked at ${one.startMs / 1000} s as ${one.query}: ${fault}`;
    if (!show) return fault;
    const lines = wanted.lines.slice(1).map((line) => `  ${line}`);
    const got = printAnswer(shown).replaceAll(/^/gm, "  ");
    return [fault, "wanted", ...(lines.length === 0 ? ["  (empty)"] : lines), "got", got].join("\n");
  }
  return "";
}
