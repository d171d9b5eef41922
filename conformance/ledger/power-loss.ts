/** Power cuts: a start on what was synced by a random moment of a load, plain and with strange tails on the newest files. */

import { appendFileSync, cpSync, mkdirSync, mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { oneTruthFault } from "../one-truth.ts";
import { Program, sleep } from "../program.ts";
import { runParts, type SuiteReport } from "../suite.ts";
import { ledgerFault, type WriteLedger } from "./ledger-fault.ts";
import { buildPreload } from "./preload.ts";
import { WriteLoad } from "./write-load.ts";

const TAILS = ["nothing", "zeros", "garbage"] as const;
/** A file system extends a file before its bytes are there by pages at most this many bytes at a time. */
const TAIL_BYTES_MAX = 65_536;
const SPANS_PER_SECOND = 20_000;
/** Images of one run of the program. */
const IMAGES_PER_RUN = 5;
/** Each waits most of the time, for calls of which one side is missing to be given up. */
const STARTS_AT_ONCE = 3;
const FLAGS = ["--capture", "off", "--log-level", "warn"];

/** An image of the disk and what was acknowledged before it was taken. */
interface Image {
  readonly directory: string;
  readonly ledger: WriteLedger;
  readonly bodies: number;
}

/** Takes `count` images while a program is under load, and starts a program on each. */
export async function powerLoss(report: SuiteReport, count: number): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "thalweg-power-"));
  try {
    const library = buildPreload(join(import.meta.dirname, "durable-image.c"), work);
    if (typeof library !== "string") return report.skip("power-loss images", library.why, "servers");
    for (let from = 0; from < count; from += IMAGES_PER_RUN) {
      const images = await takeImages(work, library, Math.min(IMAGES_PER_RUN, count - from));
      const starts = images.map((image, index) => async () => {
        const tail = TAILS[(from + index) % TAILS.length] ?? "nothing";
        const name = `power cut ${from + index + 1} (${image.bodies} bodies acknowledged, ${tail} behind)`;
        await startOn(report, name, image, tail);
        rmSync(image.directory, { recursive: true, force: true });
      });
      await runParts(starts, STARTS_AT_ONCE);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

async function takeImages(work: string, library: string, count: number): Promise<Image[]> {
  const data = mkdtempSync(join(work, "data-"));
  const synced = mkdtempSync(join(work, "synced-"));
  const images: Image[] = [];
  const load = new WriteLoad({ spansPerSecond: SPANS_PER_SECOND, lanesPerTransport: 2 });
  const env = { LD_PRELOAD: library, IMAGE_OF: data, IMAGE_TO: synced };
  const program = await Program.start(FLAGS, data, { env });
  try {
    load.sendTo(program);
    while (images.length < count) {
      await load.progress(4, 5_000);
      await sleep(Math.random() * 1_500);
      const directory = mkdtempSync(join(work, "image-"));
      // Nothing moves while the image is copied: what was acknowledged by then is what the ledger holds.
      program.signal("SIGSTOP");
      const { ledger, acknowledged: bodies } = load;
      cpSync(synced, directory, { recursive: true, preserveTimestamps: true });
      program.signal("SIGCONT");
      images.push({ directory, ledger, bodies });
    }
  } finally {
    load.sendTo(undefined);
    await program.kill();
    await load.finish(0);
    for (const directory of [data, synced]) rmSync(directory, { recursive: true, force: true });
  }
  return images;
}

async function startOn(
  report: SuiteReport,
  name: string,
  { directory, ledger }: Image,
  tail: (typeof TAILS)[number],
): Promise<void> {
  // The holder named there did not outlive the power cut; here it may still run.
  for (const file of ["lock", "addresses.json"]) rmSync(join(directory, file), { force: true });
  for (const name of ["db", "wal"]) mkdirSync(join(directory, name), { recursive: true, mode: 0o700 });
  for (const file of newestFiles(directory)) {
    const bytes = Math.floor(Math.random() * TAIL_BYTES_MAX) + 1;
    if (tail === "zeros") appendFileSync(file, Buffer.alloc(bytes));
    if (tail === "garbage") appendFileSync(file, crypto.getRandomValues(Buffer.alloc(bytes)));
  }
  const startedMs = performance.now();
  let program: Program | undefined;
  try {
    program = await Program.start(FLAGS, directory);
    const startMs = Math.round(performance.now() - startedMs);
    report.add(`${name}: there once, up after ${startMs} ms`, await ledgerFault(program, ledger));
    report.add(`${name}: one truth`, await oneTruthFault(program));
  } catch (error) {
    report.add(`${name}: starts`, String(error));
  } finally {
    await program?.kill();
  }
}

/** The logs that are appended to: the WALs of day files and the metric log's last segment. */
function newestFiles(directory: string): string[] {
  const wals = namesIn(join(directory, "db")).filter((path) => path.endsWith(".wal"));
  const segments = namesIn(join(directory, "wal")).sort();
  return [...wals, ...segments.slice(-1)].filter((path) => statSync(path).isFile());
}

function namesIn(directory: string): string[] {
  return readdirSync(directory).map((name) => join(directory, name));
}
