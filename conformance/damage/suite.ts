/**
 * Damage: files cut short and flipped, full and failing disks.
 *
 * `--hold SECONDS` holds a disk full or failing for longer than the short form does.
 */

import { parseArgs } from "node:util";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { failingDisk, fullDisk } from "./disk.ts";

const HOLD_SECONDS_DEFAULT = 3;

/** Runs the suite. */
export async function runDamage({ args = [] }: { readonly args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: { hold: { type: "string" }, only: { type: "string" } },
    allowPositionals: true,
    strict: false,
  });
  const only = typeof values.only === "string" ? values.only : "";
  const holdMs = Number(values.hold ?? HOLD_SECONDS_DEFAULT) * 1000;
  const report = new SuiteReport();
  if ("full".includes(only)) await fullDisk(report, holdMs);
  if ("failing".includes(only)) await failingDisk(report, holdMs);
  return report.outcome;
}
