/**
 * A stream of remote write requests as a fleet of Prometheus agents sends it, encoded before it is sent, so that every
 * server gets the same bytes and encoding costs none of the measured time.
 *
 * A target has 100 series: `up`, 20 counters, 5 histograms of 8 buckets, sum and count, 29 gauges. Counters count whole
 * events or hundredths of seconds, some stand still; gauges are whole, have two decimals, stand still, or are ratios that
 * no decimal ends. Each target is scraped every 15 s at a moment of its own.
 */

import { ProtobufWriter } from "../server/wire/protobuf-writer.ts";
import { encodeSnappy } from "../server/wire/snappy.ts";

/** Series of one target. */
export const SERIES_PER_TARGET = 100;
const STEP_MS = 15_000;
/** Scrapes of one request, 2,000 samples: what Prometheus sends at once. */
const SCRAPES_PER_BODY = 20;
/** Bytes of a time of this century as a varint. */
const TIME_BYTES = 6;

const COUNTERS = 20;
const HISTOGRAMS = 5;
const BUCKETS = ["0.005", "0.01", "0.05", "0.1", "0.5", "1", "5", "+Inf"];
const GAUGES = 29;
const SERVICES = ["cart", "checkout", "frontend", "payment", "search"];

/** Encoded requests. */
export interface RemoteLoad {
  readonly version: 1 | 2;
  readonly series: number;
  readonly samples: number;
  /** Requests in order, a list for each connection: the samples of one series all go through the same one. */
  readonly lanes: readonly (readonly Uint8Array[])[];
  /** Compressed, and before. */
  readonly wireBytes: number;
  readonly rawBytes: number;
  /** No sample is newer. */
  readonly endMs: number;
  readonly metricNames: readonly string[];
}

/** What to encode. */
export interface LoadShape {
  readonly version: 1 | 2;
  readonly targets: number;
  /** Scrapes of each target. */
  readonly steps: number;
  readonly connections: number;
  readonly endMs: number;
  /** Targets are numbered from here on, so that loads can be disjoint. */
  readonly firstTarget?: number;
}

/** Encodes a load, in slices that let the loop turn. */
export async function encodeLoad(shape: LoadShape): Promise<RemoteLoad> {
  const { version, targets, steps, connections, endMs, firstTarget = 0 } = shape;
  const startMs = endMs - steps * STEP_MS;
  const lanes: Uint8Array[][] = [];
  let rawBytes = 0;
  let wireBytes = 0;
  for (let lane = 0; lane < connections; lane++) {
    const numbers: number[] = [];
    for (let target = lane; target < targets; target += connections) numbers.push(firstTarget + target);
    const values = numbers.map((number) => new TargetValues(number));
    const templates = new Map<number, Template>();
    const bodies: Uint8Array[] = [];
    const scrapes = numbers.length * steps;
    for (let from = 0; from < scrapes; from += SCRAPES_PER_BODY) {
      const count = Math.min(SCRAPES_PER_BODY, scrapes - from);
      const first = from % numbers.length;
      const key = first * (SCRAPES_PER_BODY + 1) + count;
      const template = templates.get(key) ?? templateOf(version, numbersFrom(numbers, first, count));
      templates.set(key, template);
      fill(template, { values, first, from, startMs });
      const body = encodeSnappy(template.bytes).slice();
      bodies.push(body);
      rawBytes += template.bytes.length;
      wireBytes += body.length;
      await new Promise((resolve) => setImmediate(resolve));
    }
    lanes.push(bodies);
  }
  const samples = targets * steps * SERIES_PER_TARGET;
  const series = targets * SERIES_PER_TARGET;
  return { version, series, samples, lanes, wireBytes, rawBytes, endMs, metricNames: [...METRIC_NAMES] };
}

interface SeriesShape {
  readonly name: string;
  readonly type: number;
  readonly more: readonly (readonly [string, string])[];
}

const TYPE_COUNTER = 1;
const TYPE_GAUGE = 2;
const TYPE_HISTOGRAM = 3;

const SHAPES: readonly SeriesShape[] = shapesOfTarget();
const METRIC_NAMES = new Set(SHAPES.map(({ name }) => name));

function shapesOfTarget(): SeriesShape[] {
  const shapes: SeriesShape[] = [{ name: "up", type: TYPE_GAUGE, more: [] }];
  for (let i = 0; i < COUNTERS; i++) shapes.push({ name: `app_events_${i}_total`, type: TYPE_COUNTER, more: [] });
  for (let i = 0; i < HISTOGRAMS; i++) {
    const name = `http_request_duration_${i}_seconds`;
    const route: [string, string] = ["route", `/api/v1/resource/${i}`];
    for (const le of BUCKETS) shapes.push({ name: `${name}_bucket`, type: TYPE_HISTOGRAM, more: [["le", le], route] });
    shapes.push({ name: `${name}_sum`, type: TYPE_HISTOGRAM, more: [route] });
    shapes.push({ name: `${name}_count`, type: TYPE_HISTOGRAM, more: [route] });
  }
  for (let i = 0; i < GAUGES; i++) shapes.push({ name: `process_resource_${i}_gauge`, type: TYPE_GAUGE, more: [] });
  return shapes;
}

function labelsOf({ name, more }: SeriesShape, target: number): [string, string][] {
  const service = SERVICES[target % SERVICES.length] ?? "";
  const pod = `${service}-${(target * 2_654_435_761).toString(36).slice(-9)}-${(target + 46_656).toString(36)}`;
  const labels: [string, string][] = [
    ["__name__", name],
    ["instance", `10.${(target >> 16) & 255}.${(target >> 8) & 255}.${target & 255}:9090`],
    ["job", "kubernetes-pods"],
    ["namespace", `shop-${target % 7}`],
    ["pod", pod],
    ["service", service],
    ...more.map(([key, value]): [string, string] => [key, value]),
  ];
  return labels.sort(([a], [b]) => (a < b ? -1 : 1));
}

/** An encoded request in which times and values are filled in. */
interface Template {
  readonly bytes: Buffer;
  readonly view: DataView;
  /** Places of the values, scrape by scrape; each time follows its value after one byte. */
  readonly valuesAt: Uint32Array;
  readonly scrapes: number;
}

function numbersFrom(numbers: readonly number[], first: number, count: number): number[] {
  return Array.from({ length: count }, (_, i) => numbers[(first + i) % numbers.length] ?? 0);
}

const SAMPLE = sampleTemplate();

function templateOf(version: 1 | 2, targets: readonly number[]): Template {
  const bytes = version === 1 ? bodyOfVersion1(targets) : bodyOfVersion2(targets);
  const valuesAt: number[] = [];
  for (let at = bytes.indexOf(SAMPLE); at >= 0; at = bytes.indexOf(SAMPLE, at + SAMPLE.length)) valuesAt.push(at + 1);
  if (valuesAt.length !== targets.length * SERIES_PER_TARGET) throw new Error("a template has other samples in it");
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return { bytes, view, valuesAt: Uint32Array.from(valuesAt), scrapes: targets.length };
}

/** A sample whose value no label contains, to be found again. */
function sampleTemplate(): Buffer {
  const out = new ProtobufWriter();
  writeSampleFields(out);
  return Buffer.from(out.take());
}

function writeSampleFields(out: ProtobufWriter): void {
  out.writeDouble(1, -1.234567890123e-250);
  out.writeInt64Number(2, 2 ** 40);
}

function bodyOfVersion1(targets: readonly number[]): Buffer {
  const out = new ProtobufWriter();
  for (const target of targets) {
    for (const shape of SHAPES) {
      const series = out.openMessage(1);
      for (const [name, value] of labelsOf(shape, target)) {
        const label = out.openMessage(1);
        out.writeText(1, name);
        out.writeText(2, value);
        out.closeMessage(label);
      }
      writeSample(out);
      out.closeMessage(series);
    }
  }
  return Buffer.from(out.take());
}

function bodyOfVersion2(targets: readonly number[]): Buffer {
  const symbols = new Map<string, number>([["", 0]]);
  const numberOf = (text: string) => {
    const known = symbols.get(text) ?? symbols.size;
    symbols.set(text, known);
    return known;
  };
  const out = new ProtobufWriter();
  for (const target of targets) {
    for (const shape of SHAPES) {
      const series = out.openMessage(5);
      out.writeBytes(1, varints(labelsOf(shape, target).flat().map(numberOf)));
      writeSample(out);
      const metadata = out.openMessage(5);
      out.writeUint32(1, shape.type);
      out.writeUint32(3, numberOf(`What ${shape.name} tells.`));
      out.closeMessage(metadata);
      out.closeMessage(series);
    }
  }
  const bodies = out.take();
  for (const symbol of symbols.keys()) out.writeText(4, symbol);
  return Buffer.concat([out.take(), bodies]);
}

function writeSample(out: ProtobufWriter): void {
  const sample = out.openMessage(2);
  writeSampleFields(out);
  out.closeMessage(sample);
}

function varints(numbers: readonly number[]): Uint8Array {
  const bytes: number[] = [];
  for (const number of numbers) {
    let rest = number;
    for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128);
    bytes.push(rest);
  }
  return Uint8Array.from(bytes);
}

interface Filling {
  readonly values: readonly TargetValues[];
  /** Place of the first target among those of the lane, and number of the first scrape. */
  readonly first: number;
  readonly from: number;
  readonly startMs: number;
}

function fill({ bytes, view, valuesAt, scrapes }: Template, { values, first, from, startMs }: Filling): void {
  let at = 0;
  for (let scrape = 0; scrape < scrapes; scrape++) {
    const target = values[(first + scrape) % values.length];
    if (target === undefined) throw new Error("a lane has no targets");
    const step = Math.floor((from + scrape) / values.length);
    const column = target.next();
    const ms = startMs + step * STEP_MS + target.offsetMs;
    for (let series = 0; series < SERIES_PER_TARGET; series++) {
      const place = valuesAt[at++] ?? 0;
      view.setFloat64(place, column[series] ?? 0, true);
      let rest = ms;
      for (let byte = 0; byte < TIME_BYTES; byte++) {
        bytes[place + 9 + byte] = (rest % 128) | (byte === TIME_BYTES - 1 ? 0 : 128);
        rest = Math.floor(rest / 128);
      }
    }
  }
}

/** The values of one target from scrape to scrape; the same for the same number. */
class TargetValues {
  readonly offsetMs: number;
  readonly #column = new Float64Array(SERIES_PER_TARGET);
  #state: number;

  constructor(number: number) {
    this.#state = Math.imul(number + 1, 0x9e37_79b1) | 1;
    this.offsetMs = this.#below(STEP_MS - 1) + 1;
    for (let series = 0; series < SERIES_PER_TARGET; series++) this.#column[series] = this.#below(1_000_000);
    this.#column[0] = 1;
    for (let i = 0; i < HISTOGRAMS; i++) this.#column.fill(0, 1 + COUNTERS + 10 * i, 1 + COUNTERS + 10 * i + 10);
  }

  /** Values of the next scrape; valid until the one after it. */
  next(): Float64Array {
    let at = 1;
    for (let i = 0; i < COUNTERS; i++) this.#count(at++, i);
    for (let i = 0; i < HISTOGRAMS; i++) {
      this.#observe(at, 5 + 10 * i);
      at += 10;
    }
    for (let i = 0; i < GAUGES; i++) this.#measure(at++, i);
    return this.#column;
  }

  #count(at: number, kind: number): void {
    const before = this.#column[at] ?? 0;
    if (kind < 5) return;
    if (kind < 17) this.#column[at] = before + this.#below(Math.min(4 ** (kind - 4), 2_000));
    else this.#column[at] = (Math.round(before * 100) + this.#below(150)) / 100;
  }

  #observe(at: number, observations: number): void {
    const column = this.#column;
    let sum = 0;
    const count = this.#below(observations);
    for (let i = 0; i < count; i++) {
      const seconds = 0.002 * 2 ** (this.#below(1_000) / 100);
      sum += seconds;
      for (let b = 0; b < BUCKETS.length; b++)
        if (seconds <= Number(BUCKETS[b] === "+Inf" ? 1e9 : BUCKETS[b])) column[at + b] = (column[at + b] ?? 0) + 1;
    }
    column[at + 8] = (column[at + 8] ?? 0) + sum;
    column[at + 9] = column[at + 7] ?? 0;
  }

  #measure(at: number, kind: number): void {
    const before = this.#column[at] ?? 0;
    if (kind < 6) return;
    if (kind < 16) this.#column[at] = Math.max(0, before + this.#below(21) - 10);
    else if (kind < 19) this.#column[at] = 4096 * Math.max(0, Math.round(before / 4096) + this.#below(101) - 50);
    else if (kind < 27) this.#column[at] = this.#below(10_000) / 100;
    else this.#column[at] = this.#below(1_000_000_007) / 1_000_000_007;
  }

  /** A whole number from 0 to `max - 1`. */
  #below(max: number): number {
    let x = this.#state;
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    this.#state = x;
    return (x >>> 0) % max;
  }
}
