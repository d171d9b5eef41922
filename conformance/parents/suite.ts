/**
 * Parents inside of processes against what the services say they did: a short form of `bench -- parents`.
 */

import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { CELLS, type Cell, DRAWN_SHARE_MIN, WRONG_SHARE_MAX } from "./cells.ts";
import type { Verdict } from "./judge.ts";
import { missingFor, openWorkshop, runCell, Watcher } from "./stage.ts";

/** One number of requests in flight, at which guesses go wrong where evidence is wanting. */
const LOAD = { concurrency: 16, requests: 120, warmUp: 80 };
const TRIES = 2;
/** Cells that are run only where words name them, and by the bench: others show the same in less time. */
const SHOWN_BY_OTHERS =
  /(new|keep-alive|parallel|threads|prefork|gather) TLS$|^node (fs|pool) asked$|^chain nginx, Node, Python$/;
/** What shows most of TLS: a proxy that opens a connection for each call. */
const SHOWS_TLS = /^nginx new TLS$/;

/** The suite `parents`. Words choose cells. */
export async function runParents(words: readonly string[] = []): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  if (process.getuid?.() !== 0) {
    report.skip("parents", "live capture needs root", "capture");
    return report.outcome;
  }
  const named = CELLS.filter((cell) => nameOf(cell) === words.join(" "));
  const cells = named.length > 0 ? named : CELLS.filter((cell) => isWanted(nameOf(cell), words));
  const workshop = openWorkshop();
  const watcher = await Watcher.start();
  try {
    for (const cell of cells) {
      const missing = await missingFor(cell, workshop);
      if (missing !== "") {
        // Debian's own Java and Go are too old for these.
        const isOptional = cell.needs.some((need) => need === "virtual threads" || need === "started goroutines");
        if (isOptional) process.stdout.write(`left out: ${nameOf(cell)}: ${missing}\n`);
        else report.skip(`parents: ${nameOf(cell)}`, missing, "servers");
        continue;
      }
      let fault = "";
      let verdict: Verdict | undefined;
      // A machine that is busy with something else may lose calls, which is no fault of a rule.
      for (let run = 0; run < TRIES && (verdict === undefined || fault !== ""); run++) {
        try {
          verdict = await runCell(watcher, workshop, cell, LOAD);
          fault = faultOf(cell, verdict);
        } catch (error) {
          fault = error instanceof Error ? error.message : String(error);
        }
      }
      report.add(`${nameOf(cell)}: ${verdict === undefined ? "" : summary(verdict)}`, fault);
    }
  } finally {
    watcher.stop();
    await workshop.close();
  }
  return report.outcome;
}

function isWanted(name: string, words: readonly string[]): boolean {
  if (words.length === 0) return SHOWS_TLS.test(name) || !SHOWN_BY_OTHERS.test(name);
  return words.every((word) => name.includes(word));
}

function nameOf({ runtime, pattern }: Cell): string {
  return `${runtime} ${pattern}`;
}

function summary({ expected, right, wrong, missing }: Verdict): string {
  return `${right} right, ${wrong} wrong, ${missing} unknown of ${expected}`;
}

function faultOf(cell: Cell, verdict: Verdict): string {
  const { expected, drawn, wrong, reasons } = verdict;
  const told = `${summary(verdict)}: ${JSON.stringify(reasons)}`;
  if (expected < LOAD.requests * cell.calls) return `${expected} calls were told, not ${LOAD.requests * cell.calls}`;
  if (wrong > WRONG_SHARE_MAX * drawn) return `too many are wrong: ${told}`;
  return cell.isDrawn && drawn < DRAWN_SHARE_MIN * expected ? `too few are drawn: ${told}` : "";
}
