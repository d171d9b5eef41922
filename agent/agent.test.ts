import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { CaptureSink } from "../server/model/capture-event.ts";
import { ThalwegError } from "../server/model/errors.ts";
import { observeAgent } from "./agent.testkit.ts";
import { createTwcap, recordingSink } from "./capture/twcap.ts";
import { processSeen } from "./span/traffic.testkit.ts";

const directory = await mkdtemp(join(tmpdir(), "thalweg-agent-"));
after(() => rm(directory, { recursive: true }));

const nothing = () => {};
const NOWHERE: CaptureSink = {
  opened: nothing,
  slice: nothing,
  owner: nothing,
  closed: nothing,
  process: nothing,
  processExited: nothing,
};

/** A recording of two requests, each seen at both ends. */
function record(): string {
  const file = join(directory, "two.twcap");
  const settings = { rung: "socket", bootToUnixNano: 0n, compression: "none", fileBytesMax: 1e6 } as const;
  const writer = createTwcap(file, settings);
  const sink = recordingSink(NOWHERE, writer);
  sink.process(processSeen(10, "curl"));
  sink.process(processSeen(20, "shop"));
  const client = { addr: "127.0.0.1", port: 40_000 };
  const server = { addr: "127.0.0.1", port: 8080 };
  let timeNs = 5e12;
  for (const [socket, local, remote, pid] of [
    [1, client, server, 10],
    [2, server, client, 20],
  ] as const) {
    const owner = { pid, ownerBy: "hook", fallbackName: "" } as const;
    const role = socket === 1 ? ("client" as const) : ("server" as const);
    const ends = { local, remote, localOwner: owner, remoteOwner: undefined };
    sink.opened({ socket, sight: "end", role, netns: 1, joinedLate: false, timeNs, ...ends });
  }
  const seq = { request: 100, response: 9000 };
  for (const path of ["/a", "/b"]) {
    const request = Buffer.from(`GET ${path} HTTP/1.1\r\nHost: shop\r\n\r\n`);
    const response = Buffer.from("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    for (const [socket, direction, bytes, pid] of [
      [1, 0, request, 10],
      [2, 1, request, 20],
      [2, 0, response, 20],
      [1, 1, response, 10],
    ] as const) {
      timeNs += 1e6;
      const first = bytes === request ? seq.request : seq.response;
      sink.slice({ socket, direction, timeNs, seq: first, total: bytes.length, bytes, tid: pid, pid });
    }
    seq.request += request.length;
    seq.response += response.length;
  }
  for (const socket of [1, 2]) sink.closed(socket, timeNs, false);
  writer.close();
  return file;
}

test("a recording becomes spans of now", async (t) => {
  const file = record();
  const beforeNs = BigInt(Date.now()) * 1_000_000n - 1_000_000_000n;
  const { agent, spans, until } = await observeAgent({ mode: `replay:${file}` });
  t.after(() => agent.stop());
  await until((seen) => seen.length >= 4, 5000);
  assert.deepEqual(spans.map(({ service, kind, name, source }) => `${service} ${kind} ${name} ${source}`).sort(), [
    "curl client GET /a replay",
    "curl client GET /b replay",
    "shop server GET /a replay",
    "shop server GET /b replay",
  ]);
  assert.equal(new Set(spans.map(({ traceId }) => traceId)).size, 2);
  for (const span of spans) assert.ok(span.startNs > beforeNs && span.endNs > span.startNs);
  const status = await agent.freshStatus();
  assert.equal(status.tier, "replay");
  assert.equal(status.replayFile, file);
  assert.ok((status.recordedAtMs ?? 0) > Date.now() - 60_000);
  assert.equal(status.seen, status.delivered);
  assert.equal(status.exported.delivered, 4);
  agent.stopReplay("a live span arrived");
  assert.equal((await agent.freshStatus()).tier, "replay", "what was asked for plays on");
  await agent.stop();
});

test("each pass of a looping recording has ids of its own, and a live span ends it", async (t) => {
  const { agent, spans, until } = await observeAgent({
    mode: "auto",
    fallbackReplay: record(),
    // A directory without the addon: no live rung can work.
    nativeDirectory: directory,
  });
  t.after(() => agent.stop());
  assert.equal(agent.status().tier, "replay");
  assert.match(agent.status().why, /addon/);
  assert.ok(agent.status().abilities.every(({ ok }) => !ok));
  await until((seen) => seen.length >= 8, 8000);
  assert.equal(new Set(spans.map(({ spanId }) => spanId)).size, spans.length);
  assert.equal(new Set(spans.map(({ traceId }) => traceId)).size, spans.length / 2);
  agent.stopReplay("a live span arrived");
  const status = await agent.freshStatus();
  assert.equal(status.tier, "off");
  assert.equal(status.why, "a live span arrived");
  await agent.stop();
});

test("auto without a rung and without a recording captures nothing and says why", async (t) => {
  const { agent } = await observeAgent({ mode: "auto", nativeDirectory: directory });
  t.after(() => agent.stop());
  const status = agent.status();
  assert.equal(status.tier, "off");
  assert.match(status.why, /socket rung.*packet rung/);
  assert.notEqual(status.lostByTier, "");
  await agent.stop();
});

test("a rung that was asked for and cannot start is an error with a way out", async () => {
  const nativeDirectory = join(directory, "nothing");
  await assert.rejects(observeAgent({ mode: "syscall", nativeDirectory }), (error) => {
    assert.ok(error instanceof ThalwegError);
    assert.equal(error.code, "capture_failed");
    assert.match(error.message, /syscall/);
    return true;
  });
  await assert.rejects(observeAgent({ mode: `replay:${join(directory, "missing.twcap")}` }), /missing\.twcap/);
});

test("off starts, answers and stops", async (t) => {
  const { agent, statuses } = await observeAgent({ mode: "off" });
  t.after(() => agent.stop());
  assert.equal((await agent.freshStatus()).tier, "off");
  await agent.stop();
  await agent.stop();
  assert.ok(statuses.length > 0);
});

test("a thread that dies ends capture, not the server", async (t) => {
  const failure = Promise.withResolvers<Error>();
  const source = `
    const { parentPort } = require("node:worker_threads");
    parentPort.postMessage({ kind: "started", status: { tier: "off", why: "" } });
    setTimeout(() => { throw new Error("planted"); }, 50);
  `;
  const { agent } = await observeAgent({ worker: { source, evaluate: true }, onFailure: failure.resolve });
  t.after(() => agent.stop());
  assert.match((await failure.promise).message, /planted/);
  assert.match(agent.status().why, /planted/);
  assert.equal(agent.status().tier, "off");
  assert.equal((await agent.freshStatus()).tier, "off");
  await agent.stop();
});
