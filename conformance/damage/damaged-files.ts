/**
 * Files that are cut short at every commit, flipped at random bits, zero-filled, half created, or not files at all: the
 * program starts by itself, answers over the undamaged range as before, and reports what it lost.
 */

import { spawnSync } from "node:child_process";
import {
  appendFileSync,
  chmodSync,
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { basename, join } from "node:path";
import { unservedMs } from "../limits/watch.ts";
import { Program, sleep } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { answersOf, makePristine, type Pristine, type Unit } from "./pristine.ts";

const FLAGS = ["--capture", "off", "--log-level", "info"];
const START_MS_MAX = 10_000;
/** Threads wait for each other: where one of them had no processor, so much of that again is waiting for others like it. */
const OTHERS_SHARE = 1 / 4;
const START_ATTEMPTS_MAX = 3;
const ANSWER_MS_MAX = 15_000;
/** Programs that run at one time. */
const AT_ONCE = 2;
const NOBODY = 65_534;

/** What is done to a file, and from which byte on it is not what it was. */
interface Damage {
  readonly name: string;
  readonly file: string;
  readonly from: number;
  /** First byte behind the damage; infinite for a cut. */
  readonly to: number;
  /** A cut between two writes leaves nothing to see: nobody is told. */
  readonly silent?: boolean;
  readonly apply: (path: string) => void;
}

/** What is damaged. */
interface DamageChoice {
  readonly flips: number;
  /** Chooses the bits. */
  readonly seed: number;
  /** Only cases whose name it is found in. */
  readonly like: RegExp;
}

/** Damages copies of one directory, one at a time, and starts a program on each. */
export async function damagedFiles(report: SuiteReport, { flips, seed, like }: DamageChoice): Promise<void> {
  const work = mkdtempSync(join(tmpdir(), "thalweg-damage-"));
  try {
    const pristine = await makePristine(work);
    const before = await judged(work, pristine, undefined, new Map());
    const missing = [...pristine.units.keys()].filter((key) => !before.answers.has(key));
    const strange = [...before.answers.keys()].filter((key) => !pristine.units.has(key));
    const wrong = [...missing.map((key) => `${key} is missing`), ...strange.map((key) => `${key} never was`)];
    report.add(
      `undamaged: ${pristine.units.size} things are found, up after ${before.startMs} ms`,
      [...before.faults, ...wrong].slice(0, 5).join("\n"),
    );
    const damages = [...cuts(pristine), ...zeros(pristine), ...flipsOf(pristine, flips, seed)].filter(({ name }) =>
      like.test(name),
    );
    let slowestMs = 0;
    await inPool(damages, async (damage) => {
      const { faults, startMs, lost } = await judged(work, pristine, damage, before.answers);
      slowestMs = Math.max(slowestMs, startMs);
      report.add(`${damage.name}: ${lost} of ${pristine.units.size} lost, up after ${startMs} ms`, faults.join("\n"));
    });
    const odds = ODDITIES.filter(({ name }) => like.test(name));
    await inPool(odds, async (odd) => report.add(odd.name, await judgeOddity(work, pristine, odd, before.answers)));
    const rights = "a file that may not be read is named and left";
    if (like.test(rights)) report.add(rights, await withoutRights(work, pristine, before.answers));
    report.add(`slowest start: ${slowestMs} ms`, "");
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

function cuts(pristine: Pristine): Damage[] {
  const cut = (file: string, at: number, silent: boolean): Damage => {
    const from = Math.min(at, sizeOf(pristine, file));
    const name = `${file} cut at byte ${from}`;
    return { name, file, from, to: Number.POSITIVE_INFINITY, silent, apply: (path) => truncateSync(path, from) };
  };
  const logs = [
    ...pristine.walEnds.flatMap((end) => [-1, 0, 1].map((beside) => cut(pristine.wal, end + beside, beside === 0))),
    ...pristine.segmentEnds.flatMap((end) =>
      [-1, 0, 1].map((beside) => cut(pristine.segment, end + beside, beside === 0)),
    ),
  ];
  const files = [...pristine.dayFiles, ...pristine.blocks].flatMap((file) => {
    const size = sizeOf(pristine, file);
    return [size - 1, Math.floor(size / 2), 0].map((at) => cut(file, at, false));
  });
  return [...logs, ...files];
}

function zeros(pristine: Pristine): Damage[] {
  const { wal, segment, dayFiles, blocks } = pristine;
  return [wal, segment, ...dayFiles.slice(-1), ...blocks.slice(-1)].flatMap((file) => {
    const size = sizeOf(pristine, file);
    const half = Math.floor(size / 2);
    return [0, half].map((from) => ({
      name: `${file} zero-filled from byte ${from}`,
      file,
      from,
      to: size,
      // Zeros up to the end are what a power cut leaves of writes that were not synced.
      silent: file === wal || file === segment,
      apply: (path: string) => writeFileSync(path, readFileSync(path).fill(0, from)),
    }));
  });
}

function flipsOf(pristine: Pristine, flips: number, seed: number): Damage[] {
  const { wal, segment, dayFiles, blocks } = pristine;
  const files = [wal, segment, ...dayFiles, ...blocks];
  let state = seed >>> 0;
  return Array.from({ length: flips }, (_, flip) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const file = files[flip % files.length] ?? wal;
    const bit = Math.floor((state / 2 ** 32) * sizeOf(pristine, file) * 8);
    const at = bit >> 3;
    const apply = (path: string) => {
      const bytes = readFileSync(path);
      bytes[at] = (bytes[at] ?? 0) ^ (1 << (bit & 7));
      writeFileSync(path, bytes);
    };
    return {
      name: `seed ${seed}, flip ${flip + 1}: bit ${bit & 7} of byte ${at} of ${file}`,
      file,
      from: at,
      to: at + 1,
      apply,
    };
  });
}

function sizeOf({ directory }: Pristine, file: string): number {
  return statSync(join(directory, file)).size;
}

/** What a program made of a copy. */
interface Judged {
  readonly answers: Map<string, string>;
  readonly faults: string[];
  readonly startMs: number;
  readonly lost: number;
  /** One of the faults is that the start took too long. */
  readonly isSlow: boolean;
}

/** Starts a program on a damaged copy, and compares; again where that was slow, since what is too slow is so each time. */
async function judged(
  work: string,
  pristine: Pristine,
  damage: Damage | undefined,
  before: ReadonlyMap<string, string>,
): Promise<Judged> {
  for (let attempt = 1; ; attempt++) {
    const found = await judgedOnce(work, pristine, damage, before);
    if (!found.isSlow || attempt === START_ATTEMPTS_MAX) return found;
  }
}

async function judgedOnce(
  work: string,
  pristine: Pristine,
  damage: Damage | undefined,
  before: ReadonlyMap<string, string>,
): Promise<Judged> {
  const copy = mkdtempSync(join(work, "copy-"));
  cpSync(pristine.directory, copy, { recursive: true });
  damage?.apply(join(copy, damage.file));
  const faults: string[] = [];
  const sinceMs = performance.now();
  let program: Program | undefined;
  try {
    program = await Program.start(FLAGS, copy);
    const startMs = Math.round(performance.now() - sinceMs);
    // On a machine that others use, it waits for a processor beside all that it waits for itself.
    const otherMs = Math.round(unservedMs(program.pid));
    const isSlow = startMs - otherMs * (1 + OTHERS_SHARE) > START_MS_MAX;
    if (isSlow) faults.push(`the start took ${startMs} ms, ${otherMs} of them without a processor`);
    const answers = await answersInTime(program);
    let lost = 0;
    for (const [key, was] of before) {
      const now = answers.get(key);
      if (now === undefined) lost++;
      const unit = pristine.units.get(key);
      if (now === undefined ? damage === undefined || !isHit(unit, damage) : now !== was)
        faults.push(`${key} was ${was}, is ${now ?? "gone"}`);
    }
    for (const key of answers.keys()) {
      if (damage !== undefined && !before.has(key)) faults.push(`${key} never was`);
    }
    if (damage !== undefined && lost > 0 && damage.silent !== true)
      faults.push(...(await reportFaults(program, damage)));
    return { answers, faults: faults.slice(0, 5), startMs, lost, isSlow };
  } catch (error) {
    return { answers: new Map(), faults: [String(error).slice(0, 2_000)], startMs: 0, lost: 0, isSlow: false };
  } finally {
    await program?.kill();
    rmSync(copy, { recursive: true, force: true });
  }
}

/** Whether damage may have cost a thing: it changed its bytes, or a log ends before them. */
function isHit(unit: Unit | undefined, damage: Damage): boolean {
  if (unit === undefined) return false;
  // DuckDB reads a log up to the first bad entry.
  const reaches = damage.file.endsWith(".wal") ? Number.POSITIVE_INFINITY : damage.to;
  return unit.places.some(({ file, from, to }) => file === damage.file && damage.from < to && reaches > from);
}

/** A loss is counted, and told with the file, a place at or before the damage, and what was kept of it. */
async function reportFaults(program: Program, damage: Damage): Promise<string[]> {
  const faults: string[] = [];
  const name = basename(damage.file);
  let told: { file: string; offset: number; quarantine: string } | undefined;
  // A block that a query found bad is set aside after the query was answered.
  for (let tries = 0; tries < 50 && told === undefined; tries++) {
    for (const line of program.output.split("\n")) {
      if (!line.includes("data_damaged") || !line.startsWith("{")) continue;
      const entry: { file: string; offset: number; quarantine: string } = JSON.parse(line);
      if (entry.file.endsWith(name)) told = entry;
    }
    if (told === undefined) await sleep(100);
  }
  if (told === undefined) return ["the loss is not in the log"];
  if (told.offset >= damage.to) faults.push(`it is told from byte ${told.offset} on`);
  if (!existsSync(told.quarantine)) faults.push(`${told.quarantine} is not there`);
  const counted = await program.counter("thalweg_store_damage_total");
  if (counted === 0) faults.push("the loss is not counted");
  return faults;
}

/** A block of a day file that a query finds bad is set aside with its file; queries after it are answered. */
async function answersInTime(program: Program): Promise<Map<string, string>> {
  const deadline = performance.now() + ANSWER_MS_MAX;
  for (;;) {
    try {
      return await answersOf(program);
    } catch (error) {
      if (performance.now() > deadline) throw error;
      await sleep(100);
    }
  }
}

/** Something that lies in the directory and should not, or should and does not: nothing may be lost. */
interface Oddity {
  readonly name: string;
  readonly apply: (directory: string, pristine: Pristine) => void;
}

const ODDITIES: readonly Oddity[] = [
  {
    name: "a day file that was being made is made again",
    apply: (directory) => {
      const path = join(directory, "db", "unfinished-2099-01-01.duckdb");
      writeFileSync(path, Buffer.alloc(12_288));
      writeFileSync(`${path}.wal`, "half");
    },
  },
  {
    name: "a block that was being written is passed over",
    apply: (directory) => writeFileSync(join(directory, "blocks", "unfinished-9.metrics"), Buffer.alloc(5_000, 7)),
  },
  {
    name: "a segment of the metric log without a byte is passed over",
    apply: (directory) => writeFileSync(join(directory, "wal", "metrics-00000099.log"), ""),
  },
  {
    name: "a directory in place of a day file is passed over",
    apply: (directory) => mkdirSync(join(directory, "db", "spans-2020-01-01.duckdb")),
  },
  {
    name: "a directory in place of a segment of the metric log is passed over",
    apply: (directory) => mkdirSync(join(directory, "wal", "metrics-00000098.log")),
  },
  {
    name: "a directory in place of a block is passed over",
    apply: (directory, { blocks }) => {
      const name = basename(blocks.at(-1) ?? "").replace(/\d+/, (digits) =>
        String(Number(digits) + 50).padStart(digits.length, "0"),
      );
      mkdirSync(join(directory, "blocks", name));
    },
  },
  {
    name: "a directory in place of addresses.json is passed over",
    apply: (directory) => {
      for (const name of ["addresses.json", "addresses.json.new"])
        mkdirSync(join(directory, name, "in it"), { recursive: true });
    },
  },
  {
    name: "the lock of a killed server, cut short or zero-filled, is nobody's",
    apply: (directory) => writeFileSync(join(directory, "lock"), Buffer.alloc(9)),
  },
  {
    name: "garbage behind both logs is a torn end",
    apply: (directory, { wal, segment }) => {
      for (const file of [wal, segment])
        appendFileSync(join(directory, file), crypto.getRandomValues(Buffer.alloc(999)));
    },
  },
  {
    name: "directories that are gone are made again",
    apply: (directory) => {
      for (const name of ["tmp", "secret"]) rmSync(join(directory, name), { recursive: true, force: true });
    },
  },
];

async function judgeOddity(
  work: string,
  pristine: Pristine,
  { apply }: Oddity,
  before: ReadonlyMap<string, string>,
): Promise<string> {
  const damage: Damage = {
    name: "",
    file: "",
    from: 0,
    to: 0,
    apply: (path) => apply(path, pristine),
  };
  return (await judged(work, pristine, damage, before)).faults.join("\n");
}

/** As somebody who may not read a day file, then as one who may. */
async function withoutRights(work: string, pristine: Pristine, before: ReadonlyMap<string, string>): Promise<string> {
  if (process.getuid?.() !== 0) return "";
  const copy = mkdtempSync(join(work, "copy-"));
  cpSync(pristine.directory, copy, { recursive: true });
  const file = join(copy, pristine.dayFiles[0] ?? "");
  spawnSync("chown", ["-R", String(NOBODY), copy]);
  chmodSync(work, 0o755);
  spawnSync("chown", ["0", file]);
  chmodSync(file, 0o600);
  const asNobody = ["setpriv", `--reuid=${NOBODY}`, "--clear-groups", "--"];
  let program: Program | undefined;
  try {
    try {
      program = await Program.start(FLAGS, copy, { before: asNobody });
      return "the program starts without a file that may be whole";
    } catch (error) {
      if (!String(error).includes(basename(file))) return `the file is not named: ${String(error).slice(0, 1_000)}`;
    }
    if (readdirSync(copy).includes("quarantine")) return "something was set aside";
    chmodSync(file, 0o644);
    spawnSync("chown", [String(NOBODY), file]);
    program = await Program.start(FLAGS, copy, { before: asNobody });
    const answers = await answersInTime(program);
    return [...before.keys()].every((key) => answers.has(key)) ? "" : "not everything is there";
  } finally {
    await program?.kill();
    rmSync(copy, { recursive: true, force: true });
  }
}

async function inPool<T>(items: readonly T[], work: (item: T) => Promise<void>): Promise<void> {
  const left = [...items];
  const workers = Array.from({ length: AT_ONCE }, async () => {
    for (let item = left.shift(); item !== undefined; item = left.shift()) await work(item);
  });
  await Promise.all(workers);
}
