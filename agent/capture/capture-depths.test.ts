import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync } from "node:fs";
import { Agent, request } from "node:http";
import { connect } from "node:net";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { loadNative } from "../../bpf/native.ts";
import type { CaptureDepth, CountedCalls } from "../../server/model/capture-event.ts";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { Connections } from "../connection/connections.ts";
import type { KernelRung } from "./socket-probes.ts";
import { type SocketRung, startSocketRung, trySocketRung } from "./socket-rung.ts";

/** Answers with the status that the path names, after the body of the request; `/abort` never does. */
const SERVER = `const s=require("http").createServer((q,r)=>{q.resume();q.on("end",()=>{
  if(q.url==="/abort")return q.socket.destroy();
  const body="x".repeat(q.url==="/big"?200000:20);
  r.writeHead(Number(q.url.slice(1))||200);r.write(body);r.end(body)})}).listen(0,"127.0.0.1",()=>console.log(s.address().port))`;

interface Stage {
  readonly rung: SocketRung;
  readonly port: number;
  readonly pid: number;
  /** Exchanges of the server that were captured, by method and status code, since the last look. */
  takeCaptured(): Map<string, number>;
  takeCounted(): readonly CountedCalls[];
}

async function stage(t: TestContext, name: KernelRung): Promise<Stage | undefined> {
  const tried = trySocketRung(undefined, name);
  if (!tried.ok && name === "fexit") {
    t.skip(tried.why);
    return undefined;
  }
  if (!requireOrSkip(t, "capture", tried.ok ? undefined : `needs CAP_BPF and CAP_PERFMON: ${tried.why}`))
    return undefined;
  const outcome = loadNative();
  assert.ok(outcome.ok);
  const server: ChildProcess = spawn(process.execPath, ["-e", SERVER], { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => server.kill("SIGKILL"));
  assert.ok(server.stdout !== null && server.pid !== undefined);
  const [line] = await once(server.stdout, "data");
  const { pid } = server;
  const captured = new Map<string, number>();
  const connections = new Connections(
    {
      exchangeStarted: () => undefined,
      exchangeFinished: (connection, exchange) => {
        if (connection.side !== "server" || connection.serverOwner?.pid !== pid) return;
        const key = `${exchange.op} ${exchange.response === undefined ? exchange.cutShort : exchange.code}`;
        captured.set(key, (captured.get(key) ?? 0) + 1);
      },
      connectionClosed: () => undefined,
    },
    { redaction: true },
  );
  const rung = startSocketRung({
    sink: connections,
    native: outcome.native,
    rung: name,
    excludePids: [],
    excludePorts: [],
    ownTimer: false,
  });
  t.after(() => rung.stop());
  return {
    rung,
    port: Number(String(line).trim()),
    pid,
    takeCaptured: () => {
      rung.drain();
      rung.drain();
      const taken = new Map(captured);
      captured.clear();
      return taken;
    },
    takeCounted: () => (rung.depths?.takeCounted() ?? []).filter((calls) => calls.pid === pid),
  };
}

function onEachRung(what: string, run: (t: TestContext, rung: KernelRung) => Promise<void>): void {
  for (const rung of ["socket", "fexit", "syscall"] as const) test(`${rung} rung: ${what}`, (t) => run(t, rung));
}

function ask(port: number, agent: Agent, method: string, path: string): Promise<number> {
  return new Promise((resolve) => {
    const asked = request({ host: "127.0.0.1", port, agent, method, path }, (answer) => {
      answer.resume().on("end", () => resolve(answer.statusCode ?? 0));
    });
    asked.on("error", () => resolve(0));
    asked.end(method === "POST" || method === "PUT" ? "b".repeat(70_000) : undefined);
  });
}

/** What was counted, in the words of what is captured. */
function byName(counted: readonly CountedCalls[]): Map<string, number> {
  const names = new Map<string, number>();
  for (const { method, status, calls } of counted) {
    const key = `${method} ${status}`;
    names.set(key, (names.get(key) ?? 0) + calls);
  }
  return names;
}

const sorted = (counts: ReadonlyMap<string, number>): [string, number][] => [...counts].sort();

onEachRung("every exchange is captured or counted, whatever the depth and when it changes", async (t, name) => {
  const staged = await stage(t, name);
  if (staged === undefined) return;
  const { rung, port, pid } = staged;
  const agent = new Agent({ keepAlive: true, maxSockets: 4 });
  t.after(() => agent.destroy());
  const want = new Map<string, number>();
  const captured = new Map<string, number>();
  const counted = new Map<string, number>();
  const add = (to: Map<string, number>, from: ReadonlyMap<string, number>) => {
    for (const [key, count] of from) to.set(key, (to.get(key) ?? 0) + count);
  };
  const depths: CaptureDepth[] = ["full", "counted", "heads", "counted", "full", "counted"];
  for (const depth of depths) {
    const work = ["GET /200", "POST /201", "GET /404", "PUT /503", "DELETE /204", "GET /big"].flatMap((line) =>
      Array.from({ length: 6 }, () => line),
    );
    // The change comes among requests that are under way.
    const asked = work.map(async (line, at) => {
      if (at === 10) rung.depths?.setDepth(pid, depth);
      const [method = "", path = ""] = line.split(" ");
      const status = await ask(port, agent, method, path);
      add(want, new Map([[`${method} ${status}`, 1]]));
    });
    await Promise.all(asked);
    await sleep(20);
    add(captured, staged.takeCaptured());
    add(counted, byName(staged.takeCounted()));
  }
  const all = new Map(captured);
  add(all, counted);
  assert.deepEqual(sorted(all), sorted(want));
  const sum = (counts: ReadonlyMap<string, number>) => [...counts.values()].reduce((a, b) => a + b, 0);
  assert.ok(sum(captured) > 60, `${sum(captured)} captured`);
  assert.ok(sum(counted) > 60, `${sum(counted)} counted`);
  await rung.stop();
  const { seen, delivered, lost } = rung.counters();
  assert.equal(seen, delivered + Object.values(lost).reduce((a, b) => a + b, 0));
  assert.ok(rung.probeCounters().calls_counted > 100);
});

onEachRung("what the kernel counts has the time of its answer, or none", async (t, name) => {
  const staged = await stage(t, name);
  if (staged === undefined) return;
  const { rung, port, pid } = staged;
  rung.depths?.setDepth(pid, "counted");
  const agent = new Agent({ keepAlive: false });
  for (let at = 0; at < 5; at++) assert.equal(await ask(port, agent, "GET", "/200"), 200);
  assert.equal(await ask(port, agent, "GET", "/abort"), 0);
  await sleep(20);
  assert.deepEqual(sorted(staged.takeCaptured()), []);
  const counted = staged.takeCounted();
  assert.deepEqual(sorted(byName(counted)), [
    ["GET 0", 1],
    ["GET 200", 5],
  ]);
  for (const calls of counted) {
    assert.deepEqual([calls.role, calls.server.port, calls.server.addr], ["server", port, "127.0.0.1"]);
    assert.ok(calls.meanNs > 1000 && calls.meanNs < 5e9, `${calls.meanNs}`);
  }
  assert.deepEqual(staged.takeCounted(), []);
  process.kill(pid, "SIGKILL");
  for (let look = 0; existsSync(`/proc/${pid}`) && look < 500; look++) await sleep(20);
  for (let look = 0; look < 6; look++) {
    rung.drain();
    assert.deepEqual(staged.takeCounted(), [], "what is counted of a process is forgotten after its end");
  }
  assert.equal(rung.depths?.holds(pid), false);
});

onEachRung("pipelined requests are captured, whatever the depth", async (t, name) => {
  const staged = await stage(t, name);
  if (staged === undefined) return;
  const { rung, port, pid } = staged;
  rung.depths?.setDepth(pid, "counted");
  const socket = connect({ port, host: "127.0.0.1" });
  let answers = 0;
  socket.on("data", (bytes) => {
    answers += String(bytes).split("HTTP/1.1 200").length - 1;
  });
  const line = "GET /200 HTTP/1.1\r\nHost: h\r\n\r\n";
  socket.write(line.repeat(3));
  await sleep(30);
  socket.write(line);
  await sleep(5);
  socket.write(line.repeat(2));
  for (let turn = 0; turn < 100 && answers < 6; turn++) await sleep(20);
  socket.destroy();
  await sleep(20);
  const found = staged.takeCaptured().get("GET 200") ?? 0;
  const counted = byName(staged.takeCounted()).get("GET 200") ?? 0;
  assert.equal(found + counted, 6);
  assert.ok(found >= 5);
});

onEachRung("a process that is off is lost by count, and the others are not", async (t, name) => {
  const staged = await stage(t, name);
  if (staged === undefined) return;
  const { rung, port, pid } = staged;
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => agent.destroy());
  await ask(port, agent, "GET", "/200");
  rung.drain();
  rung.depths?.takeCalls();
  rung.depths?.setDepth(pid, "off");
  for (let at = 0; at < 10; at++) await ask(port, agent, "GET", "/200");
  await sleep(20);
  rung.drain();
  const { seen, delivered, lost } = rung.counters();
  assert.ok((lost["budget"] ?? 0) >= 20, `${lost["budget"]}`);
  assert.equal(seen, delivered + Object.values(lost).reduce((a, b) => a + b, 0));
  const calls = rung.depths?.takeCalls();
  assert.deepEqual(calls?.get(pid), { captured: 0, heldBack: lost["budget"] });
  assert.ok((calls?.get(process.pid)?.captured ?? 0) >= 20);
  rung.depths?.setDepth(pid, "full");
  staged.takeCaptured();
  for (let at = 0; at < 10; at++) await ask(port, agent, "GET", "/200");
  await sleep(20);
  // Of the first it is not known whether it began before.
  assert.equal(staged.takeCaptured().get("GET 200"), 9);
});
