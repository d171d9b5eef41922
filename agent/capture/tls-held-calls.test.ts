import assert from "node:assert/strict";
import { test } from "node:test";
import type { TlsCall } from "./tls-event.ts";
import { type CallHolder, HeldCalls, heldOf } from "./tls-held-calls.ts";

const CALL: TlsCall = {
  kind: "write",
  pid: 1,
  tid: 1,
  session: 1,
  entryNs: 10,
  timeNs: 20,
  seq: 0,
  total: 1,
  room: -1,
  bytes: new Uint8Array(1),
  work: { kind: "", unit: 0, origin: 0 },
};

function holder(): CallHolder {
  return { held: [] };
}

test("four MiB wait, of all holders; what is taken or given up makes room", () => {
  const held = new HeldCalls();
  const [one, other] = [holder(), holder()];
  const large = { ...CALL, bytes: new Uint8Array(2 << 20) };
  assert.deepEqual([held.add(one, large, 0, false), held.add(other, large, 0, false)], [true, true]);
  assert.equal(held.add(other, CALL, 0, false), false);
  assert.equal(held.shift(one)?.bytes.length, 2 << 20);
  assert.equal(held.add(other, CALL, 0, false), true);
  assert.equal(held.clear(other), 2);
  assert.deepEqual([held.count, held.clear(other), held.shift(other)], [0, 0, undefined]);
  for (let call = 0; call < 2; call++) assert.equal(held.add(one, large, 0, false), true);
});

test("bytes are copied, since the call's own are of the drain buffer", () => {
  const held = new HeldCalls();
  const one = holder();
  const bytes = Uint8Array.of(7);
  held.add(one, { ...CALL, bytes }, 0, false);
  bytes[0] = 8;
  assert.deepEqual(held.shift(one)?.bytes, Uint8Array.of(7));
});

test("a holder has 64, and is overdue two seconds after its oldest", () => {
  const held = new HeldCalls();
  const [one, later] = [holder(), holder()];
  for (let call = 0; call < 64; call++) {
    assert.equal(held.isFull(one), false);
    held.add(one, CALL, 0, false);
  }
  assert.equal(held.isFull(one), true);
  held.add(later, { ...CALL, entryNs: 11 }, 0, false);
  assert.deepEqual([...held.overdue(10 + 2e9)], []);
  assert.deepEqual([...held.overdue(11 + 2e9)], [one]);
});

test("a write counts from its beginning, a read at its end; one made in memory was counted by its loop already", () => {
  const work = { kind: "loop", unit: 5, origin: 3 } as const;
  assert.equal(heldOf({ ...CALL, work }, 0, CALL.bytes, false).timeNs, 10);
  const read = heldOf({ ...CALL, work }, 1, CALL.bytes, false);
  assert.deepEqual([read.timeNs, read.work.origin], [20, 1]);
  assert.equal(heldOf({ ...CALL, work }, 1, CALL.bytes, true).work.origin, 3);
});
