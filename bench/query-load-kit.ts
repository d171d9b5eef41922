/**
 * What a fleet of web servers tells every 15 s, for queries: 100 series a pod, counters, classic and native histograms,
 * gauges, and what pods are. Written to several servers at once, the same bytes to each.
 *
 * A pod is scraped at a moment of its own. A counter starts anew now and then, latencies spread over four decades and
 * differ between pods, and gauges have two decimals.
 */

import { writeHeaders } from "../conformance/remote-write.ts";
import { ProtobufWriter } from "../server/wire/protobuf-writer.ts";
import { encodeSnappy } from "../server/wire/snappy.ts";

/** Series of one pod; two of them are native histograms. */
export const SERIES_PER_POD = 100;
const STEP_MS = 15_000;
/** Scrapes of a pod in one request. */
const STEPS_PER_BODY = 20;
const BODIES_AT_ONCE = 4;

const SERVICES = ["cart", "checkout", "frontend", "payment", "search"];
const BOUNDS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, Number.POSITIVE_INFINITY];
const COUNTER_ROUTES = 10;
const LATENCY_ROUTES = 4;
const QUEUES = 9;
const NATIVES = 2;
const PLAIN_GAUGES = 20;
/** A scrape in so many starts the counters of a pod anew. */
const RESTART_EVERY = 2_000;
/** Buckets of a native histogram of schema 3, one after the other, the first with this index. */
const NATIVE_SCHEMA = 3;
const NATIVE_FIRST = -60;
const NATIVE_BUCKETS = 40;

/** What to write, and to whom. */
export interface QueryLoad {
  readonly bases: readonly string[];
  readonly pods: number;
  readonly steps: number;
  readonly endMs: number;
}

/** Writes all of it. @throws Error where a server does not take a request. */
export async function writeQueryLoad({ bases, pods, steps, endMs }: QueryLoad): Promise<void> {
  const all = Array.from({ length: pods }, (_, number) => new Pod(number));
  const startMs = endMs - steps * STEP_MS;
  for (let step = 0; step < steps; step += STEPS_PER_BODY) {
    const times = Math.min(STEPS_PER_BODY, steps - step);
    for (let pod = 0; pod < pods; pod += BODIES_AT_ONCE) {
      const bodies = all.slice(pod, pod + BODIES_AT_ONCE).map((one) => one.body(startMs + step * STEP_MS, times));
      await Promise.all(bases.flatMap((base) => bodies.map((body) => write(base, body))));
    }
  }
}

async function write(base: string, body: Uint8Array<ArrayBuffer>): Promise<void> {
  for (;;) {
    const answer = await fetch(`${base}/api/v1/write`, { method: "POST", headers: writeHeaders(1), body });
    const text = await answer.text();
    if (answer.ok) return;
    if (answer.status !== 503 && answer.status !== 429)
      throw new Error(`${base} refuses a write: ${text.slice(0, 300)}`);
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

type Pairs = readonly (readonly [string, string])[];

/** A series of floats: its labels, and the value of each scrape. */
interface FloatSeries {
  readonly labels: Pairs;
  readonly next: (restarts: boolean) => number;
}

class Pod {
  readonly #offsetMs: number;
  readonly #own: Pairs;
  readonly #floats: FloatSeries[] = [];
  readonly #natives: NativeSeries[] = [];
  readonly #random: (max: number) => number;

  constructor(number: number) {
    const random = randomOf(number);
    this.#random = random;
    this.#offsetMs = random(STEP_MS - 1) + 1;
    const service = SERVICES[number % SERVICES.length] ?? "";
    const pod = `${service}-${(number * 2_654_435_761).toString(36).slice(-9)}-${(number + 46_656).toString(36)}`;
    this.#own = [
      ["instance", `10.${(number >> 16) & 255}.${(number >> 8) & 255}.${number & 255}:9090`],
      ["job", "kubernetes-pods"],
      ["namespace", `shop-${number % 7}`],
      ["pod", pod],
      ["service", service],
    ];
    this.#addCounters();
    this.#addLatencies(random(7) + 3);
    const gauge = () => random(10_000) / 100;
    for (let i = 0; i < QUEUES; i++) this.#add("queue_depth", [["queue", `q${i}`]], gauge);
    for (let i = 0; i < PLAIN_GAUGES; i++) this.#add(`process_resource_${i}_gauge`, [], gauge);
    this.#add("pod_info", [["version", `v1.${number % 4}`]], () => 1);
    for (let i = 0; i < NATIVES; i++) {
      const labels = this.#labels("rpc_duration_seconds", [["route", `/rpc/${i}`]]);
      this.#natives.push({ labels, counts: new Float64Array(NATIVE_BUCKETS), sum: 0 });
    }
  }

  /** One request: `times` scrapes from `fromMs` on. */
  body(fromMs: number, times: number): Uint8Array<ArrayBuffer> {
    const out = new ProtobufWriter();
    const restartAt = this.#random(RESTART_EVERY);
    for (const { labels, next } of this.#floats) {
      const series = openSeries(out, labels);
      for (let i = 0; i < times; i++) {
        const sample = out.openMessage(2);
        out.writeDouble(1, next(i === restartAt));
        out.writeInt64Number(2, fromMs + i * STEP_MS + this.#offsetMs);
        out.closeMessage(sample);
      }
      out.closeMessage(series);
    }
    for (const native of this.#natives) {
      const series = openSeries(out, native.labels);
      for (let i = 0; i < times; i++) {
        this.#observe(native, i === restartAt);
        writeNative(out, native, fromMs + i * STEP_MS + this.#offsetMs);
      }
      out.closeMessage(series);
    }
    return Uint8Array.from(encodeSnappy(out.take()));
  }

  #labels(name: string, more: Pairs): Pairs {
    return [["__name__", name] as const, ...this.#own, ...more].sort(([a], [b]) => (a < b ? -1 : 1));
  }

  #add(name: string, more: Pairs, next: (restarts: boolean) => number): void {
    this.#floats.push({ labels: this.#labels(name, more), next });
  }

  #addCounters(): void {
    for (let route = 0; route < COUNTER_ROUTES; route++) {
      for (const code of ["200", "500"]) {
        let total = this.#random(1_000_000);
        this.#add(
          "http_requests_total",
          [
            ["code", code],
            ["route", `/api/v1/resource/${route}`],
          ],
          (restarts) => {
            total = (restarts ? 0 : total) + this.#random(code === "200" ? 400 : 7);
            return total;
          },
        );
      }
    }
  }

  /** Series of one histogram follow each other, and the first makes the scrape of all. */
  #addLatencies(slowness: number): void {
    const name = "http_latency_seconds";
    for (let route = 0; route < LATENCY_ROUTES; route++) {
      const path: readonly [string, string] = ["route", `/api/v1/resource/${route}`];
      const weights = BOUNDS.map((_, i) => Math.max(1, 40 - 6 * Math.abs(i - slowness - (route % 3))));
      // What the buckets so far gained at each scrape of a request: those below are in each bucket.
      const gained = new Float64Array(STEPS_PER_BODY);
      for (const [i, bound] of BOUNDS.entries()) {
        const le = bound === Number.POSITIVE_INFINITY ? "+Inf" : String(bound);
        let total = 0;
        let scrape = 0;
        this.#add(`${name}_bucket`, [["le", le], path], (restarts) => {
          const more = (i === 0 ? 0 : (gained[scrape] ?? 0)) + this.#random(weights[i] ?? 1);
          gained[scrape] = more;
          scrape = (scrape + 1) % STEPS_PER_BODY;
          total = (restarts ? 0 : total) + more;
          return total;
        });
      }
      let sum = 0;
      let count = 0;
      this.#add(`${name}_sum`, [path], (restarts) => {
        sum = (restarts ? 0 : sum) + this.#random(1_000_000) / 16_384;
        return sum;
      });
      this.#add(`${name}_count`, [path], (restarts) => {
        count = (restarts ? 0 : count) + this.#random(200);
        return count;
      });
    }
  }

  #observe(native: NativeSeries, restarts: boolean): void {
    if (restarts) {
      native.counts.fill(0);
      native.sum = 0;
    }
    for (let i = 0; i < 12; i++) {
      const bucket = (this.#random(NATIVE_BUCKETS) + this.#random(NATIVE_BUCKETS)) >> 1;
      native.counts[bucket] = (native.counts[bucket] ?? 0) + 1;
      native.sum += 2 ** ((NATIVE_FIRST + bucket - 0.5) / 2 ** NATIVE_SCHEMA);
    }
  }
}

interface NativeSeries {
  readonly labels: Pairs;
  readonly counts: Float64Array;
  sum: number;
}

function openSeries(out: ProtobufWriter, labels: Pairs): number {
  const series = out.openMessage(1);
  for (const [name, value] of labels) {
    const label = out.openMessage(1);
    out.writeText(1, name);
    out.writeText(2, value);
    out.closeMessage(label);
  }
  return series;
}

/** @see prompb.Histogram: counts as differences of neighbours. */
function writeNative(out: ProtobufWriter, { counts, sum }: NativeSeries, timestampMs: number): void {
  const histogram = out.openMessage(4);
  out.writeInt64Number(
    1,
    counts.reduce((total, count) => total + count, 0),
  );
  out.writeDouble(3, sum);
  out.writeSint(4, NATIVE_SCHEMA);
  out.writeDouble(5, 1e-128);
  const span = out.openMessage(11);
  out.writeSint(1, NATIVE_FIRST);
  out.writeUint32(2, NATIVE_BUCKETS);
  out.closeMessage(span);
  out.writeSints(
    12,
    counts.map((count, i) => count - (i === 0 ? 0 : (counts[i - 1] ?? 0))),
  );
  out.writeInt64Number(15, timestampMs);
  out.closeMessage(histogram);
}

/** Whole numbers from 0 to `max - 1`, the same for the same seed. */
function randomOf(seed: number): (max: number) => number {
  let x = Math.imul(seed + 1, 0x9e37_79b1) | 1;
  return (max) => {
    x ^= x << 13;
    x ^= x >>> 17;
    x ^= x << 5;
    return (x >>> 0) % max;
  };
}
