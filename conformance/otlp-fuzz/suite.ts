/**
 * Damaged OTLP bodies through the six decoders: none throws, hangs or grows without bound, and of every body that one of
 * them takes a library reads the same. Protobuf is refused by both or by neither.
 */

import { isDeepStrictEqual } from "node:util";
import { type FuzzSubject, fuzzPass, runFuzz } from "../fuzz-run.ts";
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

const VARINT_BYTES_MAX = 10;

/** The suite `otlp-fuzz`: `--rounds N` bodies a decoder, `--seed N` to have the same again, `--only SIGNAL/ENCODING`. */
export async function runOtlpFuzz({ args = [] }: { readonly args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { only, ...pass } = fuzzPass(args);
  const report = new SuiteReport();
  for (const signal of Object.keys(MESSAGES) as Signal[]) {
    for (const encoding of ["protobuf", "json"] as const) {
      if (only !== undefined && only !== `${signal}/${encoding}`) continue;
      runFuzz(subjectOf(signal, encoding), pass, report);
      // A turn for whoever waits, such as the runner of tests.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }
  return report.outcome;
}

/** One decoder, its random requests and the library beside it. */
function subjectOf(signal: Signal, encoding: Encoding): FuzzSubject {
  return {
    name: `${signal} in ${encoding}`,
    fresh: (random) => {
      const bytes = asProtobuf(signal, RANDOM_REQUESTS[signal](random));
      const reading = encoding === "json" ? libraryReading(signal, bytes) : undefined;
      return reading === undefined ? bytes : asJson(reading);
    },
    damaged: (random, body, other) => damaged(random, body, other, encoding === "json"),
    read: (body) => ourReading(signal, encoding, body),
    fault: (body, reading) =>
      encoding === "protobuf" ? protobufFault(signal, body, reading) : jsonFault(signal, body, reading),
    shown: (body) => shown(body, encoding),
  };
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
