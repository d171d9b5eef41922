import assert from "node:assert/strict";
import { test } from "node:test";
import type { WorkUnit } from "../../server/model/capture-event.ts";
import { LoopCauses } from "./loop-causes.ts";

/** A moment of libuv's loop: its turn, the thread's reads so far, and whether events of descriptors are handed out. */
function moment(turn: number, reads: number, amongEvents = true): WorkUnit {
  return { kind: "loop", unit: turn, origin: 2 * reads + (amongEvents ? 1 : 0) };
}

const sureOf = (request: string) => ({ request, byOrder: false });

test("what follows a read in its turn is done for it", () => {
  const loops = new LoopCauses<string>();
  loops.received(7, 1, moment(5, 10), undefined);
  loops.isAbout(1, "a");
  assert.deepEqual(loops.current(1, moment(5, 11)), sureOf("a"));
  assert.equal(loops.current(1, moment(6, 11)), undefined, "another turn");
});

test("a read of what is no socket ends a cause", () => {
  const loops = new LoopCauses<string>();
  loops.received(7, 1, moment(5, 10), sureOf("a"));
  assert.equal(loops.current(1, moment(5, 12)), undefined);
  assert.equal(loops.current(1, moment(5, 12, false)), undefined, "nor are there immediates of it");
});

test("a timer has no cause", () => {
  const loops = new LoopCauses<string>();
  assert.equal(loops.current(1, moment(5, 0, false)), undefined);
});

test("a connection's first write is for what the connect was for, and later ones for what is read then", () => {
  const loops = new LoopCauses<string>();
  loops.received(7, 1, moment(5, 10), sureOf("a"));
  loops.connecting(9, 1, moment(5, 11));
  loops.received(7, 1, moment(6, 11), sureOf("b"));
  assert.deepEqual(loops.sent(9, 1, moment(6, 12)), sureOf("a"));
  loops.received(7, 1, moment(7, 12), sureOf("c"));
  assert.deepEqual(loops.sent(9, 1, moment(7, 13)), sureOf("c"));
});

test("a greeting goes on with what the connection was begun for, until its first call", () => {
  const loops = new LoopCauses<string>();
  loops.received(7, 1, moment(5, 10), sureOf("a"));
  loops.connecting(9, 1, moment(5, 11));
  assert.equal(loops.greeted(9), undefined, "nothing was said yet");
  loops.sent(9, 1, moment(6, 11));
  loops.received(9, 1, moment(7, 11), loops.greeted(9));
  assert.deepEqual(loops.sent(9, 1, moment(7, 12)), sureOf("a"));
  loops.called(9);
  assert.equal(loops.greeted(9), undefined);
});

test("a connection on which much is said and no call is seen goes on with nothing", () => {
  const loops = new LoopCauses<string>();
  loops.received(7, 1, moment(5, 10), sureOf("a"));
  loops.connecting(9, 1, moment(5, 11));
  loops.sent(9, 1, moment(6, 11));
  const reads = Array.from({ length: 30 }, () => loops.greeted(9)).filter((cause) => cause !== undefined);
  assert.equal(reads.length, 16);
});

test("immediates are matched with the reads of their turn after which nothing was sent", () => {
  const loops = new LoopCauses<string>();
  for (const [reads, request] of ["a", "b", "c"].entries())
    loops.received(7 + reads, 1, moment(5, reads), sureOf(request));
  loops.received(9, 1, moment(5, 3), sureOf("c"));
  loops.received(10, 1, moment(5, 3), sureOf("d"));
  assert.deepEqual(loops.current(1, moment(5, 4)), sureOf("d"));
  const found = [4, 4, 4, 4].map((reads) => loops.current(1, moment(5, reads, false)));
  assert.deepEqual(found, [...["a", "b", "c"].map((request) => ({ request, byOrder: true })), undefined]);
});

test("loops without signals of their own keep their cause until the next read", () => {
  const loops = new LoopCauses<string>();
  const silent: WorkUnit = { kind: "", unit: 0, origin: 0 };
  loops.received(7, 1, silent, sureOf("a"));
  assert.deepEqual(loops.current(1, silent), sureOf("a"));
  loops.received(7, 1, silent, undefined);
  assert.equal(loops.current(1, silent), undefined);
});

test("the end of a stream goes on with its last bytes, unless something else was read since", () => {
  const loops = new LoopCauses<string>();
  const silent: WorkUnit = { kind: "", unit: 0, origin: 0 };
  loops.received(7, 1, silent, sureOf("a"));
  loops.ended(7, 1, silent, undefined);
  assert.deepEqual(loops.current(1, silent), sureOf("a"));
  loops.received(8, 1, silent, sureOf("b"));
  loops.ended(7, 1, silent, sureOf("a"));
  assert.deepEqual(loops.current(1, silent), sureOf("a"), "an answer that ends with its connection");
  loops.ended(8, 1, silent, undefined);
  assert.equal(loops.current(1, silent), undefined);
});

test("records of TLS that hold nothing end what was before, and no immediate is theirs", () => {
  const loops = new LoopCauses<string>();
  loops.sealed(7, 1, moment(5, 0), undefined);
  loops.received(7, 1, moment(5, 0), sureOf("a"));
  loops.sealed(7, 1, moment(5, 1), sureOf("a"));
  loops.sealed(8, 1, moment(5, 2), undefined);
  assert.equal(loops.current(1, moment(5, 3)), undefined);
  loops.received(9, 1, moment(5, 3), sureOf("b"));
  const found = [4, 4].map((reads) => loops.current(1, moment(5, reads, false)));
  assert.deepEqual(
    found,
    [..."ab"].map((request) => ({ request, byOrder: true })),
  );
  loops.sealed(7, 1, moment(6, 4), sureOf("a"));
  assert.deepEqual(loops.current(1, moment(6, 5)), sureOf("a"), "an answer that ends with its session");
});
