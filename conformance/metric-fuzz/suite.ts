/**
 * Damaged bytes through the decoders of metrics: remote write, snappy, our own chunks and those of Prometheus. None throws,
 * hangs or grows without bound, and what one takes a library, or a plain decoder written from the format, reads the same.
 *
 * Metrics over OTLP are fuzzed by the suite `otlp-fuzz`.
 */

import { parseArgs } from "node:util";
import { type FuzzSubject, runFuzz } from "../fuzz-run.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { histogramSubject, ownChunkSubject, snappySubject, xorSubject } from "./blocks-of-bytes.ts";
import { remoteWriteSubject } from "./remote-write.ts";

const ROUNDS = 100_000;

/** The suite `metric-fuzz`: `--rounds N` inputs a decoder, `--seed N` to have the same again, `--only TEXT` of a name. */
export async function runMetricFuzz({ args = [] }: { readonly args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: { rounds: { type: "string" }, seed: { type: "string" }, only: { type: "string" } },
  });
  const report = new SuiteReport();
  const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 31));
  process.stdout.write(`seed ${seed}\n`);
  for (const make of SUBJECTS) {
    const subject = make();
    if (!subject.name.includes(values.only ?? "")) continue;
    runFuzz(subject, { seed, rounds: Number(values.rounds ?? ROUNDS) }, report);
    // A turn for whoever waits, such as the runner of tests.
    await new Promise((resolve) => setImmediate(resolve));
  }
  return report.outcome;
}

const SUBJECTS: readonly (() => FuzzSubject)[] = [
  () => remoteWriteSubject(1),
  () => remoteWriteSubject(2),
  snappySubject,
  ownChunkSubject,
  xorSubject,
  histogramSubject,
];
