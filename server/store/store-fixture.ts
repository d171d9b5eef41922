/** What the store's tests share: a clock to set, directories that vanish, and spans to store. */

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import type { Clock } from "../model/clock.ts";
import type { ThalwegError } from "../model/errors.ts";
import type { Resource, Scope, SpanBatch } from "../model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder, type SpanToAppend } from "../model/span-batch-builder.ts";
import type { SqlValue } from "./reader.ts";
import { openStore, type Store } from "./store.ts";

/** A day of UTC. */
export const DAY_MS = 86_400_000;
/** Where `FakeClock` starts. */
export const NOON_MS = Date.parse("2026-11-26T12:00:00Z");
export const NOON_NS = BigInt(NOON_MS) * 1_000_000n;
/** Limits that no test reaches by accident. */
export const WIDE_LIMITS = { rowsMax: 1_000_000, bytesMax: 256 * 2 ** 20, timeoutMs: 30_000 };

/** Wall time stands where a test puts it; monotonic time runs. */
export class FakeClock implements Clock {
  ms = NOON_MS;

  nowMs(): number {
    return this.ms;
  }

  nowUnixNano(): bigint {
    return BigInt(this.ms) * 1_000_000n;
  }

  monotonicMs(): number {
    return performance.now();
  }
}

/** Stores to close before a test's directory goes. */
const openStores = new WeakMap<TestContext, Store[]>();

/**
 * A directory that is removed when the test ends, after the stores in it are closed.
 *
 * @param beforeRemoval What must happen in between.
 */
export async function temporaryDirectory(
  t: TestContext,
  beforeRemoval: () => Promise<unknown> = async () => undefined,
): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), "thalweg-store-"));
  openStores.set(t, openStores.get(t) ?? []);
  t.after(async () => {
    for (const store of openStores.get(t) ?? []) await store.close();
    await beforeRemoval();
    await rm(directory, { recursive: true, force: true });
  });
  return directory;
}

/** A store in a directory of `temporaryDirectory`, closed when the test ends. */
export async function openIn(
  t: TestContext,
  directory: string,
  clock: Clock = new FakeClock(),
  onDamage: (damage: ThalwegError) => void = (damage) => {
    throw damage;
  },
): Promise<Store> {
  const store = await openStore({
    directory,
    clock,
    retentionMs: 15 * DAY_MS,
    memoryLimitBytes: 512 * 2 ** 20,
    onDamage,
  });
  openStores.get(t)?.push(store);
  return store;
}

/** A service whose spans are stored. */
export const SHOP: Resource = {
  service: "shop",
  instance: "shop-1",
  attributes: [
    { key: "host.cpus", kind: "i", value: "2" },
    { key: "service.instance.id", kind: "s", value: "shop-1" },
    { key: "service.name", kind: "s", value: "shop" },
    { key: "telemetry.sdk.language", kind: "s", value: "nodejs" },
  ],
};

/** A batch of server spans of `resource`, 5 ms long, with what the test says of each. */
export function batchOf(
  spans: readonly Partial<SpanToAppend>[],
  resource: Resource = SHOP,
  scope: Scope = { name: "scope", version: "1.0" },
): SpanBatch {
  const builder = new SpanBatchBuilder();
  for (const span of spans) {
    builder.append({
      ...EMPTY_SPAN,
      name: "GET /",
      kind: 2,
      traceIdHigh: 1n,
      traceIdLow: 2n,
      spanId: 3n,
      startNs: NOON_NS,
      endNs: NOON_NS + 5_000_000n,
      ...span,
      resource: builder.addResource(resource),
      scope: builder.addScope(scope),
    });
  }
  return builder.seal();
}

/** Rows of a statement that is known to be allowed. */
export async function rowsOf(
  store: Store,
  text: string,
  params: readonly (string | number | boolean | null)[] = [],
): Promise<readonly (readonly SqlValue[])[]> {
  return (await store.reader.sql({ text, params }, WIDE_LIMITS)).rows;
}
