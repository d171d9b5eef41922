/** A process for the crash test: appends samples to a store as fast as it can, seals them now and then, and prints what was acknowledged. */

import { systemClock } from "../platform/system-clock.ts";
import { MetricStore } from "./metric-store.ts";

const [directory = "", start = "0"] = process.argv.slice(2);
const metrics = await MetricStore.open({
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
  if (step % 30 === 29) void metrics.sealAll();
  await metrics.append(series.map((labels) => ({ labels, timestampMs, value: step })));
  process.stdout.write(`${step} ${timestampMs}\n`);
}
