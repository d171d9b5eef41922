/**
 * Damaged OTLP bodies through the six decoders: none throws, hangs or grows without bound, and of every body that one of
 * them takes a library reads the same. Protobuf is refused by both or by neither.
 */

import { isDeepStrictEqual, parseArgs } from "node:util";
import { seededRandom } from "../../server/wire/trace-oracle.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { damaged, RANDOM_REQUESTS } from "./bodies.ts";
import {
  asJson,
  asProtobuf,
  type Encoding,
  libraryReading,
  libraryReadingOfJson,
  MESSAGES,
  ourReading,
  repeatsValues,
  type Signal,
} from "./readings.ts";

const ROUNDS = 100_000;
/** A fresh request after so many damaged ones. */
const DAMAGED_OF_ONE = 20;
/** For one body of a few KiB. */
const DECODE_MS_MAX = 100;
const GROWTH_BYTES_MAX = 256 * 2 ** 20;
/** Until the memory of a decoder and of the library is what it will be. */
const WARM_SHARE = 0.2;
const FAULTS_SHOWN = 5;
const VARINT_BYTES_MAX = 10;

/** The suite `otlp-fuzz`: `--rounds N` bodies a decoder, `--seed N` to have the same again, `--only SIGNAL/ENCODING`. */
export async function runOtlpFuzz({ args = [] }: { readonly args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: { rounds: { type: "string" }, seed: { type: "string" }, only: { type: "string" } },
  });
  const report = new SuiteReport();
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  process.stdout.write(`seed ${seed}\n`);
  for (const signal of Object.keys(MESSAGES) as Signal[]) {
    for (const encoding of ["protobuf", "json"] as const) {
      if (values.only !== undefined && values.only !== `${signal}/${encoding}`) continue;
      fuzz({ signal, encoding, seed, rounds: Number(values.rounds ?? ROUNDS) }, report);
      // A turn for whoever waits, such as the runner of tests.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  return report.outcome;
}

interface Target {
  readonly signal: Signal;
  readonly encoding: Encoding;
  readonly seed: number;
  readonly rounds: number;
}

function fuzz({ signal, encoding, seed, rounds }: Target, report: SuiteReport): void {
  const random = seededRandom(seed);
  const faults: string[] = [];
  const started = process.cpuUsage();
  const fresh = (): Uint8Array => {
    const bytes = asProtobuf(signal, RANDOM_REQUESTS[signal](random));
    const reading = encoding === "json" ? libraryReading(signal, bytes) : undefined;
    return reading === undefined ? bytes : asJson(reading);
  };
  let bodies = [fresh(), fresh()] as const;
  let taken = 0;
  let slowestMs = 0;
  let warmBytes = 0;
  for (let round = 0; round < rounds && faults.length < FAULTS_SHOWN; round++) {
    if (round % DAMAGED_OF_ONE === 0) bodies = [fresh(), bodies[0]];
    if (round === Math.floor(rounds * WARM_SHARE)) warmBytes = process.memoryUsage.rss();
    const body = damaged(random, bodies[0], bodies[1], encoding === "json");
    try {
      const [reading, ms] = timed(() => ourReading(signal, encoding, body));
      slowestMs = Math.max(slowestMs, ms);
      if (reading !== undefined) taken++;
      const fault = encoding === "protobuf" ? protobufFault(signal, body, reading) : jsonFault(signal, body, reading);
      if (fault !== "") faults.push(`round ${round}: ${fault}: ${shown(body, encoding)}`);
    } catch (error) {
      faults.push(`round ${round}: ${error instanceof Error ? error.stack : error}: ${shown(body, encoding)}`);
    }
  }
  const name = `${signal} in ${encoding}`;
  report.add(`${name}: ours and the library agree`, faults.join("\n"));
  // A fuzzer whose bodies are all refused proves nothing.
  report.add(`${name}: a tenth is taken`, taken >= rounds / 10 ? "" : `${taken} of ${rounds}`);
  report.add(`${name}: in time`, slowestMs <= DECODE_MS_MAX ? "" : `one took ${slowestMs} ms`);
  const growth = process.memoryUsage.rss() - warmBytes;
  report.add(`${name}: in bounded memory`, growth <= GROWTH_BYTES_MAX ? "" : `grew by ${growth} bytes`);
  const { user, system } = process.cpuUsage(started);
  process.stdout.write(
    `     ${taken} of ${rounds} taken, slowest ${slowestMs.toFixed(1)} ms, ${Math.round((user + system) / 1e6)} s of processor time\n`,
  );
}

/** Milliseconds of the quickest run, by the clock or the processor, which others may hold during one. */
function timed<T>(run: () => T): [T, number] {
  let best = Number.POSITIVE_INFINITY;
  for (let attempt = 0; ; attempt++) {
    const used = process.cpuUsage();
    const start = performance.now();
    const result = run();
    best = Math.min(best, performance.now() - start);
    if (best > DECODE_MS_MAX) {
      const { user, system } = process.cpuUsage(used);
      best = Math.min(best, (user + system) / 1_000);
    }
    if (best <= DECODE_MS_MAX || attempt === 2) return [result, best];
  }
}

function protobufFault(signal: Signal, body: Uint8Array, ours: object | undefined): string {
  const library = libraryReading(signal, body);
  if (ours === undefined) return library === undefined || hasLongVarint(body) ? "" : "the library takes it";
  if (library === undefined) return "the library refuses it";
  if (repeatsValues(signal, body)) return "";
  const canonical = ourReading(signal, "protobuf", asProtobuf(signal, library));
  if (!isDeepStrictEqual(ours, canonical)) return "the library reads something else";
  return isDeepStrictEqual(ours, ourReading(signal, "json", asJson(library))) ? "" : "in JSON it is something else";
}

/** The library skips varints of any length; those of more than ten bytes are none. */
function hasLongVarint(body: Uint8Array): boolean {
  let run = 0;
  for (const byte of body) {
    run = byte < 0x80 ? 0 : run + 1;
    if (run >= VARINT_BYTES_MAX) return true;
  }
  return false;
}

function jsonFault(signal: Signal, body: Uint8Array, ours: object | undefined): string {
  if (ours === undefined) return "";
  const library = libraryReadingOfJson(signal, body);
  if (library === "open") return "";
  if (library === undefined) return "the library refuses it";
  return isDeepStrictEqual(ours, ourReading(signal, "protobuf", library)) ? "" : "the library reads something else";
}

function shown(body: Uint8Array, encoding: Encoding): string {
  return encoding === "json" ? Buffer.from(body).toString() : Buffer.from(body).toString("hex");
}
