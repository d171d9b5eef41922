import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageMark } from "../protocol/exchange.ts";
import { ProxyOrder } from "./proxy-order.ts";
import { randomFrom } from "./traffic.testkit.ts";

interface Passed {
  readonly request: MessageMark;
  readonly alone: boolean;
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
      const request = { request: mark(nowNs), alone: false };
      order.requestRead(LOOP, request, nowNs++);
      read.push(request);
    }
    while (read.length > 0) {
      const request = take(read);
      if (request === undefined) break;
      if (random() < ownShare) {
        assert.equal(order.answering(LOOP, request), undefined);
        continue;
      }
      const call = { request: mark(nowNs++), cause: request };
      outcome.calls += 1;
      if (order.isProven) outcome.waited += 1;
      order.callStarted(call, order.isProven);
      atBackend.push(call);
    }
    const answered: Called[] = [];
    for (let count = atBackend.length < 40 ? batch() - 1 : batch(); count > 0 && atBackend.length > 0; count--) {
      const call = atBackend.splice(Math.floor(random() * atBackend.length), 1)[0];
      if (call === undefined) break;
      order.answerRead(LOOP, call);
      answered.push(call);
    }
    while (answered.length > 0) {
      const call = take(answered);
      if (call === undefined) break;
      const passed = order.answering(LOOP, call.cause);
      if (passed !== undefined) outcome[passed.cause === call.cause ? "right" : "wrong"] += 1;
    }
  }
  return outcome;
}

test("a thread that takes requests and answers in order: each call is told, and rightly", () => {
  for (const ownShare of [0, 0.3]) {
    for (let seed = 1; seed <= 4; seed++) {
      const { calls, right, wrong } = play(true, ownShare, seed);
      assert.equal(wrong, 0);
      assert.ok(right > 0.9 * calls - 60, `${right} of ${calls}`);
    }
  }
});

test("a thread that takes them in any order: what is told is right", () => {
  for (let seed = 1; seed <= 4; seed++) {
    const { calls, right, wrong } = play(false, 0, seed);
    assert.equal(wrong, 0);
    assert.ok(right > 0.4 * calls, `${right} of ${calls}`);
  }
});

/** A thread that is driven by hand, whose rule has proved itself. */
function proven() {
  const order = new ProxyOrder<Passed, Called>();
  let nowNs = 1;
  const read = (): Passed => {
    const request = { request: mark(nowNs), alone: false };
    order.requestRead(LOOP, request, nowNs++);
    return request;
  };
  const call = (cause: Passed): Called => {
    const called = { request: mark(nowNs++), cause };
    order.callStarted(called, true);
    return called;
  };
  const pass = (request: Passed) => order.answering(LOOP, request);
  const later = (ns: number) => {
    nowNs += ns;
  };
  for (let turn = 0; turn < 40; turn++) {
    const [first, second] = [read(), read()];
    for (const one of [call(first), call(second)]) {
      order.answerRead(LOOP, one);
      pass(one.cause);
    }
  }
  assert.ok(order.isProven);
  return { order, read, call, pass, later, answer: (one: Called) => order.answerRead(LOOP, one) };
}

test("both orders are wrong in the same way: a request whose call comes last is passed on first", () => {
  const { read, call, pass, answer } = proven();
  let told = 0;
  for (let turn = 0; turn < 10; turn++) {
    const [slow, second, third] = [read(), read(), read()];
    const calls = [call(second), call(third)];
    // An answer to something earlier is read while the connection for the first one is made.
    const other = calls[0] as Called;
    answer(other);
    calls.push(call(slow));
    for (const one of calls.slice(1)) answer(one);
    for (const request of [slow, second, third]) {
      const passed = pass(request);
      if (passed === undefined) continue;
      told += 1;
      assert.equal(passed.cause, request);
    }
  }
  assert.equal(told, 0, "three answers may each be that of any of the three");
});

test("order that counting has not shown of late is believed a few times at most", () => {
  const { read, call, pass, answer } = proven();
  let told = 0;
  for (let turn = 0; turn < 100; turn++) {
    const requests = [read(), read()];
    const calls = requests.map(call);
    for (const one of calls) answer(one);
    for (const request of requests) if (pass(request) !== undefined) told += 1;
  }
  assert.ok(told > 0 && told <= 64, `${told} told`);
});

test("a call that no request makes: what is open as it shows is not told, what comes later is", () => {
  const { read, call, pass, answer } = proven();
  const background: Passed = { request: mark(0), alone: false };
  const [first, second] = [read(), read()];
  const calls = [call(first), call(background)];
  const third = read();
  calls.push(call(second), call(third));
  for (const one of calls) answer(one);
  for (const request of [first, second, third]) assert.equal(pass(request), undefined);
  const later = read();
  const laterCall = call(later);
  answer(laterCall);
  assert.equal(pass(later), laterCall);
});

test("an answer that the proxy gives by itself while others wait is not told, nor what was read with it", () => {
  const { read, call, pass, answer } = proven();
  const [own, other] = [read(), read()];
  const otherCall = call(other);
  answer(otherCall);
  assert.equal(pass(own), undefined);
  assert.equal(pass(other), undefined);
});

test("a request without an answer, one that waits too long, events lost: those beside it are not told", () => {
  const abandoned = proven();
  const [gone, beside] = [abandoned.read(), abandoned.read()];
  const call = abandoned.call(beside);
  abandoned.order.ended(LOOP, gone);
  abandoned.answer(call);
  assert.equal(abandoned.pass(beside), undefined);

  const slow = proven();
  const [queued, next] = [slow.read(), slow.read()];
  const nextCall = slow.call(next);
  slow.later(200e6);
  const after = slow.read();
  const lateCalls = [slow.call(queued), slow.call(after)];
  for (const one of [nextCall, ...lateCalls]) slow.answer(one);
  for (const request of [queued, next, after]) assert.equal(slow.pass(request), undefined);

  const lost = proven();
  const request = lost.read();
  const lostCall = lost.call(request);
  lost.order.forget();
  lost.answer(lostCall);
  assert.equal(lost.pass(request), undefined);
});
