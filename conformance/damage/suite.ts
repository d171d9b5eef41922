/**
 * Damage: files cut short and flipped, full and failing disks.
 *
 * `--hold SECONDS` holds a disk full or failing for longer than the short form does; `--flips N`
 * flips more bits, `--seed N` those of a run before, `--like REGEX` takes the cases in whose names it is found.
 */

import { parseArgs } from "node:util";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { damagedFiles } from "./damaged-files.ts";
import { failingDisk, fullAtCheckpoint, fullDisk } from "./disk.ts";
import { secondServer } from "./second-server.ts";

const HOLD_SECONDS_DEFAULT = 3;
const FLIPS_DEFAULT = 20;

/** Runs the suite. */
export async function runDamage({ args = [] }: { readonly args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      hold: { type: "string" },
      flips: { type: "string" },
      seed: { type: "string" },
      only: { type: "string" },
      like: { type: "string" },
    },
    allowPositionals: true,
    strict: false,
  });
  const only = typeof values.only === "string" ? values.only : "";
  const holdMs = Number(values.hold ?? HOLD_SECONDS_DEFAULT) * 1000;
  const report = new SuiteReport();
  if ("second".includes(only)) await secondServer(report);
  if ("full".includes(only)) await fullDisk(report, holdMs);
  if ("checkpoint".includes(only)) await fullAtCheckpoint(report, holdMs);
  if ("failing".includes(only)) await failingDisk(report, holdMs);
  const seed = Number(values.seed ?? Date.now() % 1_000_000);
  if ("files".includes(only)) {
    const flips = Number(values.flips ?? FLIPS_DEFAULT);
    const like = new RegExp(typeof values.like === "string" ? values.like : "");
    await damagedFiles(report, { flips, seed, like });
  }
  return report.outcome;
}
