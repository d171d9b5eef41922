/** The verb `record`: raw capture events, payload included, into a file of mode 0600. */

import { parseArgs } from "node:util";
import { chooseRung } from "../../agent/capture/ladder.ts";
import { recordTo } from "../../agent/capture/record.ts";
import { RungRefused, type RungStart } from "../../agent/capture/rung.ts";
import { ThalwegError } from "../model/errors.ts";
import { programFiles } from "./program-files.ts";

const FILE_BYTES_MAX = 256 * 2 ** 20;
const USAGE = "Usage: thalweg record --out FILE [--pid N]… [--seconds S]\n";

/** `thalweg record --out FILE [--pid N]… [--seconds S]`; without `--seconds` until it is interrupted. */
export async function record(args: readonly string[]): Promise<number> {
  const asked = readArgs(args);
  if (asked === undefined) {
    process.stderr.write(USAGE);
    return 2;
  }
  const start: RungStart = (sink) => {
    const files = programFiles();
    const outcome = chooseRung(
      { kind: "auto" },
      {
        sink,
        nativeDirectory: files.nativeDirectory,
        excludePids: [process.pid],
        excludePorts: [],
        synThread: files.synThread,
      },
    );
    if (outcome.kind === "running") return outcome.rung;
    throw new ThalwegError("capture_failed", { rung: "auto", why: outcome.why, fix: outcome.fix });
  };
  try {
    const recording = await recordTo(asked.out, start, { pids: asked.pids, fileBytesMax: FILE_BYTES_MAX });
    process.stderr.write(
      `Recording with rung '${recording.rung.name}' into ${asked.out}. The file holds payload as it passed: passwords and ` +
        "tokens too. Its mode is 0600; delete it when you are done.\n",
    );
    await untilStopped(asked.seconds);
    await recording.stop();
    const { events, fileBytes, trouble } = recording.written;
    process.stderr.write(`Recorded ${events} events, ${fileBytes} bytes${trouble === "" ? "" : `; ${trouble}`}\n`);
    if (events === 0) process.stderr.write("Nothing passed: is the process id right, and did it talk over TCP?\n");
    return 0;
  } catch (error) {
    if (!(error instanceof RungRefused)) throw error;
    throw new ThalwegError("capture_failed", { rung: error.rung, why: error.why, fix: error.fix }, error);
  }
}

function readArgs(args: readonly string[]): { out: string; pids: number[]; seconds: number } | undefined {
  try {
    const { values } = parseArgs({
      args: [...args],
      options: { out: { type: "string" }, pid: { type: "string", multiple: true }, seconds: { type: "string" } },
    });
    const pids = (values.pid ?? []).map(Number);
    const seconds = Number(values.seconds ?? "0");
    if (values.out === undefined || pids.some((pid) => !Number.isInteger(pid) || pid < 1) || !(seconds >= 0))
      return undefined;
    return { out: values.out, pids, seconds };
  } catch {
    // parseArgs throws for an unknown flag; the usage names the known ones.
    return undefined;
  }
}

function untilStopped(seconds: number): Promise<void> {
  return new Promise((resolve) => {
    if (seconds > 0) setTimeout(resolve, seconds * 1000);
    for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => resolve());
  });
}
