import assert from "node:assert/strict";
import { test } from "node:test";
import type { SpanBatch } from "../model/span-batch.ts";
import { batchOf, DAY_MS, FakeClock, openIn, rowsOf, SHOP, temporaryDirectory } from "./store-fixture.ts";

const KEYS = [
  { key: "http.request.method", kind: "s", value: "GET" },
  { key: "n", kind: "i", value: "1" },
  { key: "n", kind: "d", value: "2" },
] as const;

test("no snapshot at first, then always the last one, also over days and a restart", async (t) => {
  const directory = await temporaryDirectory(t);
  const clock = new FakeClock();
  const store = await openIn(t, directory, clock);
  assert.equal(await store.writer.loadDerived(), undefined);
  await store.writer.saveDerived({ sequence: 1, state: Uint8Array.of(1) }, { edges: [], aliases: [] });
  const large = new Uint8Array(300_000).fill(7);
  await store.writer.saveDerived({ sequence: 5, state: large }, { edges: [], aliases: [] });
  assert.deepEqual(await store.writer.loadDerived(), { sequence: 5, state: large });
  clock.ms += DAY_MS;
  await store.writer.saveDerived({ sequence: 9, state: Uint8Array.of(9) }, { edges: [], aliases: [] });
  await store.close();
  const again = await openIn(t, directory, clock);
  assert.deepEqual(await again.writer.loadDerived(), { sequence: 9, state: Uint8Array.of(9) });
});

test("snapshots are saved while commits go on, each with its rows, and both are there after a restart", async (t) => {
  const directory = await temporaryDirectory(t);
  const store = await openIn(t, directory);
  const saves = 12;
  const edge = {
    client: "a",
    server: "b",
    connectionType: "" as const,
    errors: 0,
    serverBuckets: [],
    clientBuckets: [],
  };
  const save = async () => {
    for (let sequence = 1; sequence <= saves; sequence++) {
      const state = new Uint8Array(500_000).fill(sequence);
      const edges = [{ ...edge, bucketMs: sequence * 60_000, requests: 2 ** sequence }];
      await store.writer.saveDerived({ sequence, state }, { edges, aliases: [] });
    }
  };
  let isSaving = true;
  let commits = 0;
  const commit = async () => {
    while (isSaving) {
      await store.writer.commitSpans(batchOf(Array.from({ length: 5_000 }, () => ({}))));
      commits++;
    }
  };
  await Promise.all([save().finally(() => (isSaving = false)), commit(), commit()]);
  await store.close();
  const again = await openIn(t, directory);
  assert.deepEqual(await again.writer.loadDerived(), {
    sequence: saves,
    state: new Uint8Array(500_000).fill(saves),
  });
  const counts = await rowsOf(
    again,
    "SELECT (SELECT sum(requests) FROM edges)::VARCHAR, (SELECT count(*) FROM spans)::VARCHAR",
  );
  assert.deepEqual(counts, [[String(2 ** (saves + 1) - 2), String(commits * 5_000)]]);
});

test("replay gives every later commit once, in order and whole", async (t) => {
  const clock = new FakeClock();
  const store = await openIn(t, await temporaryDirectory(t), clock);
  const other = { ...SHOP, instance: "shop-2" };
  const batches: SpanBatch[] = [];
  for (let commit = 1; commit <= 6; commit++) {
    // The clock steps to the next day and back: commits alternate between two files.
    clock.ms += commit % 2 === 0 ? DAY_MS : -DAY_MS;
    const batch = batchOf(
      Array.from({ length: commit }, (_, row) => ({
        traceIdHigh: 2n ** 64n - 1n,
        spanId: BigInt(commit * 100 + row),
        name: `commit ${commit}`,
        statusMessage: "why",
        source: 5,
        linkReason: "thread",
        protocol: "http1",
        clientAddr: "10.0.0.1",
        clientPort: 1,
        serverAddr: "10.0.0.2",
        serverPort: 65_535,
        pid: 7,
        weight: 3,
        duplicateOf: 8n,
        flags: 1,
        traceState: "x=y",
        attributes: KEYS,
        events: Uint8Array.of(row),
        links: new Uint8Array(100).fill(row),
      })),
      commit % 3 === 0 ? other : SHOP,
    );
    batches.push(batch);
    assert.equal((await store.writer.commitSpans(batch)).sequence, commit);
  }
  const replayed: [number, SpanBatch][] = [];
  await store.writer.replaySpans(2, (batch, sequence) => replayed.push([sequence, batch]));
  assert.deepEqual(
    replayed.map(([sequence]) => sequence),
    [3, 4, 5, 6],
  );
  for (const [sequence, batch] of replayed) assert.deepEqual(batch, batches[sequence - 1], `commit ${sequence}`);
  await store.writer.replaySpans(6, () => assert.fail("nothing is later than the last commit"));
});

test("commits resolve in the order of their sequence, whatever their size", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const resolved: number[] = [];
  await Promise.all(
    Array.from({ length: 40 }, (_, index) =>
      store.writer
        .commitSpans(batchOf(Array.from({ length: index % 5 === 0 ? 6000 : 1 }, () => ({}))))
        .then(({ sequence }) => resolved.push(sequence)),
    ),
  );
  assert.deepEqual(
    resolved,
    Array.from({ length: 40 }, (_, index) => index + 1),
  );
});
