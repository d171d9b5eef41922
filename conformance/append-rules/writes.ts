/** Random writes that try the rules of order: newer, equal, older and late samples, of one type after another. */

import type { NativeHistogram } from "../../server/model/histogram.ts";
import { anyHistogram, grown, type Pick, random } from "../../server/store/metric-fixture.ts";
import type { SentSample, SentSeries } from "../remote-write.ts";

/** Far from now, and at the start of a block of Prometheus': its chunks end there. */
const START_MS = 1_600_003_200_000 - (1_600_003_200_000 % 7_200_000);
const SERIES = 30;
const WRITES_OF_SERIES = 12;
const HINTS = ["unknown", "reset", "not_reset", "gauge"] as const;

/** Writes in the order in which they are sent, each of one series. */
export function makeWrites(seed: number, windowMs: number): SentSeries[] {
  const pick = random(seed);
  const writes: SentSeries[] = [];
  for (let n = 0; n < SERIES; n++) {
    const series = new SeriesMaker(pick, windowMs, `append_${n}`);
    for (let w = 0; w < WRITES_OF_SERIES; w++) writes.push(series.write());
  }
  return writes.filter(({ samples }) => samples.length > 0);
}

class SeriesMaker {
  readonly #pick: Pick;
  readonly #windowMs: number;
  readonly #name: string;
  readonly #times = new Set<number>();
  #newest: Omit<SentSample, "startMs">;
  #histogram: NativeHistogram;

  constructor(pick: Pick, windowMs: number, name: string) {
    this.#pick = pick;
    this.#windowMs = windowMs;
    this.#name = name;
    this.#newest = { timestampMs: START_MS + pick(600) * 1000, value: 1 };
    this.#histogram = anyHistogram(pick);
  }

  write(): SentSeries {
    const samples: SentSample[] = [];
    for (let left = 1 + this.#pick(3); left > 0; left--) {
      const sample = this.#sample();
      if (sample !== undefined) samples.push(sample);
    }
    if (this.#pick(3) > 0) samples.sort((a, b) => a.timestampMs - b.timestampMs);
    // Prometheus puts a stale marker behind the other samples of a request; senders do not send such.
    const stale = samples.find(({ value }) => value === "stale");
    return { labels: [["__name__", this.#name]], samples: stale === undefined ? samples : [stale] };
  }

  #sample(): SentSample | undefined {
    const pick = this.#pick;
    const steps = [0, 1000, 1000, 2000, -1000, -50_000 * pick(8)];
    const timestampMs = this.#newest.timestampMs + (steps[pick(steps.length)] ?? 0);
    // Which of two late samples of one time is read is anybody's guess.
    if (this.#windowMs > 0 && this.#times.has(timestampMs) && timestampMs !== this.#newest.timestampMs)
      return undefined;
    this.#times.add(timestampMs);
    const value = this.#value();
    if (timestampMs >= this.#newest.timestampMs) this.#newest = { timestampMs, value };
    return { timestampMs, startMs: 0, value };
  }

  #value(): SentSample["value"] {
    const pick = this.#pick;
    this.#histogram = pick(3) === 0 ? anyHistogram(pick) : grown(this.#histogram, pick(4));
    switch (pick(7)) {
      case 0:
        return this.#newest.value;
      case 1:
        return pick(5);
      case 2:
        return pick(5) / 3;
      case 3:
        return "stale";
      case 4:
        return { ...this.#histogram, resetHint: HINTS[pick(HINTS.length)] ?? "unknown" };
      default:
        return this.#histogram;
    }
  }
}
