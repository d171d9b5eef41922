import assert from "node:assert/strict";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { CaptureSink, ProcessSeen, SocketOpened, SocketSlice } from "../../server/model/capture-event.ts";
import { readCaptureFile } from "./capture-file.ts";
import type { CaptureEvent } from "./capture-record.ts";
import { Collector, randomOf } from "./packets.testkit.ts";
import { replayHeader, replayRung } from "./replay-rung.ts";
import { RungRefused } from "./rung.ts";
import { createTwcap, giveEvent, openTwcap, recordingSink, type TwcapOptions } from "./twcap.ts";

const directory = mkdtempSync(join(tmpdir(), "thalweg-twcap-"));
after(() => rmSync(directory, { recursive: true }));

const OPTIONS: TwcapOptions = {
  rung: "socket",
  bootToUnixNano: 1_700_000_000_000_000_001n,
  compression: "deflate",
  fileBytesMax: 1 << 30,
};

function openedEvent(socket: number, timeNs: number): SocketOpened {
  return {
    socket,
    sight: "end",
    role: "client",
    local: { addr: "127.0.0.1", port: 40_000 },
    remote: { addr: "::1", port: 80 },
    netns: 4_026_531_840,
    joinedLate: false,
    timeNs,
    localOwner: { pid: 7, ownerBy: "hook", fallbackName: "" },
    remoteOwner: undefined,
  };
}

function sliceEvent(socket: number, timeNs: number, text: string): SocketSlice {
  const bytes = Buffer.from(text);
  const seq = (0xfffffffe + Math.round((timeNs - 10e9) / 1e6)) >>> 0;
  return { socket, direction: 1, timeNs, seq, total: bytes.length + 5, bytes, tid: 12, pid: 4_194_304 };
}

const PROCESS: ProcessSeen = {
  pid: 7,
  startNs: 5e9,
  comm: "node",
  exe: "/usr/bin/node",
  cmdline: ["node", "shöp.js"],
  cwd: "/srv",
  otelServiceName: "shop",
  otelResourceAttributes: "",
  unit: "",
  containerId: "",
  language: "node",
};

/** A small recording: one process, one connection of three slices within 40 ms. */
const EVENTS: readonly CaptureEvent[] = [
  { kind: "process", event: PROCESS },
  { kind: "opened", event: openedEvent(3, 10e9) },
  { kind: "slice", event: sliceEvent(3, 10e9, "ask") },
  { kind: "owner", socket: 3, end: "remote", owner: { pid: 0, ownerBy: "port", fallbackName: "unknown:80" } },
  { kind: "slice", event: sliceEvent(3, 10.02e9, "") },
  { kind: "slice", event: sliceEvent(3, 10.04e9, "\0\xff answer") },
  { kind: "closed", socket: 3, timeNs: 10.04e9, reset: true },
  { kind: "processExited", pid: 7, timeNs: 10.04e9 },
];

function record(name: string, events: readonly CaptureEvent[] = EVENTS, options: Partial<TwcapOptions> = {}): string {
  const path = join(directory, name);
  const writer = createTwcap(path, { ...OPTIONS, ...options });
  for (const event of events) writer.write(event);
  writer.close();
  return path;
}

function readAll(path: string): { events: CaptureEvent[]; lost: Readonly<Record<string, number>> } {
  const reader = openTwcap(path);
  const events: CaptureEvent[] = [];
  for (let block = reader.nextBlock(); block !== undefined; block = reader.nextBlock()) events.push(...block);
  reader.close();
  return { events, lost: reader.lost };
}

/** Without what JSON does not keep: the class of the bytes, and fields that are undefined. */
const plain = (events: readonly CaptureEvent[]): unknown[] =>
  JSON.parse(JSON.stringify(events, (_key, value) => (value?.type === "Buffer" ? value.data : value)));

/** A sink that keeps the calls as events, slices copied. */
function listener(): { sink: CaptureSink; events: CaptureEvent[] } {
  const events: CaptureEvent[] = [];
  const sink = recordingSink(new Collector(), {
    write(event) {
      if (event.kind !== "slice") events.push(event);
      else events.push({ kind: "slice", event: { ...event.event, bytes: Buffer.from(event.event.bytes) } });
    },
  });
  return { sink, events };
}

test("what is recorded is read again, compressed or not", () => {
  for (const compression of ["none", "deflate"] as const) {
    const { events, lost } = readAll(record("round-trip", EVENTS, { compression }));
    assert.deepEqual(plain(events), plain(EVENTS));
    assert.deepEqual(lost, { block_cut: 0, block_damaged: 0, record_malformed: 0 });
  }
  const { header } = openTwcap(join(directory, "round-trip"));
  assert.equal(header.rung, "socket");
  assert.equal(header.bootToUnixNano, "1700000000000000001");
  assert.ok(Math.abs(Date.parse(header.recordedAt) - Date.now()) < 60_000);
});

test("a wrapped sink records and passes on", () => {
  const path = join(directory, "wrapped");
  const writer = createTwcap(path, OPTIONS);
  const inner = listener();
  const sink = recordingSink(inner.sink, writer);
  for (const event of EVENTS) giveEvent(sink, event);
  writer.close();
  assert.deepEqual(plain(inner.events), plain(EVENTS));
  assert.deepEqual(plain(readAll(path).events), plain(EVENTS));
  assert.equal(writer.state.events, EVENTS.length);
  assert.equal(writer.state.fileBytes, statSync(path).size);
});

test("only its owner may read a recording, whatever the umask and whatever was there", () => {
  const umask = process.umask(0);
  try {
    const path = join(directory, "mode");
    writeFileSync(path, "earlier", { mode: 0o666 });
    const earlier = openSync(path, "r");
    record("mode");
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.equal(readFileSync(earlier, "utf8"), "earlier", "whoever has the earlier file open sees no recording");
    closeSync(earlier);
    symlinkSync(path, join(directory, "link"));
    assert.throws(() => record("link"), /no regular file/);
    assert.throws(() => createTwcap("/dev/null", OPTIONS), /no regular file/);
  } finally {
    process.umask(umask);
  }
});

test("a bound of the size is kept, and what is left out is counted", () => {
  const events = Array.from({ length: 4000 }, (_, index): CaptureEvent => {
    return { kind: "slice", event: sliceEvent(1, index, String(index).padStart(1000, "x")) };
  });
  const path = join(directory, "bound");
  const writer = createTwcap(path, { ...OPTIONS, compression: "none", fileBytesMax: 1_000_000 });
  for (const event of events) writer.write(event);
  writer.close();
  assert.ok(statSync(path).size <= 1_000_000);
  const read = readAll(path);
  assert.equal(read.events.length, writer.state.events);
  assert.equal(writer.state.events + writer.state.lost.file_bytes_max, events.length);
  assert.ok(writer.state.events > 0 && writer.state.lost.file_bytes_max > 0);
});

test("a full disk is counted, not thrown", () => {
  const writer = createTwcap(join(directory, "closed"), OPTIONS);
  writer.close();
  for (const event of EVENTS) writer.write(event);
  assert.equal(writer.state.lost.write_failed, EVENTS.length);
});

test("property: cut at any byte, a recording is good up to its last whole block", () => {
  const path = join(directory, "cut");
  const writer = createTwcap(path, OPTIONS);
  for (const event of EVENTS) {
    writer.write(event);
    writer.flush();
  }
  writer.close();
  const whole = readFileSync(path);
  let longest = 0;
  for (let length = 0; length < whole.length; length++) {
    writeFileSync(path, whole.subarray(0, length));
    try {
      const { events, lost } = readAll(path);
      assert.ok(events.length >= longest);
      longest = events.length;
      assert.deepEqual(plain(events), plain(EVENTS.slice(0, events.length)));
      assert.ok(lost["block_cut"] === 1 || length === whole.length || isBlockEnd(whole, length));
    } catch (error) {
      assert.match(String(error), /no twcap recording|header is cut off/);
    }
  }
  assert.equal(longest, EVENTS.length - 1);
});

function isBlockEnd(whole: Buffer, length: number): boolean {
  let at = 12 + whole.readUInt32LE(8);
  while (at < length) at += 8 + whole.readUInt32LE(at);
  return at === length;
}

test("property: flipped bytes are counted or refused by name, never thrown as something else", () => {
  const path = record("flipped");
  const whole = readFileSync(path);
  const random = randomOf(11);
  for (let round = 0; round < 500; round++) {
    const bytes = Buffer.from(whole);
    bytes[Math.floor(random() * bytes.length)] = Math.floor(random() * 256);
    writeFileSync(path, bytes);
    try {
      readAll(path);
    } catch (error) {
      assert.match(String(error), /twcap recording|is damaged/);
    }
  }
});

test("records with fields of the wrong kind are left out and counted", () => {
  const odd = { kind: "closed", socket: "3", timeNs: 1, reset: false } as unknown as CaptureEvent;
  const { events, lost } = readAll(record("odd", [odd, ...EVENTS]));
  assert.equal(events.length, EVENTS.length);
  assert.equal(lost["record_malformed"], 1);
});

test("dissect reads a recording as fast as it can, with its own times", () => {
  const collector = new Collector();
  const got = readCaptureFile(record("dissect"), collector, { perspective: undefined });
  assert.equal(got.packets, EVENTS.length);
  assert.equal(got.bootToUnixNano, OPTIONS.bootToUnixNano);
  assert.deepEqual(collector.list()[0]?.timesNs, [10e9, 10.02e9, 10.04e9]);
});

test("a replay plays in its own time, moved to now", async () => {
  const { sink, events } = listener();
  const ended = Promise.withResolvers<void>();
  const path = record("replay");
  const startMs = performance.now();
  const rung = replayRung(path, { speed: 1, loop: false, ended: () => ended.resolve() })(sink);
  assert.equal(events.length, 0, "nothing comes before the start has returned");
  await ended.promise;
  const tookMs = performance.now() - startMs;
  const { bootToUnixNano } = rung.clockOffset();
  await rung.stop();
  assert.ok(tookMs >= 39, `40 ms of recording took ${tookMs} ms`);
  assert.deepEqual(
    events.map(({ kind }) => kind),
    EVENTS.map(({ kind }) => kind),
  );
  const times = events.flatMap((event) => (event.kind === "slice" ? [event.event.timeNs] : []));
  assert.deepEqual(
    times.map((timeNs) => Math.round((timeNs - (times[0] ?? 0)) / 1e6)),
    [0, 20, 40],
  );
  const unixMs = Number((BigInt(Math.round(times[0] ?? 0)) + bootToUnixNano) / 1_000_000n);
  assert.ok(Math.abs(unixMs - (Date.now() - tookMs)) < 1000, "the first event is now");
  const { seen, delivered, lost } = rung.counters();
  assert.deepEqual([seen, delivered], [EVENTS.length, EVENTS.length]);
  assert.deepEqual(lost, { block_cut: 0, block_damaged: 0, record_malformed: 0 });
});

test("a replay in a loop never uses a socket number twice and keeps its processes", async () => {
  const { sink, events } = listener();
  // Without its end: the pass must close what is open.
  const path = record("loop", EVENTS.slice(0, 6));
  const rung = replayRung(path, { speed: 20, loop: true })(sink);
  const isTwice = () => events.filter(({ kind }) => kind === "closed").length >= 2;
  for (let waited = 0; !isTwice() && waited < 5000; waited += 20) await new Promise((wake) => setTimeout(wake, 20));
  await rung.stop();
  const sockets = events.flatMap((event) => (event.kind === "opened" ? [event.event.socket] : []));
  assert.deepEqual(sockets.slice(0, 2), [3, 6]);
  const starts = events.flatMap((event) => (event.kind === "process" ? [event.event.startNs] : []));
  assert.equal(starts[0], starts[1]);
  const closed = events.flatMap((event) => (event.kind === "closed" ? [event.socket] : []));
  assert.deepEqual(closed.slice(0, 2), [3, 6]);
});

test("what is no recording is refused with a way out", () => {
  const path = join(directory, "none");
  writeFileSync(path, "hello");
  const refused = (file: string) => {
    assert.throws(
      () => replayHeader(file),
      (error) => error instanceof RungRefused && error.why.includes(file) && error.fix !== "",
    );
  };
  refused(path);
  refused(join(directory, "missing"));
});
