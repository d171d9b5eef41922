/** The verb `doctor`: tries each ability of this machine for real, and says what to do about those it lacks. */

import { tryAbilities } from "../../agent/capture/doctor.ts";
import { programFiles } from "./program-files.ts";

/** `thalweg doctor [--json]`. Exit status 0 where everything works, 1 where something is lost. */
export async function doctor(args: readonly string[]): Promise<number> {
  const abilities = tryAbilities(programFiles().nativeDirectory);
  if (args.includes("--json")) {
    process.stdout.write(`${JSON.stringify(abilities)}\n`);
  } else {
    for (const { ability, ok, why, lost, fix } of abilities) {
      process.stdout.write(`${ok ? "✓" : "✗"} ${ability}${ok ? "" : `: ${why}`}\n`);
      if (lost !== "") process.stdout.write(`    lost: ${lost}\n`);
      if (fix !== "") process.stdout.write(`    fix:  ${fix}\n`);
    }
  }
  return abilities.every(({ ok }) => ok) ? 0 : 1;
}
