import assert from "node:assert/strict";
import { test } from "node:test";
import type { MessageMark } from "../protocol/exchange.ts";
import type { CallParent } from "./call-parent.ts";
import { type OpenCall, type OpenRequest, ProcessRequests } from "./process-requests.ts";

interface Served extends OpenRequest {
  answering: boolean;
}

const NO_IDS = { carriedId: "", answerId: "" } as const;

function mark(tid: number, lastTid = tid): MessageMark {
  return { startNs: 0, endNs: 0, seq: 0, bytes: 0, tid, pid: 1, lastTid };
}

function served(tid: number, lastTid = tid): Served {
  return {
    request: mark(tid, lastTid),
    alone: true,
    openAt: -1,
    answering: false,
    readerTid: tid,
    endpoint: "",
    ...NO_IDS,
  };
}

function servedAt(startNs: number): Served {
  return { ...served(1), request: { ...mark(1), startNs } };
}

function requests(threads: boolean): ProcessRequests<Served> {
  const all = new ProcessRequests<Served>(() => undefined);
  all.allowThreadProof(threads);
  return all;
}

const NOWHERE = { work: { kind: "", unit: 0, origin: 0 }, cause: undefined } as const;

/** Starts a call of which only its thread is known, and gives its parent. */
function parentOf(all: ProcessRequests<Served>, call: Pick<OpenCall, "request">, target: number): Served | undefined {
  return all.callStarted({ ...call, carriedId: "" }, target, NOWHERE).request;
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
  assert.equal(parentOf(all, { request: mark(2) }, 7), request);
});

test("a finished request is nobody's parent", () => {
  const all = requests(true);
  const request = served(1);
  all.requestStarted(request);
  all.requestFinished(request, mark(1));
  assert.equal(parentOf(all, { request: mark(1) }, 7), undefined);
});

test("a request that ended without an answer is nobody's parent", () => {
  const all = requests(true);
  const request = served(1);
  all.requestStarted(request);
  all.requestAbandoned(request, 1e9);
  assert.equal(parentOf(all, { request: mark(1) }, 7), undefined);
});

test("calls after a request that its client gave up are drawn into none of the next ten seconds", () => {
  const all = requests(true);
  const given = served(1);
  all.requestStarted(given);
  all.requestAbandoned(given, 1e9);
  const next = servedAt(10.9e9);
  all.requestStarted(next);
  assert.equal(parentOf(all, { request: mark(1) }, 7), undefined, "it may be late work of the other");
  all.requestFinished(next, mark(1));
  const later = servedAt(11.1e9);
  all.requestStarted(later);
  assert.equal(parentOf(all, { request: mark(1) }, 8), later);
});

test("two requests open at once: neither draws, also after one of them ended", () => {
  const all = requests(true);
  const [one, two] = [served(1), served(2)];
  all.requestStarted(one);
  all.requestStarted(two);
  assert.equal(parentOf(all, { request: mark(1) }, 7), undefined);
  all.requestFinished(two, mark(2));
  assert.equal(parentOf(all, { request: mark(1) }, 8), undefined, "the call may be late work of the other");
  all.requestFinished(one, mark(1));
  const three = served(1);
  all.requestStarted(three);
  assert.equal(parentOf(all, { request: mark(1) }, 9), three);
});

test("a request whose answer has begun draws no calls", () => {
  const all = requests(true);
  const stream = served(1);
  all.requestStarted(stream);
  stream.answering = true;
  assert.equal(parentOf(all, { request: mark(1) }, 7), undefined);
});

test("calls that are also made while nothing is open are background work", () => {
  const all = requests(true);
  parentOf(all, { request: mark(5) }, 7);
  const request = served(1);
  all.requestStarted(request);
  assert.equal(parentOf(all, { request: mark(5) }, 7), undefined);
  assert.equal(parentOf(all, { request: mark(1) }, 8), request, "another target");
});

test("one call outside is forgiven after many inside", () => {
  const all = requests(true);
  parentOf(all, { request: mark(5) }, 7);
  let drawn = 0;
  for (let at = 0; at < 100; at++) {
    const request = served(1);
    all.requestStarted(request);
    if (parentOf(all, { request: mark(1) }, 7) === request) drawn += 1;
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
  assert.equal(parentOf(all, { request: mark(1) }, 7), one);
  assert.equal(parentOf(all, { request: mark(2) }, 7), two);
  assert.equal(parentOf(all, { request: mark(3) }, 7), undefined, "a thread without a request");
});

test("with proven threads a background thread draws nothing from a lone request", () => {
  const all = requests(true);
  proveThreads(all, 10);
  const request = served(1);
  all.requestStarted(request);
  assert.equal(parentOf(all, { request: mark(99) }, 7), undefined);
  assert.equal(parentOf(all, { request: mark(1) }, 7), request);
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
  assert.equal(parentOf(all, { request: mark(1) }, 7), undefined);
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
  parentOf(reads, { request: mark(1) }, 7);
  reads.requestStarted(served(1));
  assert.equal(reads.threadsProven, false);
  const answers = requests(true);
  proveThreads(answers, 20);
  const request = served(1);
  answers.requestStarted(request);
  const call = { request: mark(1) };
  parentOf(answers, call, 7);
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
  assert.equal(parentOf(all, { request: mark(1) }, 7), undefined);
});

test("after lost events nothing open is known to be alone", () => {
  const all = requests(true);
  const request = served(1);
  all.requestStarted(request);
  all.eventsLost();
  assert.equal(parentOf(all, { request: mark(1) }, 7), undefined);
});

test("unknown threads draw from a lone request only", () => {
  const all = requests(true);
  const one = served(0);
  all.requestStarted(one);
  assert.equal(parentOf(all, { request: mark(0) }, 7), one);
  all.requestStarted(served(0));
  assert.equal(parentOf(all, { request: mark(0) }, 7), undefined);
});

test("the targets a process calls are bounded", () => {
  const all = requests(true);
  for (let target = 0; target < 5000; target++) parentOf(all, { request: mark(0) }, target);
  const request = served(1);
  all.requestStarted(request);
  assert.equal(parentOf(all, { request: mark(1) }, 4999), undefined, "a target seen lately is remembered");
});

const goroutine = (unit: number, origin: number) =>
  ({ work: { kind: "goroutine", unit, origin }, cause: undefined }) as const;

test("a goroutine that a serving one started calls for its request, and never for a later one", () => {
  const all = requests(false);
  all.goroutinesSeen(0);
  proveThreads(all, 10);
  const request = served(901);
  all.requestStarted(request);
  all.requestStarted(served(902));
  const started = { ...NO_IDS, request: mark(77) };
  assert.deepEqual(all.callStarted(started, 7, goroutine(77, 901)), { request, reason: "goroutine-start" });
  all.callFinished(started, mark(901));
  assert.equal(all.callStarted({ ...NO_IDS, request: mark(901) }, 7, goroutine(901, 1)).reason, "goroutine");
  all.callFinished({ ...NO_IDS, request: mark(901) }, mark(901));
  all.requestFinished(request, mark(901));
  all.requestStarted(served(901));
  assert.equal(all.callStarted(started, 7, goroutine(77, 901)).reason, "unit_serves_none");
});

test("a loop's guess is drawn once answers were written for what it says", () => {
  const all = requests(false);
  const work = { kind: "loop", unit: 1, origin: 1 } as const;
  const serve = (isRight: boolean): string => {
    const [one, two] = [served(1), served(1)];
    all.requestStarted(one);
    all.requestStarted(two);
    const call = { ...NO_IDS, request: mark(1) };
    const { reason } = all.callStarted(call, 7, { work, cause: { request: one, byOrder: false } });
    all.callFinished(call, mark(1));
    const cause = { request: isRight ? one : two, byOrder: false };
    all.answerSent(one, { work, cause }, true, { tid: 1, timeNs: 5 });
    all.requestFinished(one, mark(1));
    all.requestFinished(two, mark(1));
    return reason;
  };
  for (let at = 0; at < 20; at++) assert.equal(serve(true), "self_check");
  assert.equal(serve(true), "loop");
  serve(false);
  assert.equal(serve(true), "self_check", "one of 23 was wrong");
});

test("a task's calls are decided by its answer, and by none if it answers nothing", () => {
  const decided: [OpenCall, CallParent<Served>][] = [];
  const all = new ProcessRequests<Served>((call, parent) => decided.push([call, parent]));
  const moment = (task: number) => ({ work: { kind: "task", unit: task, origin: task }, cause: undefined }) as const;
  const at = (startNs: number) => ({ ...mark(1), startNs });
  const servedAtNs = (startNs: number): Served => ({ ...served(1), request: at(startNs) });
  for (let ns = 100; ns < 2100; ns += 100) {
    const [one, two] = [servedAtNs(ns), servedAtNs(ns + 1)];
    all.requestStarted(one);
    all.requestStarted(two);
    for (const [request, task] of [
      [one, ns],
      [two, ns + 1],
    ] as const) {
      all.answerSent(request, moment(task), false, { tid: 1, timeNs: ns + 50 });
      all.requestFinished(request, mark(1));
    }
  }
  const [one, two] = [servedAtNs(5000), servedAtNs(5001)];
  all.requestStarted(one);
  all.requestStarted(two);
  const [first, second, other] = [
    { ...NO_IDS, request: at(5002) },
    { ...NO_IDS, request: at(5003) },
    { ...NO_IDS, request: at(5004) },
  ];
  assert.equal(all.callStarted(first, 7, moment(71)).reason, "undecided");
  assert.equal(all.callStarted(second, 7, moment(72)).reason, "undecided");
  assert.equal(all.callStarted(other, 7, moment(73)).reason, "undecided");
  all.answerSent(two, moment(72), false, { tid: 1, timeNs: 6000 });
  assert.deepEqual(decided, [[second, { request: two, reason: "task" }]]);
  all.requestFinished(two, mark(1));
  all.answerSent(one, moment(71), false, { tid: 1, timeNs: 6001 });
  all.requestFinished(one, mark(1));
  assert.deepEqual(decided.slice(1), [
    [first, { request: one, reason: "task" }],
    [other, { request: undefined, reason: "task_answers_none" }],
  ]);
});

test("an id that one request carried, or its answer, tells whom a call was made for where nothing else does", () => {
  const told: (readonly [OpenCall, CallParent<Served>])[] = [];
  const all = new ProcessRequests<Served>((call, parent) => told.push([call, parent]));
  const [one, two, three] = [
    { ...servedAt(1), carriedId: "id-of-one" },
    { ...servedAt(2), answerId: "id-of-two" },
    { ...servedAt(3), carriedId: "id-again-and" },
  ];
  for (const request of [one, two, three]) all.requestStarted(request);
  const call = (carriedId: string, startNs: number): OpenCall => ({ request: { ...mark(9), startNs }, carriedId });
  const parent = (carriedId: string) => all.callStarted(call(carriedId, 4), 7, NOWHERE);
  assert.deepEqual(parent("id-of-one"), { request: one, reason: "request-id" });
  assert.equal(parent("of-nobody").reason, "undecided");
  const asked = call("id-of-two", 5);
  assert.equal(all.callStarted(asked, 7, NOWHERE).reason, "undecided");
  all.requestFinished(two, mark(1));
  assert.deepEqual(told, [[asked, { request: two, reason: "request-id" }]]);
  const repeated = { ...servedAt(6), carriedId: "id-again-and" };
  all.requestStarted(repeated);
  assert.equal(parent("id-again-and").reason, "several_open_requests", "two requests carry it");
  assert.equal(parent("short").reason, "several_open_requests");
  all.requestFinished(one, mark(1));
  assert.equal(parent("id-of-one").request, undefined, "a finished request is nobody's parent");
  all.requestFinished(three, mark(1));
  all.requestFinished(repeated, mark(1));
  assert.equal(told.at(-1)?.[1].reason, "several_open_requests", "no answer had the id");
});
