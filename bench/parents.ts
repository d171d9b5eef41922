/**
 * Whose call is it: parents that were drawn inside of processes against what the services say, for each runtime, pattern
 * and number of requests in flight; and what the last-request rule makes of the same events.
 *
 * Run as `npm run -s bench -- parents [--cell PATTERN] [--concurrency 1,8,24,64] [--requests N] [--warm-up N]`, as root. Each
 * cell has processes of its own, which are first asked twice `--warm-up` times. Nothing in a URL, header or body names a
 * request. A table follows the figures on standard error.
 */

import { parseArgs } from "node:util";
import { CELLS } from "../conformance/parents/cells.ts";
import type { Verdict } from "../conformance/parents/judge.ts";
import { missingFor, openWorkshop, runCell, Watcher } from "../conformance/parents/stage.ts";
import { printFigure } from "./figure-kit.ts";

/** A cell in which capture lost calls, or a request failed, is run again. */
const RUNS_MAX = 3;

const share = (part: number, whole: number): number => (whole === 0 ? 0 : part / whole);

function print(name: string, verdict: Verdict): void {
  const { expected, drawn, right, wrong, missing, lastRequest } = verdict;
  const note = JSON.stringify({ expected, drawn, right, wrong, missing, last_request: lastRequest });
  const peer = { name: "last-request rule", version: "" };
  printFigure({
    bench: "parents",
    measure: `${name}: right of expected`,
    unit: "share",
    values: [share(right, expected)],
    peer: { ...peer, values: [share(lastRequest.right, expected)] },
    note,
  });
  printFigure({
    bench: "parents",
    measure: `${name}: wrong of drawn`,
    unit: "share",
    values: [share(wrong, drawn)],
    peer: { ...peer, values: [share(lastRequest.wrong, lastRequest.drawn)] },
  });
}

function row(name: string, verdict: Verdict): string {
  const { expected, drawn, right, wrong, missing, lastRequest, reasons } = verdict;
  const columns = [expected, drawn, right, wrong, missing, lastRequest.drawn, lastRequest.right, lastRequest.wrong];
  return `${name.padEnd(28)}${columns.map((n) => `${n}`.padStart(8)).join("")}  ${JSON.stringify(reasons)}\n`;
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      cell: { type: "string", default: "" },
      concurrency: { type: "string", default: "1,8,24,64" },
      requests: { type: "string", default: "400" },
      "warm-up": { type: "string", default: "150" },
    },
  });
  const workshop = openWorkshop();
  const watcher = await Watcher.start();
  const names = ["expected", "drawn", "right", "wrong", "missing", "lr.drawn", "lr.right", "lr.wrong"];
  process.stderr.write(`${"".padEnd(28)}${names.map((name) => name.padStart(8)).join("")}\n`);
  try {
    for (const cell of CELLS) {
      if (!`${cell.runtime} ${cell.pattern}`.match(values.cell)) continue;
      const missing = await missingFor(cell, workshop);
      if (missing !== "") {
        process.stderr.write(`${cell.runtime} ${cell.pattern}: left out: ${missing}\n`);
        continue;
      }
      for (const concurrency of values.concurrency.split(",").map(Number)) {
        const requests = concurrency === 1 ? Number(values.requests) / 4 : Number(values.requests);
        const warmUp = concurrency === 1 ? Math.ceil(Number(values["warm-up"]) / 3) : Number(values["warm-up"]);
        const name = `${cell.runtime} ${cell.pattern} ${concurrency}`;
        const load = { concurrency, requests, warmUp };
        for (let run = 1; run <= RUNS_MAX; run++) {
          try {
            const verdict = await runCell(watcher, workshop, cell, load);
            print(name, verdict);
            process.stderr.write(row(name, verdict));
            break;
          } catch (error) {
            process.stderr.write(`${name}: ${error instanceof Error ? error.message : String(error)}\n`);
          }
        }
      }
    }
  } finally {
    watcher.stop();
    await workshop.close();
  }
}

await main();
