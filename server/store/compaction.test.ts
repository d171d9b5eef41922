import assert from "node:assert/strict";
import { copyFile, mkdir, readdir, readFile, rename, stat, writeFile } from "node:fs/promises";
import { join } from "node:path";
import test, { type TestContext } from "node:test";
import { traceIdToHex } from "../model/hex.ts";
import type { Store } from "./store.ts";
import { batchOf, DAY_MS, FakeClock, openIn, rowsOf, temporaryDirectory } from "./store-fixture.ts";

const BATCHES = 240;
const ROWS = 500;
const PLAIN = "spans-2026-11-26.duckdb";
const COMPACT = "spans-2026-11-26-compact.duckdb";

/** A store with a day of spans that is over, and a span of the next day. */
async function storeWithDay(t: TestContext): Promise<{ directory: string; store: Store; clock: FakeClock }> {
  const directory = await temporaryDirectory(t);
  const clock = new FakeClock();
  const store = await openIn(t, directory, clock);
  // Most in groups larger than a row group, as under load.
  for (let group = 0; group < BATCHES; group += 120) {
    await Promise.all(Array.from({ length: 120 }, (_, at) => store.writer.commitSpans(spansOf(group + at))));
  }
  const edge = {
    bucketMs: clock.ms,
    client: "a",
    server: "b",
    connectionType: "" as const,
    requests: 7,
    errors: 1,
    serverBuckets: [[3, 7]] as const,
    clientBuckets: [],
  };
  await store.writer.saveDerived({ sequence: 3, state: Uint8Array.of(1, 2, 3) }, { edges: [edge], aliases: [] });
  clock.ms += DAY_MS;
  await store.writer.commitSpans(batchOf([{ spanId: 1n, name: "next day" }]));
  return { directory, store, clock };
}

function spansOf(batch: number) {
  return batchOf(
    Array.from({ length: ROWS }, (_, row) => ({
      traceIdHigh: BigInt(batch * 7919),
      traceIdLow: BigInt(row >> 3),
      spanId: BigInt(batch * ROWS + row + 1),
      name: `operation ${row % 50}`,
      startNs: BigInt(1_700_000_000_000_000_000 + batch * 1_000_003 + row * 977),
      attributes: [
        { key: "http.route", kind: "s", value: `/route/${row % 7}` },
        { key: "row", kind: "i", value: String(row) },
      ],
    })),
  );
}

async function answersOf(store: Store) {
  return {
    spans: await rowsOf(store, "SELECT count(*), count(DISTINCT span_id), sum(duration_ns) FROM spans"),
    names: await rowsOf(store, "SELECT name, attr_http_route, count(*) FROM spans GROUP BY ALL ORDER BY ALL"),
    rest: await rowsOf(store, "SELECT sum(CAST(attributes_rest['row'] AS BIGINT)), min(service) FROM spans"),
    edges: await rowsOf(store, "SELECT client, server, requests FROM edges"),
    trace: await store.reader.trace(traceIdToHex(BigInt(17 * 7919), 5n), 1000),
    derived: await store.writer.loadDerived(),
  };
}

async function dayNames(directory: string): Promise<string[]> {
  return (await readdir(join(directory, "db"))).filter((name) => name.includes("2026-11-26")).sort();
}

test("a day that is over is compacted, and all answers stay the same", async (t) => {
  const { directory, store: filled, clock } = await storeWithDay(t);
  const before = await answersOf(filled);
  assert.equal(before.trace.length, 8);
  // All rows are in the file then, none in its WAL.
  await filled.close();
  const store = await openIn(t, directory, clock);
  const { size } = await stat(join(directory, "db", PLAIN));
  assert.equal(await store.compactNext(), "2026-11-26");
  assert.deepEqual(await dayNames(directory), [COMPACT]);
  const { size: compactSize } = await stat(join(directory, "db", COMPACT));
  assert.ok(compactSize <= size, `${compactSize} bytes are not more than ${size}`);
  assert.deepEqual(await answersOf(store), before);
  assert.deepEqual([store.stats().compactions, store.stats().compactionFailures], [1, 0]);
  assert.equal(await store.compactNext(), undefined, "the day of today is not compacted, a compact one neither");
  await store.close();
  const again = await openIn(t, directory, clock);
  assert.deepEqual(await answersOf(again), before);
  assert.deepEqual(await again.writer.commitSpans(batchOf([{}])), { spans: 1, sequence: BATCHES + 2 });
});

test("a day that cannot be compacted is counted, and answers as before", async (t) => {
  const { directory, store } = await storeWithDay(t);
  const before = await answersOf(store);
  // Nothing can be written under the name of the unfinished file.
  await mkdir(join(directory, "db", "unfinished-2026-11-26.duckdb", "in it"), { recursive: true });
  await assert.rejects(store.compactNext());
  const { compactions, compactionFailures } = store.stats();
  assert.deepEqual([compactions, compactionFailures], [0, 1]);
  assert.deepEqual(await answersOf(store), before);
});

test("queries go on while a file is replaced", async (t) => {
  const { store } = await storeWithDay(t);
  const compacting = store.compactNext();
  let done = false;
  void compacting.then(() => {
    done = true;
  });
  const trace = traceIdToHex(BigInt(17 * 7919), 5n);
  while (!done) {
    assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans"), [[String(BATCHES * ROWS + 1)]]);
    assert.equal((await store.reader.trace(trace, 1000)).length, 8);
  }
  assert.equal(await compacting, "2026-11-26");
});

test("a stop or a crash at any moment of a compaction loses and doubles nothing", async (t) => {
  const { directory, store, clock } = await storeWithDay(t);
  const db = join(directory, "db");
  const before = await answersOf(store);
  // A stop in the middle.
  const compacting = store.compactNext();
  await new Promise((resolve) => setTimeout(resolve, 30));
  await store.close();
  await compacting.catch(() => undefined);
  const kept = join(directory, "kept");
  const stopped = await openIn(t, directory, clock);
  assert.deepEqual(await answersOf(stopped), before);
  await stopped.close();
  assert.deepEqual(await dayNames(directory), [PLAIN]);
  // A crash between the new name and the end of the old file: both are there.
  await copyFile(join(db, PLAIN), kept);
  const compacts = await openIn(t, directory, clock);
  assert.equal(await compacts.compactNext(), "2026-11-26");
  await compacts.close();
  await rename(kept, join(db, PLAIN));
  await copyFile(join(db, PLAIN), kept);
  const both = await openIn(t, directory, clock);
  assert.deepEqual(await answersOf(both), before);
  assert.deepEqual(await dayNames(directory), [COMPACT]);
  await both.close();
  // The same, and the new file cannot be read.
  await rename(kept, join(db, PLAIN));
  const bytes = await readFile(join(db, COMPACT));
  await writeFile(join(db, COMPACT), bytes.fill(0, 0, 16_384));
  const damages: string[] = [];
  const damaged = await openIn(t, directory, clock, ({ code }) => damages.push(code));
  assert.deepEqual(damages, ["data_damaged"]);
  assert.deepEqual(await answersOf(damaged), before);
  assert.deepEqual(await dayNames(directory), [PLAIN]);
});
