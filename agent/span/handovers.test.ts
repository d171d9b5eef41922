import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageMark } from "../protocol/exchange.ts";
import { Handovers } from "./handovers.ts";
import { randomFrom } from "./traffic.testkit.ts";

interface Served {
  readonly request: MessageMark;
  readonly alone: boolean;
  readonly endpoint: string;
}

interface Called {
  readonly request: MessageMark;
  readonly cause: Served;
}

const WORKERS = 8;
const READER = 500;

function mark(tid: number, startNs: number, lastTid = tid): MessageMark {
  return { startNs, endNs: startNs, seq: 0, bytes: 0, tid, pid: 1, lastTid };
}

function served(startNs: number): Served {
  return { request: mark(READER, startNs), alone: false, endpoint: "GET /work" };
}

/** A piece of work: so many calls of a request, then its answer. */
interface Job {
  readonly request: Served;
  left: number;
  call: Called | undefined;
}

/**
 * Plays a pool of threads behind a queue.
 *
 * @param keeps A thread that took a request answers it, before it takes the next; else each step goes back to the queue.
 * @param interleaves A thread goes on with something else while a call is under way.
 */
function play(keeps: boolean, interleaves: boolean, seed: number) {
  const random = randomFrom(seed);
  const handovers = new Handovers<Served, Called>();
  const queue: Job[] = [];
  const threads: Job[][] = Array.from({ length: WORKERS }, () => []);
  const outcome = { calls: 0, waited: 0, right: 0, wrong: 0 };
  let nowNs = 1;
  const step = (tid: number, jobs: Job[], job: Job): void => {
    if (job.call !== undefined) {
      handovers.callFinished(job.call, mark(tid, nowNs));
      job.call = undefined;
      if (keeps) return;
      jobs.splice(jobs.indexOf(job), 1);
      queue.push(job);
    } else if (job.left > 0) {
      job.left -= 1;
      job.call = { request: mark(tid, nowNs), cause: job.request };
      outcome.calls += 1;
      if (handovers.isProven) outcome.waited += 1;
      handovers.callStarted(job.call, handovers.isProven);
    } else {
      jobs.splice(jobs.indexOf(job), 1);
      const told = handovers.answered(job.request, mark(tid, nowNs), true, 0);
      for (const call of told.calls) {
        if (told.request !== undefined) outcome[told.request === call.cause ? "right" : "wrong"] += 1;
      }
    }
  };
  for (let turn = 0; turn < 6000; turn++) {
    nowNs += 1;
    if (queue.length < 30 && random() < 0.2) queue.push({ request: served(nowNs), left: 2, call: undefined });
    const tid = 1 + Math.floor(random() * WORKERS);
    const jobs = threads[tid - 1] ?? [];
    if (jobs.length === 0 || (interleaves && jobs.length < 4)) {
      const next = queue.shift();
      if (next !== undefined) jobs.push(next);
    }
    const job = jobs[Math.floor(random() * jobs.length)];
    if (job !== undefined) step(tid, jobs, job);
  }
  return outcome;
}

test("calls of workers that answer what they took are told by the answer, nearly all", () => {
  for (let seed = 1; seed <= 5; seed++) {
    const { calls, right, wrong } = play(true, false, seed);
    assert.equal(wrong, 0);
    assert.ok(right > 0.8 * calls, `${right} of ${calls}`);
  }
});

test("where each step is taken by any thread nothing is told", () => {
  for (let seed = 1; seed <= 5; seed++) assert.equal(play(false, false, seed).waited, 0);
});

test("a thread that does several things at once tells nothing", () => {
  for (let seed = 1; seed <= 5; seed++) assert.equal(play(true, true, seed).waited, 0);
});

/** Workers that were seen to answer what they took. */
function proven(): Handovers<Served, Called> {
  const handovers = new Handovers<Served, Called>();
  for (let at = 0; at < 40; at++) {
    const request = served(at * 10);
    const call = { request: mark(1, at * 10 + 1), cause: request };
    handovers.callStarted(call, false);
    handovers.callFinished(call, mark(1, at * 10 + 2));
    handovers.answered(request, mark(1, at * 10 + 3), true, 0);
  }
  assert.ok(handovers.isProven);
  return handovers;
}

/** One call of thread 1 at 1001 for a request of 1000, whose answer came. */
function oneCall(handovers: Handovers<Served, Called>): { request: Served; call: Called } {
  const request = served(1000);
  const call = { request: mark(1, 1001), cause: request };
  handovers.callStarted(call, true);
  handovers.callFinished(call, mark(1, 1002));
  return { request, call };
}

test("what is not one thing after the other is not told", () => {
  const told = (spoil: (handovers: Handovers<Served, Called>) => void, othersRead = 0, lastTid = 1) => {
    const handovers = proven();
    const { request, call } = oneCall(handovers);
    spoil(handovers);
    const outcome = handovers.answered(request, mark(1, 1009, lastTid), true, othersRead);
    assert.ok(outcome.calls.includes(call), "it is decided, one way or the other");
    return outcome.request === request;
  };
  const nothing = () => undefined;
  assert.ok(told(nothing));
  assert.ok(!told(nothing, 1), "the thread has read another request");
  assert.ok(!told(nothing, 0, 2), "another thread ended the answer");
  assert.ok(!told((handovers) => handovers.requestRead(1)), "it read something after its call");
  assert.ok(!told((handovers) => handovers.becomeUnsure()), "events were lost");
  const under = (handovers: Handovers<Served, Called>) =>
    handovers.callStarted({ request: mark(1, 1005), cause: served(1) }, true);
  assert.ok(!told((handovers) => under(handovers)), "a call is under way");
  const moved = (handovers: Handovers<Served, Called>) => {
    const call = { request: mark(1, 1005), cause: served(1) };
    handovers.callStarted(call, true);
    handovers.callFinished(call, mark(2, 1006));
  };
  assert.ok(!told(moved), "another thread read an answer");
});

test("a call is older than the request, or no answer follows: it is given up", () => {
  const handovers = proven();
  const { call } = oneCall(handovers);
  assert.equal(handovers.answered(served(1005), mark(1, 1009), true, 0).request, undefined);
  const waiting = { request: mark(2, 1010), cause: call.cause };
  handovers.callStarted(waiting, true);
  assert.deepEqual(handovers.waiting.giveUp(1010), []);
  assert.deepEqual(handovers.waiting.giveUp(1011), [waiting]);
  assert.ok(handovers.waiting.isEmpty);
});
