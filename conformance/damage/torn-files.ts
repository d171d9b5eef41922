/** Day files and WALs that are cut short at every commit and flipped at random bits: what is found is what was stored. */

import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { systemClock } from "../../server/platform/system-clock.ts";
import { openStore } from "../../server/store/store.ts";
import { decodeTraces } from "../../server/wire/otlp-traces-protobuf.ts";
import { freshen, templateBodies } from "../otlp-bodies.ts";
import type { SuiteReport } from "../suite.ts";

const COMMITS_IN_FILE = 5;
const COMMITS_IN_WAL = 6;
const START_MS_MAX = 10_000;
const ANSWER_MS_MAX = 10_000;
const LIMITS = { rowsMax: 100_000, bytesMax: 2 ** 26, timeoutMs: 30_000 };
const ANSWER =
  "SELECT commit_sequence, count(*), bit_xor(hash(trace_id || span_id || name || service || duration_ns)) FROM spans GROUP BY 1";

/** A data directory as kill -9 leaves it, and where in its WAL each commit ends. */
interface Pristine {
  readonly directory: string;
  readonly wal: string;
  readonly file: string;
  /** WAL bytes after each commit, with the commit's number. */
  readonly ends: readonly { readonly sequence: string; readonly bytes: number }[];
  readonly answer: ReadonlyMap<string, string>;
}

/** Cuts the WAL at every commit and a byte beside it, and flips `flips` bits of WAL and day file from `seed`. */
export async function tornFiles(report: SuiteReport, flips: number, seed: number): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "thalweg-torn-"));
  try {
    const pristine = await makePristine(work);
    for (const { sequence, bytes } of pristine.ends) {
      for (const beside of [-1, 0, 1]) {
        const at = Math.min(bytes + beside, statSync(join(pristine.directory, pristine.wal)).size);
        const fault = await judge(work, pristine, at, false, (copy) => truncateSync(join(copy, pristine.wal), at));
        report.add(`WAL cut at commit ${sequence} ${beside < 0 ? "" : "+"}${beside} (byte ${at})`, fault);
      }
    }
    let state = seed >>> 0;
    for (let flip = 0; flip < flips; flip++) {
      const path = flip % 2 === 0 ? pristine.wal : pristine.file;
      const bytes = readFileSync(join(pristine.directory, path));
      state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
      const bit = Math.floor((state / 2 ** 32) * bytes.length * 8);
      const at = bit >> 3;
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
      const whole = path === pristine.wal ? at : -1;
      const fault = await judge(work, pristine, whole, true, (copy) => writeFileSync(join(copy, path), bytes));
      report.add(`seed ${seed}, flip ${flip + 1}: bit ${bit & 7} of byte ${at} of ${path}`, fault);
    }
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function open(directory: string, onDamage: () => void) {
  const memoryLimitBytes = 256 * 2 ** 20;
  return openStore({ directory, clock: systemClock(), retentionMs: 15 * 86_400_000, memoryLimitBytes, onDamage });
}

type OpenStore = Awaited<ReturnType<typeof open>>;

async function makePristine(work: string): Promise<Pristine> {
  const live = join(work, "live");
  const directory = join(work, "pristine");
  const none = () => {
    throw new Error("a fresh directory is damaged");
  };
  const templates = templateBodies("semconv");
  const commit = async (store: OpenStore, serial: number): Promise<string> => {
    const template = templates[serial];
    if (template === undefined) throw new Error("there are no bodies");
    const decoded = decodeTraces(freshen(template, serial, BigInt(Date.now()) * 1_000_000n));
    if (decoded.kind === "malformed") throw new Error(decoded.reason);
    return String((await store.writer.commitSpans(decoded.batch)).sequence);
  };
  const first = await open(live, none);
  for (let serial = 0; serial < COMMITS_IN_FILE; serial++) await commit(first, serial);
  await first.close();
  const store = await open(live, none);
  const ends: { sequence: string; bytes: number }[] = [];
  let wal = "";
  for (let serial = 0; serial < COMMITS_IN_WAL; serial++) {
    const sequence = await commit(store, COMMITS_IN_FILE + serial);
    wal = join("db", readdirSync(join(live, "db")).find((name) => name.endsWith(".wal")) ?? "");
    ends.push({ sequence, bytes: statSync(join(live, wal)).size });
  }
  const answer = await answerOf(store);
  // Nothing is under way: a copy of the open files is what a kill would leave.
  cpSync(live, directory, { recursive: true });
  rmSync(join(directory, "lock"), { force: true });
  await store.close();
  return { directory, wal, file: wal.replace(/\.wal$/, ""), ends, answer };
}

async function answerOf(store: OpenStore): Promise<Map<string, string>> {
  const { rows } = await store.reader.sql({ text: ANSWER, params: [] }, LIMITS);
  return new Map(rows.map(([sequence, count, sum]) => [String(sequence), `${count} ${sum}`]));
}

/** @param wholeBytes Commits that end in the WAL at or before it are untouched, and all of the day file; -1 for none. */
async function judge(
  work: string,
  pristine: Pristine,
  wholeBytes: number,
  mustReport: boolean,
  damage: (copy: string) => void,
): Promise<string> {
  const copy = mkdtempSync(join(work, "copy-"));
  cpSync(pristine.directory, copy, { recursive: true });
  damage(copy);
  let reports = 0;
  const sinceMs = performance.now();
  const store = await open(copy, () => reports++);
  const startMs = performance.now() - sinceMs;
  try {
    const found = await answerInTime(store);
    const faults = startMs > START_MS_MAX ? [`the start took ${Math.round(startMs)} ms`] : [];
    const inWal = new Map(pristine.ends.map(({ sequence, bytes }) => [sequence, bytes]));
    let lost = 0;
    for (const [sequence, was] of pristine.answer) {
      const now = found.get(sequence);
      if (now === undefined) lost++;
      const isWhole = (inWal.get(sequence) ?? 0) <= wholeBytes;
      if (now === undefined ? isWhole : now !== was) faults.push(`commit ${sequence} was ${was}, is ${now ?? "gone"}`);
    }
    if (found.size > pristine.answer.size - lost) faults.push("there are commits that never were");
    // A file that is being set aside is reported when it has moved.
    await store.close();
    if (mustReport && lost > 0 && reports === 0) faults.push(`${lost} commits are gone without a report`);
    return faults.join("\n");
  } finally {
    await store.close();
    rmSync(copy, { recursive: true, force: true });
  }
}

/** A block found bad by a query is set aside; queries after it are answered. */
async function answerInTime(store: OpenStore): Promise<Map<string, string>> {
  const deadline = performance.now() + ANSWER_MS_MAX;
  for (;;) {
    try {
      return await answerOf(store);
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}
