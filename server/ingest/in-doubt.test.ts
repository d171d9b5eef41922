import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { batchOf } from "../derive/test-spans.ts";
import { systemClock } from "../platform/system-clock.ts";
import { openStore, type Store } from "../store/store.ts";
import type { StoreWriter } from "../store/writer.ts";
import { createLog } from "../telemetry/log.ts";
import { Telemetry } from "../telemetry/telemetry.ts";
import { decodeLogsJson } from "../wire/otlp-logs-json.ts";
import { acceptLogs } from "./accept-logs.ts";
import { openIngest } from "./ingest.ts";
import { LogCommits } from "./logs-in-doubt.ts";

const log = createLog({ level: "error", terminal: false, write: () => undefined, monotonicMs: () => 0 });
const OTLP = { signal: "traces", transport: "http" } as const;

/** A store whose commits are stored and told only when `show` is called, as those are that a failed fsync left open. */
async function openSlow(t: TestContext) {
  const directory = await mkdtemp(join(tmpdir(), "thalweg-doubt-"));
  const store = await openStore({
    directory,
    clock: systemClock(),
    retentionMs: 86_400_000,
    memoryLimitBytes: 2 ** 28,
  });
  t.after(async () => {
    await store.close();
    await rm(directory, { recursive: true, force: true });
  });
  const shown = Promise.withResolvers<void>();
  const listeners: ((state: "broken" | "open") => void)[] = [];
  const later = async <T>(commit: Promise<T>): Promise<T> => {
    await shown.promise;
    return commit;
  };
  const writer: StoreWriter = {
    ...store.writer,
    commitSpans: (batch) => later(store.writer.commitSpans(batch)),
    commitLogs: (batch) => later(store.writer.commitLogs(batch)),
    onReopening: (listener) => listeners.push(listener),
  };
  const tell = (state: "broken" | "open") => {
    for (const listener of listeners) listener(state);
  };
  return { store, writer, tell, show: () => shown.resolve() };
}

async function countOf(store: Store, table: string): Promise<string> {
  const limits = { rowsMax: 10, bytesMax: 2 ** 20, timeoutMs: 10_000 };
  const { rows } = await store.reader.sql({ text: `SELECT count(*) FROM ${table}`, params: [] }, limits);
  return String(rows[0]?.[0]);
}

test("spans whose commit is in doubt are refused at once, and known when they come again", async (t) => {
  const { store, writer, tell, show } = await openSlow(t);
  const telemetry = new Telemetry();
  const ingest = await openIngest({ writer, clock: systemClock(), telemetry, log });
  const spans = batchOf([{ service: "a", kind: 2, spanId: 1n }]);
  const refused = assert.rejects(ingest.acceptSpans(spans, OTLP), { code: "store_unavailable" });
  tell("broken");
  await refused;
  await assert.rejects(ingest.acceptSpans(spans, OTLP), { code: "store_unavailable" }, "so is a repeat of them");
  show();
  tell("open");
  assert.equal((await ingest.acceptSpans(spans, OTLP)).stored, 0, "they are acknowledged, and stored already");
  assert.equal(await countOf(store, "spans"), "1");
  const rejected = (reason: string) => telemetry.value("thalweg_ingest_rejected_total", { signal: "traces", reason });
  assert.equal(rejected("store_unavailable"), 1);
  assert.equal(rejected("repeated"), 1);
  assert.equal(telemetry.value("thalweg_ingest_stored_total", { signal: "traces" }), 1);
  await ingest.close();
});

test("log records whose commit is in doubt are refused at once, and stored once however often they come", async (t) => {
  const { store, writer, tell, show } = await openSlow(t);
  const telemetry = new Telemetry();
  const commits = new LogCommits(writer);
  const accept = (text: string) => {
    const logRecords = [{ timeUnixNano: "1700000000000000001", body: { stringValue: text } }];
    const decoded = decodeLogsJson(Buffer.from(JSON.stringify({ resourceLogs: [{ scopeLogs: [{ logRecords }] }] })));
    assert.ok(decoded.kind === "decoded");
    const { batch, rejected } = decoded;
    return acceptLogs({ writer: commits, telemetry }, { batch, rejected, mended: new Map(), transport: "http" });
  };
  const first = accept("one");
  tell("broken");
  assert.equal((await first).kind, "refused");
  assert.equal((await accept("one")).kind, "refused");
  show();
  tell("open");
  await new Promise((resolve) => setTimeout(resolve, 200));
  assert.equal((await accept("two")).kind, "stored");
  assert.equal((await accept("one")).kind, "stored");
  assert.equal(await countOf(store, "logs"), "2");
  assert.equal((await accept("one")).kind, "stored");
  assert.equal(await countOf(store, "logs"), "3", "the same text sent once more is another record");
});
