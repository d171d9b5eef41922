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
import { type CheckedLabels, checkLabels, LABELS_MAX } from "./series-labels.ts";
import { SERIES_UNITS, takeUnits, type WireBudget, wireBudget } from "./wire-budget.ts";

/** Milliseconds of a unit of time, by its name in a request. */
export type InfluxPrecision = "ns" | "us" | "ms" | "s" | "m" | "h";

/** Lines that one request may hold, blank ones too, and samples. */
const LINES_MAX = 1_000_000;
const SAMPLES_MAX = 500_000;
/** UTF-16 units of one line. */
const LINE_UNITS_MAX = 2 ** 18;
/** Bytes that hold more units than a line may have, whichever letters they are. */
const LINE_BYTES_MAX = 3 * (LINE_UNITS_MAX + 2);
const LINE_FEED = 10;
/** Samples and wrong lines that are stored and counted together: some MiB as series. */
const PORTION_SAMPLES = 16_384;
const LINES_LIMIT = `a request holds more than ${LINES_MAX} lines or ${SAMPLES_MAX} samples`;
const LABELS_LIMIT = "one request holds too many series, samples or labels";
/** Lines before others get a turn, where they are let. */
const LINES_A_TURN = 500;
/** Labels of series that were not known, before others get a turn; and fields of one line. */
const LABELS_A_TURN = 8_192;
const FIELDS_A_TURN = 2_048;
/** Units of text before others get a turn. */
const UNITS_A_TURN = 2 ** 16;
/** Sentences about single lines; the rest is counted. */
const FAULTS_MAX = 10;
/** Label sets that are remembered between requests, and the units of text that name one. */
const KNOWN_MAX = 50_000;
const KNOWN_UNITS_MAX = 4_096;
/** UTF-16 units of a line, and of a number, that a sentence shows. */
const SHOWN_MAX = 80;
const NUMBER_SHOWN_MAX = 24;
/** A sign and the digits of a number of 64 bits. */
const INTEGER_LENGTH_MAX = 21;

const PER_MS: Readonly<Record<InfluxPrecision, number>> = { ns: 1e-6, us: 1e-3, ms: 1, s: 1e3, m: 60e3, h: 3600e3 };

/** What stands before the first blank of a line, and the fields. */
interface Line {
  readonly measurement: string;
  readonly tags: readonly (readonly [name: string, value: string])[];
  readonly fields: readonly (readonly [name: string, value: number | undefined])[];
  readonly timeMs: number;
}

/**
 * The text of a request's body, without what stands in lines behind all that is looked at of one that is too long: a line
 * of 20 MiB is refused without being made a text.
 */
export function lineText(bytes: Buffer): string {
  const parts: string[] = [];
  let from = 0;
  for (let at = 0; bytes.length - at > LINE_BYTES_MAX; ) {
    const end = bytes.subarray(at, at + LINE_BYTES_MAX).lastIndexOf(LINE_FEED);
    if (end !== -1) {
      at += end + 1;
      continue;
    }
    parts.push(bytes.toString("utf8", from, at + LINE_BYTES_MAX));
    const next = bytes.indexOf(LINE_FEED, at + LINE_BYTES_MAX);
    from = next === -1 ? bytes.length : next;
    at = from;
  }
  return parts.join("") + bytes.toString("utf8", from);
}

/** Decodes requests, remembering the labels of series between them. */
export class InfluxDecoder {
  #known = new Map<string, CheckedLabels>();
  #knownBefore = new Map<string, CheckedLabels>();

  /**
   * Decodes a request. Lines that are wrong are counted and left out; the others stand.
   *
   * Yields a portion as soon as it is large enough, so that a long request is never in memory as series at once, and
   * undefined after each millisecond or few, so that others can have a turn.
   *
   * @param nowMs The time of points that come without one.
   * @returns The last portion.
   */
  *decodeInPortions(text: string, precision: InfluxPrecision, nowMs: number): Generator<Portion, RemoteWrite> {
    const gatherer = new LineGatherer();
    const budget = wireBudget();
    const ends = new LineEnds(text);
    let lines = 0;
    let turnAt = 0;
    for (let at = 0; at < text.length; ) {
      // A line that went beyond told so itself.
      if (gatherer.received > SAMPLES_MAX) break;
      if (++lines > LINES_MAX || gatherer.received >= SAMPLES_MAX) {
        gatherer.fault("lines_max", LINES_LIMIT);
        break;
      }
      if (lines % LINES_A_TURN === 0 || at - turnAt > UNITS_A_TURN) {
        turnAt = at;
        yield undefined;
      }
      if (gatherer.isFull) yield gatherer.cut();
      const end = ends.after(at);
      const last = Math.min(end, at + LINE_UNITS_MAX + 1);
      const line = text.slice(at, last === end && text[last - 1] === "\r" ? last - 1 : last);
      at = end + 1;
      const trimmed = line.trimStart();
      if (trimmed === "" || trimmed.startsWith("#")) continue;
      const tooLong = line.length > LINE_UNITS_MAX ? `it has more than ${LINE_UNITS_MAX} characters` : undefined;
      const read = tooLong ?? readLine(trimmed, precision, nowMs);
      if (typeof read === "string") gatherer.malformed(line, read);
      else yield* this.#take(read, gatherer, budget);
    }
    return gatherer.cut();
  }

  *#take(line: Line, gatherer: LineGatherer, budget: WireBudget): Generator<Portion, void> {
    const { measurement, tags, fields, timeMs } = line;
    const tagsText = JSON.stringify([measurement, tags]);
    // None of these is remembered, so all of them are made: looked at before the first is.
    const isLong = tagsText.length > KNOWN_UNITS_MAX;
    if (isLong && budget.units < fields.length * (SERIES_UNITS + tags.length)) {
      gatherer.fault("labels_limit", LABELS_LIMIT);
      return;
    }
    let labelsAt = budget.units;
    for (const [at, [field, value]] of fields.entries()) {
      // Told here too: no line may follow this one.
      if (gatherer.received >= SAMPLES_MAX) {
        gatherer.fault("lines_max", LINES_LIMIT);
        return;
      }
      if (labelsAt - budget.units > LABELS_A_TURN || (at + 1) % FIELDS_A_TURN === 0) {
        labelsAt = budget.units;
        yield undefined;
      }
      if (gatherer.isFull) yield gatherer.cut();
      if (value === undefined) {
        gatherer.leaveOut("text_value");
        continue;
      }
      const checked = this.#labels({ measurement, tags, tagsText }, field, budget);
      if (checked === undefined) {
        gatherer.fault("labels_limit", LABELS_LIMIT);
        return;
      }
      const { labels, fault } = checked;
      if (fault === undefined) gatherer.sample(labels, timeMs, value);
      else gatherer.fault(fault.reason, fault.text);
    }
  }

  /** Undefined where a request names too many labels. */
  #labels({ measurement, tags, tagsText }: Tagged, field: string, budget: WireBudget): CheckedLabels | undefined {
    // Looked at before it is built: a line of many tags and fields asks for each tag once a field.
    const isKnowable = tagsText.length + field.length <= KNOWN_UNITS_MAX;
    const key = isKnowable ? `${tagsText} ${field}` : "";
    const known = isKnowable ? this.#knownOf(key) : undefined;
    if (known !== undefined) return known;
    if (budget.units < SERIES_UNITS + tags.length) return undefined;
    takeUnits(budget, SERIES_UNITS + tags.length, 0);
    const name = metricName(field === "value" ? measurement : `${measurement}_${field}`);
    const pairs = new Map<string, string>();
    for (const [tag, value] of tags) pairs.set(labelName(tag), value);
    const checked = checkLabels([...pairs, ["__name__", name]], true);
    if (!isKnowable) return checked;
    this.#keep(key, checked);
    return checked;
  }

  #knownOf(key: string): CheckedLabels | undefined {
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const before = this.#knownBefore.get(key);
    if (before !== undefined) this.#keep(key, before);
    return before;
  }

  /** To take the oldest out of a table one by one takes time in square: those of a generation go together. */
  #keep(key: string, checked: CheckedLabels): void {
    if (this.#known.size >= KNOWN_MAX / 2) {
      this.#knownBefore = this.#known;
      this.#known = new Map();
    }
    this.#known.set(key, checked);
  }
}

/** What all fields of a line share. */
interface Tagged extends Pick<Line, "measurement" | "tags"> {
  /** Measurement and tags, told apart from all others. */
  readonly tagsText: string;
}

/** Some of what a request holds, to be stored before the next is asked for; undefined where others may have a turn. */
type Portion = RemoteWrite | undefined;

/** Samples of one series. */
interface Column {
  readonly timestampsMs: number[];
  readonly values: number[];
}

/** Series and counts of one request since the last portion was cut. */
class LineGatherer {
  #columns = new Map<Labels, Column>();
  #rejected = new Map<string, number>();
  #faults: string[] = [];
  /** Of the whole request. */
  #received = 0;
  #faultsTold = 0;
  /** Of the portions before. */
  #receivedBefore = 0;

  get received(): number {
    return this.#received;
  }

  get isFull(): boolean {
    return this.#received - this.#receivedBefore >= PORTION_SAMPLES;
  }

  sample(labels: Labels, timeMs: number, value: number): void {
    this.#received++;
    let column = this.#columns.get(labels);
    if (column === undefined) {
      column = { timestampsMs: [], values: [] };
      this.#columns.set(labels, column);
    }
    column.timestampsMs.push(timeMs);
    column.values.push(value);
  }

  leaveOut(reason: string): void {
    this.#received++;
    this.#rejected.set(reason, (this.#rejected.get(reason) ?? 0) + 1);
  }

  malformed(line: string, why: string): void {
    const isTold = this.#faultsTold < FAULTS_MAX;
    this.fault("malformed", isTold ? `unable to parse '${line.slice(0, SHOWN_MAX)}': ${why}` : why);
  }

  fault(reason: string, text: string): void {
    this.leaveOut(reason);
    if (this.#faultsTold++ < FAULTS_MAX) this.#faults.push(text);
  }

  /** What came since the last cut. */
  cut(): RemoteWrite {
    const series: SeriesToAppend[] = [];
    for (const [labels, { timestampsMs, values }] of this.#columns) {
      const samples = { timestampsMs: Float64Array.from(timestampsMs), values: Float64Array.from(values) };
      series.push({ labels, lasting: true, ...samples });
    }
    const portion: RemoteWrite = {
      version: 2,
      rows: undefined,
      series,
      metadata: [],
      received: { samples: this.#received - this.#receivedBefore, histograms: 0, exemplars: 0 },
      staleHistograms: 0,
      rejected: this.#rejected,
      rejectedExemplars: new Map(),
      faults: this.#faults,
    };
    this.#columns = new Map();
    this.#rejected = new Map();
    this.#faults = [];
    this.#receivedBefore = this.#received;
    return portion;
  }
}

/**
 * Where the lines of a text end: line feeds inside of quoted texts belong to them.
 *
 * Invariant: looking for all of them takes time in proportion to the text, whatever stands in it, and for one no more than
 * a line may be long.
 */
class LineEnds {
  readonly #text: string;
  /** The first quote at or behind the place last asked for. */
  #quoteAt = -1;
  /** Letters that may still be looked at behind the line feed where a line would end but for a quote. */
  #lookAhead: number;

  constructor(text: string) {
    this.#text = text;
    this.#lookAhead = 2 * text.length;
  }

  /** The end of the line that starts at `from`. */
  after(from: number): number {
    const text = this.#text;
    const end = text.indexOf("\n", from);
    const first = end === -1 ? text.length : end;
    if (this.#quoteAt < from) {
      const quote = text.indexOf('"', from);
      this.#quoteAt = quote === -1 ? Number.POSITIVE_INFINITY : quote;
    }
    if (this.#quoteAt > first) return first;
    // What goes on beyond is too long, wherever its quotes are closed.
    const until = Math.min(text.length, first + this.#lookAhead, from + LINE_UNITS_MAX + 1);
    let isQuoted = false;
    let at = from;
    for (; at < until; at++) {
      const letter = text[at];
      if (letter === "\\") at++;
      else if (letter === '"') isQuoted = !isQuoted;
      else if (letter === "\n" && !isQuoted) break;
    }
    this.#lookAhead -= Math.max(0, at - first);
    if (at < until) return at;
    return isQuoted || until < text.length ? first : text.length;
  }
}

/** Reads a line, or tells what is wrong with it: an error for each would take ten times as long as the reading. */
function readLine(line: string, precision: InfluxPrecision, nowMs: number): Line | string {
  const [head, afterHead] = upTo(line, 0, " ");
  const [measurement = "", ...tagTexts] = split(head, ",");
  if (measurement === "") return "missing measurement";
  if (tagTexts.length > LABELS_MAX) return `it has more than ${LABELS_MAX} tags`;
  const tags: [string, string][] = [];
  let isSorted = true;
  for (const text of tagTexts) {
    const [written, value] = pairOf(text);
    if (written === "" || value === "") return "missing tag key or value";
    const name = unescaped(written);
    isSorted = isSorted && (tags.at(-1)?.[0] ?? "") < name;
    tags.push([name, unescaped(value)]);
  }
  // Most senders sort them, as InfluxDB asks.
  if (!isSorted && new Set(tags.map(([name]) => name)).size < tags.length) return "duplicate tags";
  const [fieldText, afterFields] = upTo(line, skipBlanks(line, afterHead), " ");
  if (fieldText === "") return "missing fields";
  const fields: [string, number | undefined][] = [];
  for (const text of split(fieldText, ",")) {
    const [name, written] = pairOf(text);
    if (name === "") return "missing field key";
    const value = fieldValue(written);
    if (typeof value === "string") return value;
    fields.push([unescaped(name), value]);
  }
  const time = line.slice(afterFields).trim();
  if (time !== "" && !/^-?\d{1,19}$/.test(time)) return "invalid timestamp";
  return { measurement: unescaped(measurement), tags, fields, timeMs: time === "" ? nowMs : timeOf(time, precision) };
}

/** Nanoseconds are more than a double holds. */
function timeOf(text: string, precision: InfluxPrecision): number {
  if (precision === "ns") return Number(BigInt(text) / 1_000_000n);
  return Math.floor(Number(text) * PER_MS[precision]);
}

/** A number, undefined for a text, or what is wrong with it. */
function fieldValue(text: string): number | undefined | string {
  if (text.startsWith('"')) return text.length < 2 || !text.endsWith('"') ? "unbalanced quotes" : undefined;
  if (/^(t|true|T|True|TRUE)$/.test(text)) return 1;
  if (/^(f|false|F|False|FALSE)$/.test(text)) return 0;
  const found = /^([+-]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][+-]?\d+)?)([iu]?)$/.exec(text);
  if (found === null) return text === "" ? "missing field value" : "invalid number";
  const [, digits = "", type] = found;
  if (type !== "" && !/^[+-]?\d+$/.test(digits)) return "invalid integer";
  const value = Number(digits);
  if (type !== "" && !isSmall(value) && !isWithin64Bits(digits, type === "u")) {
    return `unable to parse ${type === "u" ? "unsigned" : "integer"} ${digits.slice(0, NUMBER_SHOWN_MAX)}: value out of range`;
  }
  return Number.isFinite(value) ? value : "invalid number";
}

/** Whether a whole number is within both types without a look at its digits: not negative, and held exactly. */
function isSmall(value: number): boolean {
  return value >= 0 && value <= Number.MAX_SAFE_INTEGER;
}

function isWithin64Bits(digits: string, isUnsigned: boolean): boolean {
  const significant = digits.replace(/^([+-]?)0+(?=\d)/, "$1");
  if (significant.length > INTEGER_LENGTH_MAX) return false;
  const value = BigInt(significant.replace("+", ""));
  return value === (isUnsigned ? BigInt.asUintN(64, value) : BigInt.asIntN(64, value));
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
