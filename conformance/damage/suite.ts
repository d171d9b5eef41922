/**
 * Damage: files cut short and flipped, full and failing disks.
 *
 * `--hold SECONDS` holds a disk full or failing for longer than the short form does; `--flips N`
 * flips more bits, `--seed N` those of a run before.
 */

import { parseArgs } from "node:util";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { failingDisk, fullAtCheckpoint, fullDisk } from "./disk.ts";
import { tornFiles } from "./torn-files.ts";

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
    },
    allowPositionals: true,
    strict: false,
  });
  const only = typeof values.only === "string" ? values.only : "";
  const holdMs = Number(values.hold ?? HOLD_SECONDS_DEFAULT) * 1000;
  const report = new SuiteReport();
  if ("full".includes(only)) await fullDisk(report, holdMs);
  if ("checkpoint".includes(only)) await fullAtCheckpoint(report, holdMs);
  if ("failing".includes(only)) await failingDisk(report, holdMs);
  const seed = Number(values.seed ?? Date.now() % 1_000_000);
  if ("torn".includes(only)) await tornFiles(report, Number(values.flips ?? FLIPS_DEFAULT), seed);
  return report.outcome;
}
