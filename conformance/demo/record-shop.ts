/**
 * Makes `conformance/replays/shop.twcap`: the demo under live capture, in a network namespace of its own so that nothing
 * else of the machine is recorded. Needs root and iproute2; run it from a clone at a neutral path, since the recording
 * holds the paths of the programs.
 */

import { spawn, spawnSync } from "node:child_process";
import { join } from "node:path";
import { startShop } from "./shop.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const SECONDS = 30;
const PER_SECOND = 4;
const INSIDE = "--inside";

async function recordInside(): Promise<void> {
  const up = spawnSync("ip", ["link", "set", "lo", "up"], { encoding: "utf8" });
  if (up.status !== 0) throw new Error(`the loopback of the namespace does not come up: ${up.stderr}`);
  const out = join(ROOT, "conformance", "replays", "shop.twcap");
  const recorder = spawn(
    process.execPath,
    [
      "--disable-warning=ExperimentalWarning",
      join(ROOT, "server", "cli", "main.ts"),
      "record",
      "--out",
      out,
      "--seconds",
      String(SECONDS),
    ],
    { stdio: "inherit" },
  );
  const recorded = new Promise<number | null>((resolve) => recorder.once("exit", (code) => resolve(code)));
  const shop = await startShop(PER_SECOND);
  process.exitCode = (await recorded) ?? 1;
  await shop.stop();
}

if (process.argv.includes(INSIDE)) await recordInside();
else {
  const ran = spawnSync("unshare", ["--net", process.execPath, import.meta.filename, INSIDE], { stdio: "inherit" });
  process.exitCode = ran.status ?? 1;
}
