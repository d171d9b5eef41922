/**
 * Damaged bytes through the decoders of metrics: remote write, snappy, our own chunks and those of Prometheus. None throws,
 * hangs or grows without bound, and what one takes a library, or a plain decoder written from the format, reads the same.
 *
 * Metrics over OTLP are fuzzed by the suite `otlp-fuzz`.
 */

import { type FuzzSubject, fuzzPass, runFuzz } from "../fuzz-run.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { histogramSubject, ownChunkSubject, snappySubject, xorSubject } from "./blocks-of-bytes.ts";
import { remoteWriteSubject } from "./remote-write.ts";

/** The suite `metric-fuzz`: `--rounds N` inputs a decoder, `--seed N` to have the same again, `--only TEXT` of a name. */
export async function runMetricFuzz({ args = [] }: { readonly args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { only, ...pass } = fuzzPass(args);
  const report = new SuiteReport();
  for (const make of SUBJECTS) {
    const subject = make();
    if (!subject.name.includes(only ?? "")) continue;
    runFuzz(subject, pass, report);
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
