/** What a server does while it is asked deadly queries: how long writes take, whether it answers, how much memory it has. */

import { readFileSync } from "node:fs";
import { open, rm } from "node:fs/promises";
import type { Labels } from "../../server/model/series.ts";
import { sleep } from "../program.ts";
import { type SentSeries, sendWrite } from "../remote-write.ts";

const WRITE_EVERY_MS = 50;
const LOOK_EVERY_MS = 100;
/** About what the server writes for a write. */
const PLAIN_BYTES = new Uint8Array(8_192);
/** Series that the writer writes. */
export const WRITTEN_SERIES = 200;

/** Latencies of writes in milliseconds, and what went wrong. */
export interface WriterRun {
  readonly latenciesMs: readonly number[];
  readonly faults: readonly string[];
}

/** Writes a sample of each of a few series. */
export class SteadyWriter {
  readonly #base: string;
  readonly #labels: readonly Labels[];
  #running = true;
  #latenciesMs: number[] = [];
  #faults: string[] = [];
  #done: Promise<void> = Promise.resolve();

  constructor(base: string) {
    this.#base = base;
    this.#labels = Array.from({ length: WRITTEN_SERIES }, (_, index) => [
      ["__name__", "written"],
      ["index", String(index)],
    ]);
  }

  /** Writes once, and tells of it as of all writes. */
  async write(): Promise<void> {
    const timestampMs = Date.now();
    const samples = [{ timestampMs, startMs: 0, value: timestampMs % 1000 }];
    const series: SentSeries[] = this.#labels.map((labels) => ({ labels, samples }));
    const sinceMs = performance.now();
    try {
      const { status, text } = await sendWrite(this.#base, series, 1);
      if (status !== 204 && status !== 200) this.#faults.push(`a write answered ${status}: ${text}`);
    } catch (error) {
      this.#faults.push(`a write failed: ${String(error)}`);
    }
    this.#latenciesMs.push(performance.now() - sinceMs);
  }

  /** Writes again and again until it is stopped. */
  start(): void {
    this.#done = this.#run();
  }

  /** What was seen since the last call. */
  take(): WriterRun {
    const run = { latenciesMs: this.#latenciesMs, faults: this.#faults };
    this.#latenciesMs = [];
    this.#faults = [];
    return run;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    while (this.#running) {
      const sinceMs = performance.now();
      await this.write();
      await sleep(Math.max(1, WRITE_EVERY_MS - (performance.now() - sinceMs)));
    }
  }
}

/**
 * Appends to a plain file and syncs it, as often as the writer writes.
 *
 * What this takes is what the disk and the rest of the machine make a write take, whatever the server does.
 */
export class SteadySync {
  readonly #path: string;
  #running = true;
  #latenciesMs: number[] = [];
  readonly #done: Promise<void>;

  constructor(path: string) {
    this.#path = path;
    this.#done = this.#run();
  }

  /** What was seen since the last call. */
  take(): readonly number[] {
    const latenciesMs = this.#latenciesMs;
    this.#latenciesMs = [];
    return latenciesMs;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #run(): Promise<void> {
    const file = await open(this.#path, "a");
    await rm(this.#path); // it is gone once it is closed
    try {
      while (this.#running) {
        const sinceMs = performance.now();
        await file.write(PLAIN_BYTES);
        await file.datasync();
        this.#latenciesMs.push(performance.now() - sinceMs);
        await sleep(Math.max(1, WRITE_EVERY_MS - (performance.now() - sinceMs)));
      }
    } finally {
      await file.close();
    }
  }
}

/** Looks at a process again and again: its memory, and how long a plain request takes. */
export class ProcessWatch {
  readonly #pid: number;
  readonly #base: string;
  #running = true;
  #rssBytesMax = 0;
  #answerMsMax = 0;
  #faults: string[] = [];
  readonly #done: Promise<unknown>;

  constructor(pid: number, base: string) {
    this.#pid = pid;
    this.#base = base;
    this.#done = Promise.all([this.#lookAtMemory(), this.#ask()]);
  }

  /** What was seen since the last call. */
  take(): { readonly rssBytesMax: number; readonly answerMsMax: number; readonly faults: readonly string[] } {
    const seen = { rssBytesMax: this.#rssBytesMax, answerMsMax: this.#answerMsMax, faults: this.#faults };
    this.#rssBytesMax = 0;
    this.#answerMsMax = 0;
    this.#faults = [];
    return seen;
  }

  async stop(): Promise<void> {
    this.#running = false;
    await this.#done;
  }

  async #lookAtMemory(): Promise<void> {
    while (this.#running) {
      this.#rssBytesMax = Math.max(this.#rssBytesMax, rssBytes(this.#pid));
      await sleep(LOOK_EVERY_MS);
    }
  }

  async #ask(): Promise<void> {
    while (this.#running) {
      const sinceMs = performance.now();
      try {
        const { status } = await fetch(`${this.#base}/livez`);
        if (status !== 200) this.#faults.push(`/livez answered ${status}`);
      } catch (error) {
        this.#faults.push(`/livez failed: ${String(error)}`);
      }
      this.#answerMsMax = Math.max(this.#answerMsMax, performance.now() - sinceMs);
      await sleep(LOOK_EVERY_MS);
    }
  }
}

/** 0 where the process is gone. */
function rssBytes(pid: number): number {
  try {
    const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"))?.[1];
    return Number(kib ?? "0") * 1024;
  } catch {
    return 0;
  }
}

/** The value that a hundredth of all exceed; 0 where there are none. */
export function p99(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * 0.99))] ?? 0;
}
