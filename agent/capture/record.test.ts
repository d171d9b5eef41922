import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { Owner, ProcessSeen } from "../../server/model/capture-event.ts";
import type { CaptureEvent } from "./capture-record.ts";
import { recordTo } from "./record.ts";
import { replayRung } from "./replay-rung.ts";
import { createTwcap, openTwcap } from "./twcap.ts";

const directory = mkdtempSync(join(tmpdir(), "thalweg-record-"));
after(() => rmSync(directory, { recursive: true }));

const owner = (pid: number): Owner => ({ pid, ownerBy: "fd", fallbackName: "" });

function seen(pid: number): ProcessSeen {
  return {
    pid,
    startNs: 1e9,
    comm: `p${pid}`,
    exe: "",
    cmdline: [],
    cwd: "",
    otelServiceName: "",
    otelResourceAttributes: "",
    unit: "",
    containerId: "",
    language: "",
  };
}

function opened(socket: number, local: number | undefined, remote: number | undefined): CaptureEvent {
  return {
    kind: "opened",
    event: {
      socket,
      sight: "both",
      role: "client",
      local: { addr: "127.0.0.1", port: 40_000 + socket },
      remote: { addr: "127.0.0.1", port: 80 },
      netns: 0,
      joinedLate: false,
      timeNs: 5e9,
      localOwner: local === undefined ? undefined : owner(local),
      remoteOwner: remote === undefined ? undefined : owner(remote),
    },
  };
}

function slice(socket: number, text: string): CaptureEvent {
  const bytes = Buffer.from(text);
  return { kind: "slice", event: { socket, direction: 0, timeNs: 5e9, seq: 1, total: 9, bytes, tid: 0, pid: 0 } };
}

const closed = (socket: number): CaptureEvent => ({ kind: "closed", socket, timeNs: 5e9, reset: false });

/** Three connections: 1 from process 7 to 8, 2 from 9 to 8, 3 of 7 but known only later. */
const EVENTS: readonly CaptureEvent[] = [
  ...[7, 8, 9].map((pid): CaptureEvent => ({ kind: "process", event: seen(pid) })),
  opened(1, 7, 8),
  opened(2, 9, 8),
  opened(3, undefined, undefined),
  slice(1, "one"),
  slice(2, "two"),
  slice(3, "three"),
  { kind: "owner", socket: 3, end: "local", owner: owner(7) },
  slice(3, "four"),
  closed(1),
  closed(2),
  closed(3),
  { kind: "processExited", pid: 9, timeNs: 5e9 },
  { kind: "processExited", pid: 7, timeNs: 5e9 },
];

/** Records what a replay of `EVENTS` gives. */
async function recordReplay(name: string, pids: readonly number[]): Promise<CaptureEvent[]> {
  const source = join(directory, "source.twcap");
  const writer = createTwcap(source, {
    rung: "packet",
    bootToUnixNano: 0n,
    compression: "none",
    fileBytesMax: 1 << 20,
  });
  for (const event of EVENTS) writer.write(event);
  writer.close();
  const path = join(directory, name);
  const ended = Promise.withResolvers<void>();
  const start = replayRung(source, { speed: 1, loop: false, ended: () => ended.resolve() });
  const recording = await recordTo(path, start, { pids, fileBytesMax: 1 << 20 });
  await ended.promise;
  await recording.stop();
  assert.equal(statSync(path).mode & 0o777, 0o600);
  const reader = openTwcap(path);
  assert.equal(reader.header.rung, "replay");
  const events = [...(reader.nextBlock() ?? [])];
  assert.equal(events.length, recording.written.events);
  reader.close();
  return events;
}

const describe = (events: readonly CaptureEvent[]) =>
  events.map((event) => {
    switch (event.kind) {
      case "process":
        return `process ${event.event.pid}`;
      case "opened":
        return `opened ${event.event.socket}`;
      case "slice":
        return `slice ${event.event.socket} ${Buffer.from(event.event.bytes).toString()}`;
      case "processExited":
        return `exited ${event.pid}`;
      default:
        return `${event.kind} ${event.socket}`;
    }
  });

test("a recording holds everything a rung gives", async () => {
  assert.deepEqual(describe(await recordReplay("all", [])), describe(EVENTS));
});

test("--pid keeps the connections of a process, both its ends, and what becomes known late", async () => {
  assert.deepEqual(describe(await recordReplay("some", [7])), [
    "process 7",
    "process 8",
    "opened 1",
    "slice 1 one",
    "opened 3",
    "owner 3",
    "slice 3 four",
    "closed 1",
    "closed 3",
    "exited 7",
  ]);
});

test("where the file cannot be made the rung is stopped and the error told", async () => {
  const missing = join(directory, "missing", "file");
  const start = replayRung(join(directory, "source.twcap"), { speed: 1, loop: true });
  await assert.rejects(recordTo(missing, start, { pids: [], fileBytesMax: 1 }), { code: "ENOENT" });
});
