/** A process for the crash test: appends samples to a head as fast as it can, and prints what was acknowledged. */

import { systemClock } from "../platform/system-clock.ts";
import { openMetricHead } from "./metric-head.ts";

const [directory = "", start = "0"] = process.argv.slice(2);
const head = await openMetricHead({
  directory,
  clock: systemClock(),
  retentionMs: 86_400_000,
  segmentBytesMax: 65_536,
});
const series = Array.from(
  { length: 50 },
  (_, n) =>
    [
      ["__name__", "m"],
      ["n", String(n)],
    ] as const,
);
for (let step = Number(start); ; step++) {
  const timestampMs = Date.now() - 3_600_000 + step;
  await head.append(series.map((labels) => ({ labels, timestampMs, value: step })));
  process.stdout.write(`${step} ${timestampMs}\n`);
}
