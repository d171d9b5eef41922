import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageMark } from "../protocol/exchange.ts";
import { type OpenRequest, ProcessRequests } from "./process-requests.ts";

interface Served extends OpenRequest {
  answering: boolean;
}

function mark(tid: number, lastTid = tid): MessageMark {
  return { startNs: 0, endNs: 0, seq: 0, bytes: 0, tid, pid: 1, lastTid };
}

function served(tid: number, lastTid = tid): Served {
  return { request: mark(tid, lastTid), alone: true, openAt: -1, answering: false };
}

function servedAt(startNs: number): Served {
  return { ...served(1), request: { ...mark(1), startNs } };
}

function requests(threads: boolean): ProcessRequests<Served> {
  const all = new ProcessRequests<Served>();
  all.allowThreadProof(threads);
  return all;
}

/** Serves pairs of overlapping requests on threads of their own. */
function proveThreads(all: ProcessRequests<Served>, pairs: number): void {
  for (let at = 0; at < pairs; at++) {
    const [one, two] = [served(901), served(902)];
    all.requestStarted(one);
    all.requestStarted(two);
    all.requestFinished(one, mark(901));
    all.requestFinished(two, mark(902));
  }
}

test("a call inside the only open request belongs to it, whatever the thread", () => {
  const all = requests(true);
  const request = served(1);
  all.requestStarted(request);
  assert.equal(all.callStarted({ request: mark(2) }, 7), request);
});

test("a finished request is nobody's parent", () => {
  const all = requests(true);
  const request = served(1);
  all.requestStarted(request);
  all.requestFinished(request, mark(1));
  assert.equal(all.callStarted({ request: mark(1) }, 7), undefined);
});

test("a request that ended without an answer is nobody's parent", () => {
  const all = requests(true);
  const request = served(1);
  all.requestStarted(request);
  all.requestAbandoned(request, 1e9);
  assert.equal(all.callStarted({ request: mark(1) }, 7), undefined);
});

test("calls after a request that its client gave up are drawn into none of the next ten seconds", () => {
  const all = requests(true);
  const given = served(1);
  all.requestStarted(given);
  all.requestAbandoned(given, 1e9);
  const next = servedAt(10.9e9);
  all.requestStarted(next);
  assert.equal(all.callStarted({ request: mark(1) }, 7), undefined, "it may be late work of the other");
  all.requestFinished(next, mark(1));
  const later = servedAt(11.1e9);
  all.requestStarted(later);
  assert.equal(all.callStarted({ request: mark(1) }, 8), later);
});

test("two requests open at once: neither draws, also after one of them ended", () => {
  const all = requests(true);
  const [one, two] = [served(1), served(2)];
  all.requestStarted(one);
  all.requestStarted(two);
  assert.equal(all.callStarted({ request: mark(1) }, 7), undefined);
  all.requestFinished(two, mark(2));
  assert.equal(all.callStarted({ request: mark(1) }, 8), undefined, "the call may be late work of the other");
  all.requestFinished(one, mark(1));
  const three = served(1);
  all.requestStarted(three);
  assert.equal(all.callStarted({ request: mark(1) }, 9), three);
});

test("a request whose answer has begun draws no calls", () => {
  const all = requests(true);
  const stream = served(1);
  all.requestStarted(stream);
  stream.answering = true;
  assert.equal(all.callStarted({ request: mark(1) }, 7), undefined);
});

test("calls that are also made while nothing is open are background work", () => {
  const all = requests(true);
  all.callStarted({ request: mark(5) }, 7);
  const request = served(1);
  all.requestStarted(request);
  assert.equal(all.callStarted({ request: mark(5) }, 7), undefined);
  assert.equal(all.callStarted({ request: mark(1) }, 8), request, "another target");
});

test("one call outside is forgiven after many inside", () => {
  const all = requests(true);
  all.callStarted({ request: mark(5) }, 7);
  let drawn = 0;
  for (let at = 0; at < 100; at++) {
    const request = served(1);
    all.requestStarted(request);
    if (all.callStarted({ request: mark(1) }, 7) === request) drawn += 1;
    all.requestFinished(request, mark(1));
  }
  assert.ok(drawn > 40 && drawn < 60, `${drawn}`);
});

test("threads are trusted after 20 overlapping requests", () => {
  const all = requests(true);
  proveThreads(all, 9);
  assert.equal(all.threadsProven, false);
  proveThreads(all, 1);
  assert.equal(all.threadsProven, true);
  const [one, two] = [served(1), served(2)];
  all.requestStarted(one);
  all.requestStarted(two);
  assert.equal(all.callStarted({ request: mark(1) }, 7), one);
  assert.equal(all.callStarted({ request: mark(2) }, 7), two);
  assert.equal(all.callStarted({ request: mark(3) }, 7), undefined, "a thread without a request");
});

test("with proven threads a background thread draws nothing from a lone request", () => {
  const all = requests(true);
  proveThreads(all, 10);
  const request = served(1);
  all.requestStarted(request);
  assert.equal(all.callStarted({ request: mark(99) }, 7), undefined);
  assert.equal(all.callStarted({ request: mark(1) }, 7), request);
});

test("requests served one after the other prove nothing", () => {
  const all = requests(true);
  for (let at = 0; at < 100; at++) {
    const request = served(1);
    all.requestStarted(request);
    all.requestFinished(request, mark(1));
  }
  assert.equal(all.threadsProven, false);
});

test("answers written by other threads prove nothing", () => {
  const all = requests(true);
  for (let at = 0; at < 100; at++) {
    const [one, two] = [served(1), served(2)];
    all.requestStarted(one);
    all.requestStarted(two);
    all.requestFinished(one, mark(1));
    all.requestFinished(two, mark(1, 2));
  }
  assert.equal(all.threadsProven, false);
});

test("a thread with two requests at once disproves threads for a while", () => {
  const all = requests(true);
  proveThreads(all, 20);
  const [one, two] = [served(1), served(1)];
  all.requestStarted(one);
  all.requestStarted(two);
  assert.equal(all.threadsProven, false);
  assert.equal(all.callStarted({ request: mark(1) }, 7), undefined);
  all.requestFinished(one, mark(1));
  all.requestFinished(two, mark(1));
  proveThreads(all, 98);
  assert.equal(all.threadsProven, false);
  proveThreads(all, 10);
  assert.equal(all.threadsProven, true);
});

test("a thread that reads or answers a request while it waits for a call disproves threads", () => {
  const reads = requests(true);
  proveThreads(reads, 20);
  reads.callStarted({ request: mark(1) }, 7);
  reads.requestStarted(served(1));
  assert.equal(reads.threadsProven, false);
  const answers = requests(true);
  proveThreads(answers, 20);
  const request = served(1);
  answers.requestStarted(request);
  const call = { request: mark(1) };
  answers.callStarted(call, 7);
  answers.requestFinished(request, mark(1));
  assert.equal(answers.threadsProven, false);
});

test("no evidence is enough where the runtime moves work between threads", () => {
  const all = requests(false);
  proveThreads(all, 100);
  assert.equal(all.threadsProven, false);
  const [one, two] = [served(1), served(2)];
  all.requestStarted(one);
  all.requestStarted(two);
  assert.equal(all.callStarted({ request: mark(1) }, 7), undefined);
});

test("after lost events nothing open is known to be alone", () => {
  const all = requests(true);
  const request = served(1);
  all.requestStarted(request);
  all.eventsLost();
  assert.equal(all.callStarted({ request: mark(1) }, 7), undefined);
});

test("unknown threads draw from a lone request only", () => {
  const all = requests(true);
  const one = served(0);
  all.requestStarted(one);
  assert.equal(all.callStarted({ request: mark(0) }, 7), one);
  all.requestStarted(served(0));
  assert.equal(all.callStarted({ request: mark(0) }, 7), undefined);
});

test("the targets a process calls are bounded", () => {
  const all = requests(true);
  for (let target = 0; target < 5000; target++) all.callStarted({ request: mark(0) }, target);
  const request = served(1);
  all.requestStarted(request);
  assert.equal(all.callStarted({ request: mark(1) }, 4999), undefined, "a target seen lately is remembered");
});
