import assert from "node:assert/strict";
import { cp, mkdir } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { SpanToAppend } from "../model/span-batch-builder.ts";
import { openStore, type Store } from "./store.ts";
import { batchOf, DAY_MS, FakeClock, openIn, rowsOf, SHOP, temporaryDirectory } from "./store-fixture.ts";

const FIRST_BOOT = "0af76519-16cd-43dd-8448-eb211c80319c";
const SECOND_BOOT = "1bf76519-16cd-43dd-8448-eb211c80319c";
const ROWS = "SELECT * EXCLUDE (ingest_ns) FROM spans ORDER BY span_key";
const TRACE = "00000000000000010000000000000002";

/** Names of the columns that the file of a day has, in the order of the alphabet. */
async function columnsOf(store: Store, alias: string): Promise<string[]> {
  const rows = await rowsOf(
    store,
    `SELECT column_name FROM duckdb_columns() WHERE database_name = '${alias}' AND table_name = 'span' ORDER BY 1`,
  );
  return rows.map(([name]) => String(name));
}

/** A store on a machine that was started as `bootId`. The caller closes it. */
function openAs(directory: string, bootId: string, clock = new FakeClock()): Promise<Store> {
  return openStore({
    directory,
    clock,
    retentionMs: 15 * DAY_MS,
    memoryLimitBytes: 512 * 2 ** 20,
    onDamage: (damage) => {
      throw damage;
    },
    identity: { hostId: 77n, bootId },
  });
}

const PLAIN: Partial<SpanToAppend> = { source: 2, attributes: [{ key: "url.path", kind: "s", value: "/" }] };
/** Has a value in every column that `PLAIN` has none in, and another one where that has one. */
const RICH: Partial<SpanToAppend> = {
  source: 0,
  statusMessage: "it failed",
  linkReason: "one-sight",
  protocol: "http1",
  clientAddr: "10.0.0.1",
  clientPort: 40_000,
  serverAddr: "10.0.0.2",
  serverPort: 80,
  pid: 4_000_000_000,
  weight: 3,
  duplicateOf: 0xffff_ffff_ffff_fff0n,
  flags: 1,
  traceState: "a=1",
  events: Uint8Array.of(1, 2),
  links: Uint8Array.of(3),
  attributes: [
    { key: "http.response.status_code", kind: "i", value: "500" },
    { key: "db.query.text", kind: "s", value: "SELECT 1" },
    { key: "again", kind: "s", value: "1" },
    { key: "again", kind: "s", value: "2" },
  ],
};

async function assertRich(store: Store, present: number): Promise<void> {
  const rows = await rowsOf(
    store,
    `SELECT source, status_message, link_reason, protocol, client_addr, client_port, server_addr, server_port, pid, weight,
       duplicate_of, flags, trace_state, attr_url_path, attr_http_response_status_code, attributes['db.query.text'],
       tenant, host_id, scope_rest FROM spans ORDER BY span_key`,
  );
  const plain = ["otlp", ...Array(8).fill(null), 1, null, 0, null, "/", null, null, "default", "77", null];
  const rich = ["ebpf", "it failed", "one-sight", "http1", "10.0.0.1", 40_000, "10.0.0.2", 80, 4_000_000_000, 3];
  const rest = ["fffffffffffffff0", 1, "a=1", null, 500, "SELECT 1", "default", "77", "{}"];
  assert.deepEqual(
    rows,
    Array.from({ length: present }, (_, at) => (at === 2 ? [...rich, ...rest] : plain)),
  );
  const spans = await store.reader.trace(TRACE, 1000);
  const [span] = spans.filter(({ spanId }) => spanId === "0000000000000003");
  assert.deepEqual(
    [span?.events, span?.links, span?.statusMessage, span?.source, span?.flags, span?.scopeRest],
    [Uint8Array.of(1, 2), Uint8Array.of(3), "it failed", "ebpf", 1, "{}"],
  );
  assert.equal(span?.attributes.length, 4);
}

test("a file has a column from the commit on that needs it, and the rows before keep what they had", async (t) => {
  const directory = await temporaryDirectory(t);
  const clock = new FakeClock();
  const store = await openAs(directory, FIRST_BOOT, clock);
  await store.writer.commitSpans(
    batchOf([
      { ...PLAIN, spanId: 1n },
      { ...PLAIN, spanId: 2n },
    ]),
  );
  const few = await columnsOf(store, "d20261126");
  for (const name of ["tenant", "boot_id", "source", "weight", "events", "pid", "attr_db_query_text"]) {
    assert.ok(!few.includes(name), name);
  }
  assert.ok(few.includes("attr_url_path"));
  const scope = { name: "scope", version: "1.0", rest: "{}" };
  await store.writer.commitSpans(batchOf([{ ...RICH, spanId: 3n }], SHOP, scope));
  await store.writer.commitSpans(batchOf([{ ...PLAIN, spanId: 4n }]));
  const many = await columnsOf(store, "d20261126");
  for (const name of ["source", "weight", "events", "pid", "attr_db_query_text"]) assert.ok(many.includes(name), name);
  assert.ok(!many.includes("tenant") && !many.includes("attr_rpc_method"));
  await assertRich(store, 4);
  const rows = await rowsOf(store, ROWS);
  // What a kill leaves: the added columns stand in the WAL.
  const killed = await temporaryDirectory(t);
  await mkdir(join(killed, "db"), { mode: 0o700 });
  await cp(join(directory, "db"), join(killed, "db"), { recursive: true });
  await store.close();
  for (const from of [killed, directory]) {
    const again = await openAs(from, FIRST_BOOT, clock);
    assert.deepEqual(await rowsOf(again, ROWS), rows);
    assert.deepEqual(await columnsOf(again, "d20261126"), many);
    await again.writer.commitSpans(batchOf([{ ...PLAIN, spanId: 5n }]));
    await assertRich(again, 5);
    await again.close();
  }
  clock.ms += DAY_MS;
  const later = await openAs(directory, FIRST_BOOT, clock);
  assert.equal(await later.compactNext(), "2026-11-26");
  await assertRich(later, 5);
  assert.deepEqual(await columnsOf(later, "d20261126c"), many);
  await later.writer.commitSpans(batchOf([{ ...PLAIN, spanId: 6n }]));
  assert.deepEqual(await columnsOf(later, "d20261127"), few);
  await assertRich(later, 6);
  await later.close();
});

test("spans of two boots of a machine in one day keep each its own", async (t) => {
  const directory = await temporaryDirectory(t);
  for (const [at, boot] of [FIRST_BOOT, FIRST_BOOT, SECOND_BOOT, FIRST_BOOT].entries()) {
    const store = await openAs(directory, boot);
    await store.writer.commitSpans(batchOf([{ ...PLAIN, spanId: BigInt(at + 1) }]));
    assert.equal((await columnsOf(store, "d20261126")).includes("boot_id"), at > 1);
    await store.close();
  }
  const store = await openAs(directory, SECOND_BOOT);
  const boots = await rowsOf(store, "SELECT CAST(boot_id AS VARCHAR), host_id FROM spans ORDER BY span_key");
  assert.deepEqual(
    boots.map(([boot]) => boot),
    [FIRST_BOOT, FIRST_BOOT, SECOND_BOOT, FIRST_BOOT],
  );
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans WHERE host_id = 77 AND source = 'otlp'"), [["4"]]);
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans WHERE source = 'ebpf'"), [["0"]]);
  await store.close();
});

test("batches that need columns while others are stored are stored with them", async (t) => {
  const store = await openIn(t, await temporaryDirectory(t));
  const rows = 3_000;
  const batches = Array.from({ length: 24 }, (_, batch) => {
    const own = batch < 12 ? PLAIN : batch % 3 === 0 ? RICH : { ...PLAIN, traceState: `at ${batch}`, pid: batch };
    return batchOf(Array.from({ length: rows }, (_, row) => ({ ...own, spanId: BigInt(batch * rows + row + 1) })));
  });
  const receipts = await Promise.all(batches.map((batch) => store.writer.commitSpans(batch)));
  assert.deepEqual(
    receipts.map(({ sequence }) => sequence),
    batches.map((_, at) => at + 1),
  );
  assert.deepEqual(
    await rowsOf(
      store,
      `SELECT commit_sequence, count(*), count(DISTINCT span_id), any_value(trace_state), any_value(pid), min(source)
       FROM spans GROUP BY 1 ORDER BY 1`,
    ),
    batches.map((_, at) => {
      const rich = at >= 12 && at % 3 === 0;
      const state = at < 12 ? null : rich ? "a=1" : `at ${at}`;
      const pid = at < 12 ? null : rich ? 4_000_000_000 : at;
      return [String(at + 1), String(rows), String(rows), state, pid, rich ? "ebpf" : "otlp"];
    }),
  );
});
