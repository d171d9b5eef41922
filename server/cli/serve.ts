/** The verb `serve`: the server until it is stopped. */

import { readSettings } from "../config/settings.ts";
import { printDurationMs } from "../model/duration.ts";
import { type BannerFacts, renderBanner } from "./banner.ts";
import { moreCapture } from "./more-capture.ts";
import { programFiles } from "./program-files.ts";
import { type RunningServer, startServer } from "./server.ts";
import { defaultDataDirectory, memoryBytesAvailable, sudoOwner } from "./surroundings.ts";
import { untilSignal } from "./until-signal.ts";
import { productVersion } from "./version.ts";

/** A stop that takes longer is unclean. */
const STOP_MS_MAX = 20_000;

/** `thalweg serve FLAGS`. */
export async function serve(args: readonly string[]): Promise<number> {
  return runUntilStopped(args, false, async () => {});
}

/**
 * Starts, prints the banner, runs `afterStart`, and waits for SIGINT or SIGTERM, without rules and scrape jobs also
 * for SIGHUP, which otherwise loads them again.
 *
 * @param playFallback Play the recorded shop where no live rung works.
 * @returns Exit status: 0 stopped cleanly, 3 not.
 */
export async function runUntilStopped(
  args: readonly string[],
  playFallback: boolean,
  afterStart: (server: RunningServer) => Promise<void>,
): Promise<number> {
  const settings = readSettings(args, process.env, {
    dataDirectory: defaultDataDirectory(),
    memoryBytesMax: memoryBytesAvailable(),
  });
  const reloads = settings.ruleFiles.length > 0 || settings.scrapeConfig !== "";
  const stopped = untilSignal(reloads ? ["SIGINT", "SIGTERM"] : ["SIGINT", "SIGTERM", "SIGHUP"]);
  const owner = sudoOwner();
  let started: RunningServer | undefined;
  if (reloads) process.on("SIGHUP", () => void started?.reload());
  const server = await startServer({ settings, files: programFiles(), playFallback, owner });
  started = server;
  process.stdout.write(`${renderBanner(factsOf(server))}\n`);
  await Promise.race([afterStart(server), stopped]);
  await stopped;
  process.stdout.write("Stopping …\n");
  const timer = setTimeout(() => {
    process.stderr.write(`thalweg: did not stop within ${STOP_MS_MAX / 1000} s\n`);
    process.exit(3);
  }, STOP_MS_MAX);
  await server.stop();
  clearTimeout(timer);
  return 0;
}

function factsOf(server: RunningServer): BannerFacts {
  const { settings, addresses } = server;
  const capture = server.capture();
  return {
    version: productVersion(),
    dataDirectory: server.dataDirectory,
    dataNote: server.dataNote,
    retentionText: printDurationMs(settings.retentionMs),
    http: `http://${addresses.http}`,
    otlpGrpc: addresses.otlpGrpc,
    otlpHttp: `http://${addresses.otlpHttp}`,
    capture,
    moreCapture: moreCapture(capture, settings),
    redaction: settings.redaction,
    readyMs: performance.now() + readyBeforeMs(),
  };
}

/** Milliseconds between the first command and this process, as the launcher tells them. */
function readyBeforeMs(): number {
  const startedMs = Number(process.env["THALWEG_STARTED_MS"] ?? "");
  return Number.isFinite(startedMs) && startedMs > 0 ? Math.max(0, performance.timeOrigin - startedMs) : 0;
}
