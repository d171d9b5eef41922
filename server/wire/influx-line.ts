/**
 * InfluxDB's line protocol, as Telegraf sends it, to series: `measurement,tag=value field=1,other=2i 1465839830100400200`.
 *
 * A field becomes the series `measurement_field`, one called `value` is `measurement` alone; tags are labels. Names get the
 * letters that PromQL knows, as Telegraf's own Prometheus output does. True and false are 1 and 0; texts are left out.
 *
 * @see https://docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol/
 */

import type { Labels, SeriesToAppend } from "../model/series.ts";
import type { RemoteWrite } from "./remote-write.ts";
import { type CheckedLabels, checkLabels } from "./series-labels.ts";

/** Milliseconds of a unit of time, by its name in a request. */
export type InfluxPrecision = "ns" | "us" | "ms" | "s" | "m" | "h";

/** Lines that one request may hold. */
const LINES_MAX = 1_000_000;
/** Sentences about single lines; the rest is counted. */
const FAULTS_MAX = 10;
/** Label sets that are remembered between requests. */
const KNOWN_MAX = 50_000;
/** UTF-16 units of a line that a sentence shows. */
const SHOWN_MAX = 80;

const PER_MS: Readonly<Record<InfluxPrecision, number>> = { ns: 1e-6, us: 1e-3, ms: 1, s: 1e3, m: 60e3, h: 3600e3 };

/** A line that is not one: where its fault is. */
class LineError extends Error {}

/** What stands before the first blank of a line, and the fields. */
interface Line {
  readonly measurement: string;
  readonly tags: readonly (readonly [name: string, value: string])[];
  readonly fields: readonly (readonly [name: string, value: number | undefined])[];
  readonly timeMs: number;
}

/** Decodes requests, remembering the labels of series between them. */
export class InfluxDecoder {
  readonly #known = new Map<string, CheckedLabels>();

  /**
   * Decodes a request. Lines that are wrong are counted and left out; the others stand.
   *
   * @param nowMs The time of points that come without one.
   */
  decode(text: string, precision: InfluxPrecision, nowMs: number): RemoteWrite {
    const gatherer = new LineGatherer();
    let lines = 0;
    for (let at = 0; at < text.length; ) {
      const end = lineEnd(text, at);
      const line = text.slice(at, end).replace(/\r$/, "");
      at = end + 1;
      if (/^\s*(#|$)/.test(line)) continue;
      if (++lines > LINES_MAX) {
        gatherer.fault("lines_max", `a request holds more than ${LINES_MAX} lines`);
        break;
      }
      try {
        this.#take(readLine(line.trimStart(), precision, nowMs), gatherer);
      } catch (error) {
        if (!(error instanceof LineError)) throw error;
        gatherer.fault("malformed", `unable to parse '${line.slice(0, SHOWN_MAX)}': ${error.message}`);
      }
    }
    return gatherer.write();
  }

  #take(line: Line, gatherer: LineGatherer): void {
    const { measurement, tags, fields, timeMs } = line;
    const tagsText = JSON.stringify(tags);
    for (const [field, value] of fields) {
      if (value === undefined) {
        gatherer.leaveOut("text_value");
        continue;
      }
      const { labels, fault } = this.#labels(measurement, field, { tags, tagsText });
      if (fault === undefined) gatherer.sample(labels, timeMs, value);
      else gatherer.fault(fault.reason, fault.text);
    }
  }

  #labels(
    measurement: string,
    field: string,
    { tags, tagsText }: { readonly tags: Line["tags"]; readonly tagsText: string },
  ): CheckedLabels {
    const key = JSON.stringify([measurement, field, tagsText]);
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const name = metricName(field === "value" ? measurement : `${measurement}_${field}`);
    const pairs = new Map<string, string>();
    for (const [tag, value] of tags) pairs.set(labelName(tag), value);
    const checked = checkLabels([...pairs, ["__name__", name]], true);
    const [oldest] = this.#known.keys();
    if (this.#known.size >= KNOWN_MAX && oldest !== undefined) this.#known.delete(oldest);
    this.#known.set(key, checked);
    return checked;
  }
}

/** Series and counts of one request. */
class LineGatherer {
  readonly #series: SeriesToAppend[] = [];
  readonly #rejected = new Map<string, number>();
  readonly #faults: string[] = [];
  #received = 0;

  sample(labels: Labels, timeMs: number, value: number): void {
    this.#received++;
    this.#series.push({
      labels,
      lasting: true,
      timestampsMs: Float64Array.of(timeMs),
      values: Float64Array.of(value),
    });
  }

  leaveOut(reason: string): void {
    this.#received++;
    this.#rejected.set(reason, (this.#rejected.get(reason) ?? 0) + 1);
  }

  fault(reason: string, text: string): void {
    this.leaveOut(reason);
    if (this.#faults.length < FAULTS_MAX) this.#faults.push(text);
  }

  write(): RemoteWrite {
    return {
      version: 2,
      rows: undefined,
      series: this.#series,
      metadata: [],
      received: { samples: this.#received, histograms: 0, exemplars: 0 },
      staleHistograms: 0,
      rejected: this.#rejected,
      rejectedExemplars: new Map(),
      faults: this.#faults,
    };
  }
}

/** The end of a line: line feeds inside of quoted texts belong to it. */
function lineEnd(text: string, from: number): number {
  const end = text.indexOf("\n", from);
  const first = end === -1 ? text.length : end;
  const quote = text.indexOf('"', from);
  if (quote === -1 || quote > first) return first;
  let isQuoted = false;
  for (let at = from; at < text.length; at++) {
    const letter = text[at];
    if (letter === "\\") at++;
    else if (letter === '"') isQuoted = !isQuoted;
    else if (letter === "\n" && !isQuoted) return at;
  }
  return isQuoted ? first : text.length;
}

function readLine(line: string, precision: InfluxPrecision, nowMs: number): Line {
  const [head, afterHead] = upTo(line, 0, " ");
  const [measurement = "", ...tagTexts] = split(head, ",");
  if (measurement === "") throw new LineError("missing measurement");
  const tags = tagTexts.map((text) => {
    const [name, value] = pairOf(text);
    if (name === "" || value === "") throw new LineError("missing tag key or value");
    return [unescaped(name), unescaped(value)] as const;
  });
  const [fieldText, afterFields] = upTo(line, skipBlanks(line, afterHead), " ");
  if (fieldText === "") throw new LineError("missing fields");
  const fields = split(fieldText, ",").map((text) => {
    const [name, value] = pairOf(text);
    if (name === "") throw new LineError("missing field key");
    return [unescaped(name), fieldValue(value)] as const;
  });
  const time = line.slice(afterFields).trim();
  if (time !== "" && !/^-?\d{1,19}$/.test(time)) throw new LineError("invalid timestamp");
  return { measurement: unescaped(measurement), tags, fields, timeMs: time === "" ? nowMs : timeOf(time, precision) };
}

/** Nanoseconds are more than a double holds. */
function timeOf(text: string, precision: InfluxPrecision): number {
  if (precision === "ns") return Number(BigInt(text) / 1_000_000n);
  return Math.floor(Number(text) * PER_MS[precision]);
}

/** A number, or undefined for a text. */
function fieldValue(text: string): number | undefined {
  if (text.startsWith('"')) {
    if (text.length < 2 || !text.endsWith('"')) throw new LineError("unbalanced quotes");
    return undefined;
  }
  if (/^(t|true|T|True|TRUE)$/.test(text)) return 1;
  if (/^(f|false|F|False|FALSE)$/.test(text)) return 0;
  const found = /^([+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)([iu]?)$/.exec(text);
  if (found === null) throw new LineError(text === "" ? "missing field value" : "invalid number");
  if (found[2] !== "" && !/^[+-]?\d+$/.test(found[1] ?? "")) throw new LineError("invalid integer");
  const value = Number(found[1]);
  if (!Number.isFinite(value)) throw new LineError("invalid number");
  return value;
}

/** The text up to a letter that is neither escaped nor quoted, and the place behind it. */
function upTo(text: string, from: number, stop: string): readonly [string, number] {
  let isQuoted = false;
  for (let at = from; at < text.length; at++) {
    const letter = text[at];
    if (letter === "\\") at++;
    else if (letter === '"' && text[from] !== '"' && (isQuoted || text[at - 1] === "=")) isQuoted = !isQuoted;
    else if (letter === stop && !isQuoted) return [text.slice(from, at), at + 1];
  }
  return [text.slice(from), text.length];
}

function split(text: string, stop: string): string[] {
  const parts: string[] = [];
  for (let at = 0; at <= text.length; ) {
    const [part, next] = upTo(text, at, stop);
    parts.push(part);
    if (next === text.length && !(text.endsWith(stop) && part.length + at < text.length)) break;
    at = next;
  }
  return parts;
}

function pairOf(text: string): readonly [string, string] {
  const [name, at] = upTo(text, 0, "=");
  return at > name.length ? [name, text.slice(at)] : [name, ""];
}

function skipBlanks(text: string, from: number): number {
  let at = from;
  while (text[at] === " ") at++;
  return at;
}

function unescaped(text: string): string {
  return text.includes("\\") ? text.replace(/\\([,= \\])/g, "$1") : text;
}

function metricName(name: string): string {
  const clean = name.replace(/[^a-zA-Z0-9_:]/g, "_");
  return /^\d/.test(clean) ? `_${clean}` : clean;
}

function labelName(name: string): string {
  const clean = name.replace(/[^a-zA-Z0-9_]/g, "_");
  return /^\d/.test(clean) ? `_${clean}` : clean;
}
