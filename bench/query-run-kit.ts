/** One PromQL query over HTTP in turns on several servers: its time, its processor time, and its answer. */

import { readdirSync, readFileSync } from "node:fs";
import { Agent, request } from "node:http";

/** A query and its times; an instant one has no step. */
export interface BenchQuery {
  readonly text: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
}

/** What asking once cost. */
export interface QueryCost {
  readonly wallMs: number;
  readonly cpuMs: number;
}

const agent = new Agent({ keepAlive: true });

/** Asks `times` times, one after the other. @throws Error where the answer is not a success. */
export async function costOf(
  server: { base: string; pid: number },
  query: BenchQuery,
  times: number,
): Promise<QueryCost[]> {
  const costs: QueryCost[] = [];
  for (let i = 0; i < times; i++) {
    const cpuBefore = cpuMs(server.pid);
    const sinceMs = performance.now();
    await ask(server.base, query);
    const wallMs = performance.now() - sinceMs;
    costs.push({ wallMs, cpuMs: cpuMs(server.pid) - cpuBefore });
  }
  return costs;
}

/** The body of an answer. @throws Error where it is not a success. */
export function ask(base: string, { text, startMs, endMs, stepMs }: BenchQuery): Promise<Buffer> {
  const times: Record<string, string> =
    stepMs === 0
      ? { time: String(endMs / 1000) }
      : { start: String(startMs / 1000), end: String(endMs / 1000), step: String(stepMs / 1000) };
  const path = stepMs === 0 ? "query" : "query_range";
  const parameters = new URLSearchParams({ query: text, timeout: "120s", ...times });
  return new Promise((resolve, reject) => {
    const out = request(`${base}/api/v1/${path}?${parameters}`, { agent }, (answer) => {
      const pieces: Buffer[] = [];
      answer.on("data", (piece: Buffer) => pieces.push(piece));
      answer.on("error", reject);
      answer.on("end", () => {
        const body = Buffer.concat(pieces);
        if (answer.statusCode === 200) resolve(body);
        else reject(new Error(`${base} answers '${text}' with ${answer.statusCode}: ${body.toString("utf8", 0, 300)}`));
      });
    });
    out.on("error", reject);
    out.end();
  });
}

/** Processor time of all living threads of a process, to the microsecond, where `/proc/PID/stat` counts in ticks. */
function cpuMs(pid: number): number {
  let nanoseconds = 0;
  for (const thread of readdirSync(`/proc/${pid}/task`)) {
    try {
      nanoseconds += Number(readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8").split(" ")[0]);
    } catch {}
  }
  return nanoseconds / 1e6;
}

/** How the answers of two servers differ, value by value. */
export interface Difference {
  readonly values: number;
  /** Values that are not the same text. */
  readonly unequal: number;
  /** Series or values that only one of them has. */
  readonly alone: number;
  /** The largest difference relative to the value. */
  readonly relative: number;
}

/** Compares two bodies of answers. @param isPick Of equal values any may be picked: only the values of a time count. */
export function differenceOf(ours: Buffer, theirs: Buffer, isPick: boolean): Difference {
  const [left, right] = [ours, theirs].map((body) => (isPick ? ranked(valuesOf(body)) : valuesOf(body)));
  if (left === undefined || right === undefined) throw new Error("two answers are compared");
  let [unequal, alone, relative] = [0, 0, 0];
  for (const [key, text] of left) {
    const other = right.get(key);
    if (other === undefined) alone++;
    else if (other !== text) {
      unequal++;
      const [a, b] = [Number(text), Number(other)];
      const distance = Math.abs(a - b) / Math.max(Math.abs(a), Math.abs(b));
      relative = Math.max(relative, Number.isNaN(distance) ? Number.POSITIVE_INFINITY : distance);
    }
  }
  for (const key of right.keys()) if (!left.has(key)) alone++;
  return { values: left.size, unequal, alone, relative };
}

/** Values by time and rank, the least first. */
function ranked(values: ReadonlyMap<string, string>): Map<string, string> {
  const byTime = new Map<string, string[]>();
  for (const [key, text] of values) {
    const time = key.slice(key.lastIndexOf(" ") + 1);
    byTime.set(time, [...(byTime.get(time) ?? []), text]);
  }
  const ranks = new Map<string, string>();
  for (const [time, texts] of byTime) {
    for (const [rank, text] of texts.sort((a, b) => Number(a) - Number(b)).entries())
      ranks.set(`${rank} ${time}`, text);
  }
  return ranks;
}

interface AnsweredSeries {
  readonly metric: Readonly<Record<string, string>>;
  readonly value?: [number, unknown];
  readonly histogram?: [number, unknown];
  readonly values?: [number, unknown][];
  readonly histograms?: [number, unknown][];
}

/** Values by labels and time. */
function valuesOf(body: Buffer): Map<string, string> {
  const answer: { data: { result: AnsweredSeries[] } } = JSON.parse(body.toString());
  const values = new Map<string, string>();
  for (const { metric, value, histogram, values: floats = [], histograms = [] } of answer.data.result) {
    const labels = JSON.stringify(Object.entries(metric).sort(([a], [b]) => (a < b ? -1 : 1)));
    const instant = [value, histogram].filter((point) => point !== undefined);
    for (const [time, point] of [...instant, ...floats, ...histograms]) {
      values.set(`${labels} ${time}`, typeof point === "string" ? point : JSON.stringify(point));
    }
  }
  return values;
}
