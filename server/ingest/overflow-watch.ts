/** Says once who has more names than derive keeps apart. */

import type { DerivedStreams } from "../derive/derived-streams.ts";
import type { Log } from "../telemetry/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";

/** Offenders that are told apart in our own metrics, those with the most calls first. */
const TOLD_MAX = 10;
/** Offenders that were logged; beyond it none is. */
const LOGGED_MAX = 1_000;

const MESSAGES = {
  span_name: "a service has more span names than are kept apart: the rest are counted as __cardinality_overflow__",
  edge: "a service has more callers or callees than are kept apart: the rest are counted as __cardinality_overflow__",
} as const;

/** Tells offenders in logs, each once since the start, and in metrics. */
export class OverflowWatch {
  readonly #streams: DerivedStreams;
  readonly #log: Log;
  readonly #logged = new Set<string>();

  constructor(streams: DerivedStreams, log: Log) {
    this.#streams = streams;
    this.#log = log;
  }

  /** Logs offenders that are not logged yet. */
  logNew(): void {
    for (const { of, name, calls } of this.#streams.offenders()) {
      const key = `${of} ${name}`;
      if (this.#logged.has(key) || this.#logged.size >= LOGGED_MAX) continue;
      this.#logged.add(key);
      this.#log.warn({ service: name, calls }, MESSAGES[of]);
    }
  }

  /** Sets the metrics. */
  tell(telemetry: Telemetry): void {
    let withoutName = 0;
    const all = this.#streams.offenders().toSorted((a, b) => b.calls - a.calls);
    for (const [at, { of, name, calls }] of all.entries()) {
      if (of === "span_name") withoutName += calls;
      if (at < TOLD_MAX) telemetry.set("thalweg_derive_overflow_offender_calls", { of, service: name }, calls);
    }
    telemetry.set("thalweg_derive_overflow_calls_total", { of: "span_name" }, withoutName);
  }
}
