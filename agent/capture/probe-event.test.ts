import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import {
  CAPTURE_MODE,
  COUNTED_BYTES,
  COUNTER_NAMES,
  EVENT_FLAG,
  EVENT_KIND,
  EVENT_LAYOUT,
  readCookie,
  readCountedCell,
  readCounters,
  readOpen,
  readTimeNs,
} from "./probe-event.ts";
import { emptyTlsCall, readTlsCall, readTlsCounters, TLS_EVENT_KIND, TLS_LAYOUT } from "./tls-event.ts";

const header = readFileSync(join(import.meta.dirname, "../../bpf/include/event.h"), "utf8");

/** The numbers that the C compiler has checked. */
function assertedNumbers(): Map<string, number> {
  const found = new Map<string, number>();
  for (const match of header.matchAll(/_Static_assert\((sizeof|offsetof)\(struct (\w+)(?:, (\w+))?\)\s*==\s*(\d+)/g)) {
    found.set(`${match[2]}.${match[3] ?? "size"}`, Number(match[4]));
  }
  return found;
}

test("event layout is the one of event.h", () => {
  const asserted = assertedNumbers();
  for (const [struct, members] of Object.entries(EVENT_LAYOUT)) {
    for (const [member, at] of Object.entries(members)) {
      assert.equal(asserted.get(`${struct}.${member}`), at, `${struct}.${member}`);
    }
  }
});

test("layout of a TLS library's calls is the one of event.h", () => {
  const asserted = assertedNumbers();
  const { size, ...members } = TLS_LAYOUT.tls_event;
  assert.equal(asserted.get("tls_event.size"), size);
  for (const [member, at] of Object.entries(members)) assert.equal(asserted.get(`tls_event.${member}`), at, member);
  assert.equal(asserted.get("tls_counters.size"), TLS_LAYOUT.tls_counters.size);
  assert.match(header, new RegExp(`EVENT_TLS = ${TLS_EVENT_KIND},`));
  for (const [index, kind] of ["READ", "WRITE", "HANDSHAKE", "FREE"].entries()) {
    assert.match(header, new RegExp(`TLS_${kind} = ${index + 1},`));
  }
});

test("readTlsCall, readTlsCounters", () => {
  const bytes = new Uint8Array(TLS_LAYOUT.tls_event.size + 2);
  const view = new DataView(bytes.buffer);
  const { event_head: head, slice_event: slice } = EVENT_LAYOUT;
  view.setBigUint64(head.cookie, 0x7f00_1234_5678n, true);
  view.setUint32(head.pid, 7, true);
  view.setUint32(slice.tid, 8, true);
  view.setUint32(slice.seq, 0xffff_fff0, true);
  view.setUint32(slice.total, 40, true);
  view.setUint32(slice.copied, 2, true);
  view.setBigUint64(TLS_LAYOUT.tls_event.entry_ns, 5_000_000_001n, true);
  view.setUint32(TLS_LAYOUT.tls_event.call, 1, true);
  view.setUint32(TLS_LAYOUT.tls_event.room, 16384, true);
  bytes.set([1, 2], TLS_LAYOUT.tls_event.size);
  const call = emptyTlsCall();
  readTlsCall(view, 0, call);
  const { kind, session, pid, tid, seq, total, room, entryNs } = call;
  assert.deepEqual(
    { kind, session, pid, tid, seq, total, room, entryNs, bytes: [...call.bytes] },
    {
      kind: "read",
      session: 0x7f00_1234_5678,
      pid: 7,
      tid: 8,
      seq: 0xffff_fff0,
      total: 40,
      room: 16384,
      entryNs: 5_000_000_001,
      bytes: [1, 2],
    },
  );
  const counters = new Uint8Array(BigUint64Array.of(3n, 2n, 1n, 0n, 4n, 4n, 0n, 1n).buffer);
  assert.deepEqual(readTlsCounters(counters), { seen: 7, submitted: 6, lostRingFull: 1, payloadFaults: 1 });
});

test("counters are those of event.h, in its order", () => {
  const asserted = assertedNumbers();
  COUNTER_NAMES.forEach((name, index) => {
    assert.equal(asserted.get(`probe_counters.${name}`), index * 8, name);
  });
  assert.equal(asserted.get("probe_counters.size"), COUNTER_NAMES.length * 8);
});

test("kinds and flags are those of event.h", () => {
  for (const [name, value] of Object.entries(EVENT_KIND)) {
    assert.match(header, new RegExp(`EVENT_${name.toUpperCase()} = ${value},`));
  }
  const flags = {
    received: "RECEIVED",
    joinedLate: "JOINED_LATE",
    reset: "RESET",
    unread: "UNREAD",
    resumed: "RESUMED",
  };
  for (const [name, word] of Object.entries(flags)) {
    const bit = Object.entries(EVENT_FLAG).find(([flag]) => flag === name)?.[1];
    assert.match(header, new RegExp(`#define FLAG_${word} ${bit} `));
  }
});

test("modes and methods are those of event.h, in its order", () => {
  for (const [name, value] of Object.entries(CAPTURE_MODE)) {
    assert.match(header, new RegExp(`MODE_${name.toUpperCase()} = ${value},`));
  }
  const view = new DataView(new ArrayBuffer(COUNTED_BYTES));
  for (const [, word, value] of header.matchAll(/METHOD_([A-Z]+) = (\d),/g)) {
    view.setUint8(EVENT_LAYOUT.counted_key.method, Number(value));
    assert.equal(readCountedCell(view, 0).method, word === "NONE" ? "" : word);
  }
});

test("readOpen", () => {
  const bytes = new Uint8Array(EVENT_LAYOUT.open_event.size);
  const view = new DataView(bytes.buffer);
  const { event_head: head, open_event: open } = EVENT_LAYOUT;
  view.setUint8(head.kind, EVENT_KIND.open);
  view.setUint8(head.flags, EVENT_FLAG.joinedLate);
  view.setUint32(head.pid, 4711, true);
  view.setBigUint64(head.time_ns, 5_000_000_000_123n, true);
  view.setBigUint64(head.cookie, 0x1_0000_0002n, true);
  view.setUint32(open.netns, 4_026_531_833, true);
  view.setUint16(open.local_port, 8080, true);
  view.setUint16(open.remote_port, 40_000, true);
  view.setUint8(open.role, 2);
  bytes.set([0xff, 0xff, 127, 0, 0, 1], open.local + 10);
  bytes.set([0x20, 0x01, 0x0d, 0xb8], open.remote);
  bytes.set([1], open.remote + 15);
  bytes.set(Buffer.from("nginx"), open.program);
  const event = readOpen(view, 0);
  assert.equal(event.localAddr, "127.0.0.1");
  assert.equal(event.remoteAddr, "2001:db8::1");
  assert.deepEqual(
    [event.cookie, event.timeNs, event.pid, event.netns, event.localPort, event.remotePort],
    [4_294_967_298, 5_000_000_000_123, 4711, 4_026_531_833, 8080, 40_000],
  );
  assert.deepEqual([event.role, event.joinedLate, event.program], ["server", true, "nginx"]);
  assert.deepEqual([readCookie(view, 0), readTimeNs(view, 0)], [event.cookie, event.timeNs]);
});

test("readCounters adds up the processors", () => {
  const values = new BigUint64Array(COUNTER_NAMES.length * 2).map((_, index) => BigInt(index));
  const counters = readCounters(new Uint8Array(values.buffer));
  assert.equal(counters.calls_seen, 0 + COUNTER_NAMES.length);
  assert.equal(counters.timed_ns, COUNTER_NAMES.length - 1 + 2 * COUNTER_NAMES.length - 1);
});
