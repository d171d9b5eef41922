/** What the rewrite of a day that is over leaves on the disk, and what it costs. */

import { readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { openStore } from "../server/store/store.ts";

const DAY_MS = 86_400_000;
const MEMORY_BYTES = 256 * 2 ** 20;

/** Bytes of the compact file and processor time, a span. */
export interface CompactedDay {
  readonly bytesPerSpan: number;
  readonly cpuUsPerSpan: number;
}

/** Compacts the one day that a server left in `directory`, as it happens by itself the night after. */
export async function compactDay(directory: string, spans: number): Promise<CompactedDay> {
  const aheadMs = 2 * DAY_MS;
  const nowMs = () => Date.now() + aheadMs;
  const clock = {
    nowMs,
    nowUnixNano: () => BigInt(nowMs()) * 1_000_000n,
    monotonicMs: () => performance.now(),
  };
  const store = await openStore({ directory, clock, retentionMs: 15 * DAY_MS, memoryLimitBytes: MEMORY_BYTES });
  const before = process.cpuUsage();
  const day = await store.compactNext();
  const { user, system } = process.cpuUsage(before);
  await store.close();
  if (day === undefined) throw new Error("no day was compacted");
  const files = readdirSync(join(directory, "db")).filter((name) => name.includes(day));
  const bytes = files.reduce((sum, name) => sum + 512 * statSync(join(directory, "db", name)).blocks, 0);
  return { bytesPerSpan: bytes / spans, cpuUsPerSpan: (user + system) / spans };
}
