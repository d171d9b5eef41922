/**
 * A data directory as kill -9 leaves it, and where in its files each thing that was acknowledged stands.
 *
 * Two day files, of which the later has a log; two metric blocks; a metric log of which the blocks cover nothing.
 */

import { cpSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { systemClock } from "../../server/platform/system-clock.ts";
import { openStore } from "../../server/store/store.ts";
import { decodeLogs } from "../../server/wire/otlp-logs-protobuf.ts";
import { decodeTraces } from "../../server/wire/otlp-traces-protobuf.ts";
import { LANE_LABEL, LOG_SERIAL_AT, LOG_SERVICE, logsBody, SERIES_LABEL } from "../ledger/signal-bodies.ts";
import { freshen, templateBodies } from "../otlp-bodies.ts";
import type { Program } from "../program.ts";

const DAY_MS = 86_400_000;
/** Commits of spans in the file of yesterday, in that of today, and in its log. */
const COMMITS = { yesterday: 2, file: 3, wal: 2 } as const;
const WRITES_PER_BLOCK = 3;
const WRITES_IN_LOG = 3;
/** Series of a write of samples; those of different blocks differ in nothing but time. */
const SERIES = 8;
const METRIC = "damage_samples";
const SAMPLES_EVERY_MS = 30_000;

/** Where a thing stands: it may be lost to damage of these bytes of this file, and to no other. */
interface Place {
  readonly file: string;
  /** Whole file where both are absent. A cut before `to` loses it. */
  readonly from: number;
  readonly to: number;
}

/** One thing that was acknowledged. */
export interface Unit {
  readonly places: readonly Place[];
}

/** A directory and what is in it. Paths are relative to it. */
export interface Pristine {
  readonly directory: string;
  readonly wal: string;
  readonly segment: string;
  readonly dayFiles: readonly string[];
  readonly blocks: readonly string[];
  /** By key of `answersOf`. */
  readonly units: ReadonlyMap<string, Unit>;
  /** Bytes of the day file's log after each commit, and of the metric log after each write. */
  readonly walEnds: readonly number[];
  readonly segmentEnds: readonly number[];
}

type OpenStore = Awaited<ReturnType<typeof openStore>>;

/** Makes the directory inside `work`. */
export async function makePristine(work: string): Promise<Pristine> {
  const live = join(work, "live");
  const maker = new Maker(live);
  await maker.yesterday();
  await maker.today();
  const made = await maker.killed(join(work, "pristine"));
  return made;
}

class Maker {
  readonly #live: string;
  readonly #units = new Map<string, Unit>();
  readonly #templates = templateBodies("semconv");
  #serial = 0;
  #sampleMs = Date.now() - 60 * 60_000;

  constructor(live: string) {
    this.#live = live;
  }

  async yesterday(): Promise<void> {
    const store = await this.#open(-DAY_MS);
    for (let commit = 0; commit < COMMITS.yesterday; commit++) await this.#commit(store, () => this.#wholeDayFile(0));
    await store.close();
  }

  async today(): Promise<void> {
    const store = await this.#open(0);
    for (let commit = 0; commit < COMMITS.file; commit++) await this.#commit(store, () => this.#wholeDayFile(1));
    for (let block = 0; block < 2; block++) {
      const times: number[] = [];
      for (let write = 0; write < WRITES_PER_BLOCK; write++) times.push(await this.#write(store));
      await store.sealMetrics();
      const file = join("blocks", this.#namesIn("blocks").at(-1) ?? "");
      for (const timeMs of times) this.#addSamples(timeMs, [wholeOf(file)]);
    }
    await store.close();
  }

  /** Goes on in both logs, and copies the open files. */
  async killed(directory: string): Promise<Pristine> {
    const store = await this.#open(0);
    const walEnds: number[] = [];
    let from = 0;
    const wal = () => join("db", this.#namesIn("db").find((name) => name.endsWith(".wal")) ?? "");
    for (let commit = 0; commit < COMMITS.wal; commit++) {
      await this.#commit(store, () => {
        const to = statSync(join(this.#live, wal())).size;
        const placed = [...this.#wholeDayFile(1), { file: wal(), from, to }];
        walEnds.push(to);
        from = to;
        return placed;
      });
    }
    const segmentEnds: number[] = [];
    let firstEnd = 0;
    const segment = () => join("wal", this.#namesIn("wal").at(-1) ?? "");
    for (let write = 0; write < WRITES_IN_LOG; write++) {
      const begin = segmentEnds.at(-1) ?? 0;
      const timeMs = await this.#write(store);
      const to = statSync(join(this.#live, segment())).size;
      firstEnd ||= to;
      segmentEnds.push(to);
      // The first write declares the series of all.
      this.#addSamples(timeMs, [
        { file: segment(), from: begin, to },
        { file: segment(), from: 0, to: firstEnd },
      ]);
    }
    // Nothing is under way: a copy of the open files is what a kill would leave.
    cpSync(this.#live, directory, { recursive: true });
    rmSync(join(directory, "lock"), { force: true });
    const made = {
      directory,
      wal: wal(),
      segment: segment(),
      dayFiles: this.#dayFiles(),
      blocks: this.#namesIn("blocks").map((name) => join("blocks", name)),
      units: this.#units,
      walEnds,
      segmentEnds,
    };
    await store.close();
    return made;
  }

  #open(offsetMs: number): Promise<OpenStore> {
    const now = systemClock();
    const clock = {
      nowMs: () => now.nowMs() + offsetMs,
      nowUnixNano: () => now.nowUnixNano() + BigInt(offsetMs) * 1_000_000n,
      monotonicMs: () => now.monotonicMs(),
    };
    const onDamage = () => {
      throw new Error("a fresh directory is damaged");
    };
    const memoryLimitBytes = 256 * 2 ** 20;
    return openStore({ directory: this.#live, clock, retentionMs: 15 * DAY_MS, memoryLimitBytes, onDamage });
  }

  /** One commit of spans, then one of log records. */
  async #commit(store: OpenStore, placesNow: () => readonly Place[]): Promise<void> {
    const serial = ++this.#serial;
    const template = this.#templates[serial];
    if (template === undefined) throw new Error("there are no bodies");
    const bytes = Buffer.from(freshen(template, serial, BigInt(Date.now()) * 1_000_000n));
    for (const at of template.traceIds.flat()) bytes.writeUInt32BE(serial, at);
    const spans = decodeTraces(bytes);
    if (spans.kind === "malformed") throw new Error(spans.reason);
    await store.writer.commitSpans(spans.batch);
    this.#units.set(`spans ${serial}`, { places: placesNow() });
    const logs = decodeLogs(logsBody("protobuf", serial, Date.now()));
    if (logs.kind === "malformed") throw new Error(logs.reason);
    await store.writer.commitLogs(logs.batch);
    this.#units.set(`logs ${serial}`, { places: placesNow() });
  }

  /** One write of a sample for each series. @returns Their time. */
  async #write(store: OpenStore): Promise<number> {
    const timestampMs = this.#sampleMs;
    this.#sampleMs += SAMPLES_EVERY_MS;
    await store.writer.appendSamples(
      Array.from({ length: SERIES }, (_, place) => ({
        labels: [
          ["__name__", METRIC],
          [LANE_LABEL, "0"],
          [SERIES_LABEL, String(place)],
        ] as const,
        timestampMs,
        value: timestampMs + place + 0.1,
      })),
    );
    return timestampMs;
  }

  #addSamples(timeMs: number, places: readonly Place[]): void {
    for (let place = 0; place < SERIES; place++) this.#units.set(`sample ${place} ${timeMs}`, { places });
  }

  #wholeDayFile(day: 0 | 1): Place[] {
    return [wholeOf(this.#dayFiles()[day] ?? "")];
  }

  #dayFiles(): string[] {
    const names = this.#namesIn("db").filter((name) => name.endsWith(".duckdb"));
    return names.map((name) => join("db", name));
  }

  #namesIn(directory: string): string[] {
    return readdirSync(join(this.#live, directory)).sort();
  }
}

function wholeOf(file: string): Place {
  return { file, from: 0, to: Number.POSITIVE_INFINITY };
}

/** What a program answers: for each body or sample that it holds, what it says of it. */
export async function answersOf(program: Program): Promise<Map<string, string>> {
  const answers = new Map<string, string>();
  const said = "name || ' ' || service || ' ' || span_id";
  for (const [serial, ...rest] of await program.sql(
    `SELECT substr(trace_id, 1, 8), count(*), sum(start_ns), sum(duration_ns), min(${said}), max(${said}) FROM spans GROUP BY 1`,
  ))
    answers.set(`spans ${Number.parseInt(String(serial), 16)}`, rest.join(" "));
  for (const [serial, ...rest] of await program.sql(
    `SELECT substr(body, ${LOG_SERIAL_AT.from}, ${LOG_SERIAL_AT.digits}), count(*), sum(time_ns), min(body), max(body)
     FROM logs WHERE service = '${LOG_SERVICE}' GROUP BY 1`,
  ))
    answers.set(`logs ${Number.parseInt(String(serial), 16)}`, rest.join(" "));
  const { data } = await program.json<{
    data: { result: { metric: Record<string, string>; values: [number, string][] }[] };
  }>(`/api/v1/query?query=${encodeURIComponent(`${METRIC}[2d]`)}`);
  for (const { metric, values } of data.result) {
    for (const [seconds, value] of values)
      answers.set(`sample ${metric[SERIES_LABEL]} ${Math.round(seconds * 1000)}`, value);
  }
  return answers;
}
