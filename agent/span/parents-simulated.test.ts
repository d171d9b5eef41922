/**
 * Simulated schedulers with ground truth: whatever the interleaving, a drawn parent is the true one.
 */

import assert from "node:assert/strict";
import { test } from "node:test";
import type { ProcessSeen } from "../../server/model/capture-event.ts";
import { processSeen, randomFrom, type Sight, Traffic } from "./traffic.testkit.ts";

const PID = 50;

interface Job {
  readonly served: Sight;
  readonly readBy: number;
  callsLeft: number;
  call: Sight | undefined;
  callBy: number;
}

interface Scheduler {
  readonly language: ProcessSeen["language"];
  /** Thread that reads the next request; undefined where none is free. */
  readonly reader: (random: () => number, open: readonly Job[]) => number | undefined;
  /** Thread that makes a call or writes an answer for a job. */
  readonly worker: (random: () => number, job: Job) => number;
  /** Share of turns in which a timer or worker calls by itself. */
  readonly background: number;
  readonly requestsOpenMax: number;
}

interface Outcome {
  readonly drawn: number;
  readonly wrong: number;
  readonly calls: number;
}

/** Plays `turns` random turns and compares the parents drawn with the true ones. */
function simulate(scheduler: Scheduler, seed: number, turns: number): Outcome {
  const random = randomFrom(seed);
  const traffic = new Traffic();
  traffic.room.process(processSeen(PID, "app", scheduler.language));
  const truth = new Map<number, number>();
  const open: Job[] = [];
  const background: Sight[] = [];
  let port = 1024;
  let calls = 0;
  const call = (tid: number, endpoint: string, parentPort: number): Sight => {
    port += 1;
    calls += 1;
    truth.set(port, parentPort);
    const sight = traffic.sight("client", port, 1, tid, { clientPid: PID, serverPort: 9000 });
    sight.exchange.endpoint = endpoint;
    return sight.start();
  };
  // A worker that calls by itself begins before there are requests; a first call made inside one would look like its own.
  if (scheduler.background > 0) background.push(call(7777, "GET /poll", 0));
  for (let turn = 0; turn < turns; turn++) {
    traffic.nowNs += 1e5;
    if (turn % 50 === 0) traffic.room.tick(traffic.nowNs);
    if (random() < scheduler.background) {
      const pending = background.pop();
      if (pending === undefined) background.push(call(7777, "GET /poll", 0));
      else pending.finish();
      continue;
    }
    const reader = scheduler.reader(random, open);
    if (reader !== undefined && open.length < scheduler.requestsOpenMax && random() < 0.4) {
      port += 1;
      const served = traffic.sight("server", port, 1, reader, { serverPid: PID, serverPort: 80 });
      served.start();
      open.push({ served, readBy: reader, callsLeft: Math.floor(random() * 3), call: undefined, callBy: 0 });
      continue;
    }
    const at = Math.floor(random() * open.length);
    const job = open[at];
    if (job === undefined) continue;
    if (job.call !== undefined) {
      job.call.finish(200, job.callBy);
      job.call = undefined;
    } else if (job.callsLeft > 0) {
      job.callsLeft -= 1;
      job.callBy = scheduler.worker(random, job);
      job.call = call(job.callBy, "GET /item", job.served.connection.client.port);
    } else {
      job.served.finish(200, scheduler.worker(random, job));
      open.splice(at, 1);
    }
  }
  traffic.pass(1000);
  traffic.room.flush();
  return compare(traffic, truth, calls);
}

function compare(traffic: Traffic, truth: ReadonlyMap<number, number>, calls: number): Outcome {
  const serverPortBySpan = new Map<bigint, number>();
  for (const span of traffic.sent) if (span.kind === 2) serverPortBySpan.set(span.spanId, span.clientPort);
  let drawn = 0;
  let wrong = 0;
  for (const span of traffic.sent) {
    if (span.kind !== 3 || span.linkReason !== "thread") continue;
    const parent = serverPortBySpan.get(span.parentSpanId);
    // The parent may still be open at the end of the simulation; then it is not among the spans.
    if (parent === undefined) continue;
    drawn += 1;
    if (parent !== truth.get(span.clientPort)) wrong += 1;
  }
  return { drawn, wrong, calls };
}

function total(scheduler: Scheduler, seeds: number, turns: number): Outcome {
  let [drawn, wrong, calls] = [0, 0, 0];
  for (let seed = 1; seed <= seeds; seed++) {
    const outcome = simulate(scheduler, seed, turns);
    drawn += outcome.drawn;
    wrong += outcome.wrong;
    calls += outcome.calls;
  }
  return { drawn, wrong, calls };
}

const freeThread =
  (threads: number) =>
  (random: () => number, open: readonly Job[]): number | undefined => {
    const start = Math.floor(random() * threads);
    for (let step = 0; step < threads; step++) {
      const tid = 100 + ((start + step) % threads);
      if (!open.some((job) => job.readBy === tid)) return tid;
    }
    return undefined;
  };

const ONE_LOOP = { reader: () => 50, worker: () => 50 };

test("an event loop under concurrency: no wrong parent", () => {
  const loop = { language: "node" as const, ...ONE_LOOP, background: 0, requestsOpenMax: 24 };
  assert.equal(total(loop, 20, 2000).wrong, 0);
});

test("an event loop of an unknown runtime: no wrong parent", () => {
  const loop = { language: "" as const, ...ONE_LOOP, background: 0, requestsOpenMax: 6 };
  assert.equal(total(loop, 20, 2000).wrong, 0);
});

test("an event loop with one request at a time: all parents", () => {
  const loop = { language: "node" as const, ...ONE_LOOP, background: 0, requestsOpenMax: 1 };
  const { drawn, wrong, calls } = total(loop, 5, 2000);
  assert.equal(wrong, 0);
  assert.ok(drawn >= calls - 5, `${drawn} of ${calls}`);
});

test("a thread per request: all parents once it is proven, none wrong", () => {
  const threads: Scheduler = {
    language: "python",
    reader: freeThread(8),
    worker: (_, job) => job.readBy,
    background: 0,
    requestsOpenMax: 8,
  };
  const { drawn, wrong, calls } = total(threads, 5, 6000);
  assert.equal(wrong, 0);
  assert.ok(drawn > 0.9 * calls, `${drawn} of ${calls}`);
});

test("a thread per request beside a background thread: none wrong", () => {
  const threads: Scheduler = {
    language: "java",
    reader: freeThread(8),
    worker: (_, job) => job.readBy,
    background: 0.2,
    requestsOpenMax: 8,
  };
  const { drawn, wrong } = total(threads, 5, 6000);
  assert.equal(wrong, 0);
  assert.ok(drawn > 0);
});

test("goroutines on any thread: no wrong parent", () => {
  const anyThread = (random: () => number) => 100 + Math.floor(random() * 4);
  const go: Scheduler = { language: "go", reader: anyThread, worker: anyThread, background: 0, requestsOpenMax: 4 };
  assert.equal(total(go, 20, 2000).wrong, 0);
});

test("work stealing in a runtime that is not known: no wrong parent", () => {
  const anyThread = (random: () => number) => 100 + Math.floor(random() * 4);
  const stealing = {
    language: "native" as const,
    reader: anyThread,
    worker: anyThread,
    background: 0,
    requestsOpenMax: 4,
  };
  assert.equal(total(stealing, 20, 2000).wrong, 0);
});

test("several loops that share their clients' connections: no wrong parent", () => {
  // Requests are read and answered by one of two loops; a call goes out on the loop that owns the pooled connection.
  const loops: Scheduler = {
    language: "java",
    reader: (random) => 100 + Math.floor(random() * 2),
    worker: (random) => 100 + Math.floor(random() * 2),
    background: 0,
    requestsOpenMax: 3,
  };
  assert.equal(total(loops, 20, 3000).wrong, 0);
});

test("a pool that reads on one thread and works on others: no wrong parent", () => {
  const pool: Scheduler = {
    language: "java",
    reader: () => 99,
    worker: (_, job) => 100 + (job.served.connection.client.port % 4),
    background: 0,
    requestsOpenMax: 4,
  };
  assert.equal(total(pool, 20, 2000).wrong, 0);
});
