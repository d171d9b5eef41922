/**
 * Makes `conformance/replays/shop.twcap`: the processes of the demo under live capture, and no others.
 *
 * Needs root; run it from a clone at a neutral path, since the recording holds the paths of the programs.
 */

import { spawn } from "node:child_process";
import { join } from "node:path";
import { startShop } from "./shop.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const SECONDS = 30;
const PER_SECOND = 4;
/** The recorder is attached before the first visit, so that connections are recorded from their start. */
const VISIT_AFTER_MS = 4_000;

const shop = await startShop(PER_SECOND, VISIT_AFTER_MS);
const recorder = spawn(
  process.execPath,
  [
    "--disable-warning=ExperimentalWarning",
    join(ROOT, "server", "cli", "main.ts"),
    "record",
    "--out",
    join(ROOT, "conformance", "replays", "shop.twcap"),
    "--seconds",
    String(SECONDS),
    ...shop.pids.flatMap((pid) => ["--pid", String(pid)]),
  ],
  { stdio: "inherit" },
);
process.exitCode = (await new Promise<number | null>((resolve) => recorder.once("exit", resolve))) ?? 1;
await shop.stop();
