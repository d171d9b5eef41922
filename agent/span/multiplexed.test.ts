/** Requests that share a connection: which of them an answer is to is not told by its first bytes alone. */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { SocketSlice, WorkUnit } from "../../server/model/capture-event.ts";
import type { Connection } from "../connection/connection-sink.ts";
import { processSeen, Sight, Traffic } from "./traffic.testkit.ts";

const LOOP = 7;
const PYTHON = 20;

const task = (number: number): WorkUnit => ({ kind: "task", unit: number, origin: number });

function sentOn({ socket }: Connection, work: WorkUnit, timeNs: number): SocketSlice {
  const bytes = new Uint8Array(0);
  return { socket, direction: 0, timeNs, seq: 0, total: 0, bytes, tid: LOOP, pid: PYTHON, work };
}

/** A server of tasks: two requests at a time make one call each, and the younger is answered first. Parents of calls. */
function play(isShared: boolean) {
  const traffic = new Traffic();
  const { room } = traffic;
  room.process(processSeen(PYTHON, "served", "python"));
  room.process(processSeen(30, "backend"));
  const outcome = { right: 0, wrong: 0, none: 0 };
  for (let turn = 0; turn < 40; turn++) {
    const first = traffic.sight("server", 50_000 + turn, 1, LOOP, { serverPid: PYTHON });
    const other = traffic.sight("server", 51_000 + turn, 100, LOOP, { serverPid: PYTHON });
    const second = isShared ? new Sight(traffic, first.connection, other.exchange) : other;
    first.exchange.stream = 1;
    second.exchange.stream = isShared ? 3 : 1;
    const served = [first.start(), second.start()].map((request, at) => ({ request, work: task(1 + 2 * turn + at) }));
    traffic.pass(1);
    for (const { work } of served) {
      const call = traffic.sight("client", 52_000 + work.unit, 5, LOOP, { clientPid: PYTHON, serverPort: 81 });
      const sent = sentOn(call.connection, work, traffic.nowNs);
      room.sliceSeen(sent);
      call.start();
      room.sliceRead(sent);
      traffic.pass(1);
      call.finish(200, LOOP);
    }
    for (const { request, work } of served.toReversed()) {
      const sent = sentOn(request.connection, work, traffic.nowNs);
      room.sliceSeen(sent);
      request.finish(200, LOOP);
      room.sliceRead(sent);
      traffic.pass(1);
    }
    for (let wait = 0; wait < 8; wait++) traffic.pass(250);
    const spans = traffic.sent.splice(0);
    // The younger request was answered first, and ended first.
    const requests = spans.filter(({ kind }) => kind === 2).sort((a, b) => Number(b.endNs - a.endNs));
    for (const span of spans.filter(({ kind }) => kind === 3)) {
      const own = requests[(span.clientPort - 1) % 2]?.spanId;
      outcome[span.parentSpanId === 0n ? "none" : span.parentSpanId === own ? "right" : "wrong"] += 1;
    }
  }
  return outcome;
}

test("two requests on two connections: each call is drawn under its own", () => {
  const { right, wrong } = play(false);
  assert.equal(wrong, 0);
  assert.ok(right > 60, `${right}`);
});

test("two streams of one connection: no call is drawn under the request of the other", () => {
  assert.equal(play(true).wrong, 0);
});
