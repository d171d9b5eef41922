import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageMark } from "../protocol/exchange.ts";
import { ProxyOrder } from "./proxy-order.ts";
import { randomFrom } from "./traffic.testkit.ts";

interface Passed {
  readonly request: MessageMark;
  readonly alone: boolean;
  openAt: number;
  answering: boolean;
}

interface Called {
  readonly request: MessageMark;
  readonly cause: Passed;
}

const LOOP = 7;

function mark(startNs: number): MessageMark {
  return { startNs, endNs: startNs, seq: 0, bytes: 0, tid: LOOP, pid: 1, lastTid: LOOP };
}

/**
 * A proxy's thread, which reads what there is, goes on with it, reads answers, and passes them on.
 *
 * @param ordered It takes what it read in order; else any of it.
 * @param ownShare Share of requests that it answers by itself.
 */
function play(ordered: boolean, ownShare: number, seed: number) {
  const random = randomFrom(seed);
  const order = new ProxyOrder<Passed, Called>();
  const outcome = { calls: 0, waited: 0, right: 0, wrong: 0 };
  const take = <Value>(from: Value[]) => from.splice(ordered ? 0 : Math.floor(random() * from.length), 1)[0];
  let nowNs = 1;
  const atBackend: Called[] = [];
  const batch = () => 1 + Math.floor(random() * 5);
  for (let turn = 0; turn < 2000; turn++) {
    nowNs += 1000;
    const read: Passed[] = [];
    for (let count = batch(); count > 0 && atBackend.length < 60; count--) {
      const request = { request: mark(nowNs), alone: false, openAt: 1, answering: false };
      order.requestRead(LOOP, request, nowNs++);
      read.push(request);
    }
    while (read.length > 0) {
      const request = take(read);
      if (request === undefined) break;
      if (random() < ownShare) {
        assert.equal(order.answering(LOOP, request, nowNs++), undefined);
        continue;
      }
      const call = { request: mark(nowNs++), cause: request };
      outcome.calls += 1;
      if (order.isProven) outcome.waited += 1;
      order.callStarted(call, order.isProven);
      atBackend.push(call);
    }
    const answered: Called[] = [];
    for (let count = batch() + 1; count > 0 && atBackend.length > 0; count--) {
      const call = atBackend.splice(Math.floor(random() * atBackend.length), 1)[0];
      if (call === undefined) break;
      order.answerRead(LOOP, call, nowNs++);
      answered.push(call);
    }
    while (answered.length > 0) {
      const call = take(answered);
      if (call === undefined) break;
      const passed = order.answering(LOOP, call.cause, nowNs++);
      call.cause.answering = true;
      if (passed?.isTold) outcome[passed.call.cause === call.cause ? "right" : "wrong"] += 1;
    }
  }
  return outcome;
}

test("a thread that takes requests and answers in order: each call is told, and rightly", () => {
  for (const ownShare of [0, 0.3]) {
    for (let seed = 1; seed <= 4; seed++) {
      const { calls, right, wrong } = play(true, ownShare, seed);
      assert.equal(wrong, 0);
      assert.ok(right > 0.95 * calls - 60, `${right} of ${calls}`);
    }
  }
});

test("a thread that takes them in any order: no call is told", () => {
  for (let seed = 1; seed <= 4; seed++) assert.equal(play(false, 0, seed).waited, 0);
});

test("what stands in the queue for a second was not taken in order", () => {
  const order = new ProxyOrder<Passed, Called>();
  const pass = (nowNs: number, isStale: boolean) => {
    const stale = { request: mark(nowNs), alone: false, openAt: 1, answering: false };
    if (isStale) order.requestRead(LOOP, stale, nowNs);
    const readNs = isStale ? nowNs + 1.1e9 : nowNs;
    const request = { request: mark(readNs), alone: false, openAt: 1, answering: false };
    order.requestRead(LOOP, request, readNs);
    const call = { request: mark(readNs + 1), cause: request };
    order.callStarted(call, true);
    order.answerRead(LOOP, call, readNs + 2);
    const passed = order.answering(LOOP, request, readNs + 3);
    assert.equal(passed?.call, call, "it waits until it is passed on");
    return passed?.isTold;
  };
  for (let at = 0; at < 30; at++) pass(at * 10, false);
  assert.equal(pass(1000, false), true);
  assert.equal(pass(2000, true), true);
});
