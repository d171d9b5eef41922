/**
 * What a sample of remote write costs stage by stage, in one process and without HTTP: snappy, protobuf with labels,
 * the store with its log, sealing into blocks.
 *
 * `npm run -s bench -- metric-stages [--series N] [--steps N] [--version 1|2]`.
 */

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { systemClock } from "../server/platform/system-clock.ts";
import { MetricStore } from "../server/store/metric-store.ts";
import { releaseRows } from "../server/wire/remote-write.ts";
import { RemoteWriteDecoder1 } from "../server/wire/remote-write-1.ts";
import { RemoteWriteDecoder2 } from "../server/wire/remote-write-2.ts";
import { decodeSnappy } from "../server/wire/snappy.ts";
import { printFigure } from "./figure-kit.ts";
import { diskBytes } from "./otlp-run-kit.ts";
import { encodeLoad, SERIES_PER_TARGET } from "./remote-load-kit.ts";

const { values: flags } = parseArgs({
  options: {
    series: { type: "string", default: "10000" },
    steps: { type: "string", default: "240" },
    version: { type: "string", default: "1" },
  },
});

const BENCH = "metric-stages";
const ROOM_BYTES = 2 ** 20;

async function main(): Promise<void> {
  const version = flags.version === "2" ? 2 : 1;
  const load = await encodeLoad({
    version,
    targets: Math.ceil(Number(flags.series) / SERIES_PER_TARGET),
    steps: Number(flags.steps),
    connections: 1,
    endMs: Math.floor(Date.now() / 60_000) * 60_000,
  });
  const directory = mkdtempSync(join(tmpdir(), "thalweg-bench-stages-"));
  const decoder = version === 1 ? new RemoteWriteDecoder1() : new RemoteWriteDecoder2();
  const clock = systemClock();
  const options = { directory, clock, retentionMs: 1e12, memoryBytesMax: 2 ** 31, durability: "interval" } as const;
  let store = await MetricStore.open(options);
  const room = new Uint8Array(ROOM_BYTES);
  const spent = { snappy: 0, protobuf: 0, store: 0, seal: 0, replay: 0, "open blocks": 0 };
  const timed = async <T>(stage: keyof typeof spent, work: () => T | Promise<T>): Promise<T> => {
    const before = process.cpuUsage();
    const result = await work();
    const { user, system } = process.cpuUsage(before);
    spent[stage] += user + system;
    return result;
  };
  for (const body of load.lanes[0] ?? []) {
    const bytes = await timed("snappy", () => decodeSnappy(body, room));
    if (bytes === undefined) throw new Error("a body is corrupt");
    const outcome = await timed("protobuf", () => decoder.decode(bytes));
    if (outcome.kind !== "decoded") throw new Error(outcome.reason);
    await timed("store", () => store.appendSeries(outcome.write.series, outcome.write.rows));
    releaseRows(outcome.write);
  }
  await store.close();
  const logBytes = diskBytes(join(directory, "wal"));
  store = await timed("replay", () => MetricStore.open(options));
  await timed("seal", () => store.sealAll());
  await store.close();
  store = await timed("open blocks", () => MetricStore.open(options));
  await store.close();
  const what = `version ${version}, ${load.series} series, ${load.samples} samples`;
  for (const [stage, us] of Object.entries(spent)) {
    printFigure({ bench: BENCH, measure: stage, unit: "ns/sample", values: [(1e3 * us) / load.samples], note: what });
  }
  const perSample = (measure: string, bytes: number) =>
    printFigure({ bench: BENCH, measure, unit: "B/sample", values: [bytes / load.samples], note: what });
  perSample("log", logBytes);
  perSample("blocks", diskBytes(join(directory, "blocks")));
  rmSync(directory, { recursive: true, force: true });
}

await main();
