/**
 * The whole agent on real processes: nothing of ours stands in for the kernel, and nothing in the programs is changed.
 */

import assert from "node:assert/strict";
import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { requireOrSkip } from "../server/platform/test-ability.ts";
import { type ObservedAgent, observeAgent, type PlainSpan } from "./agent.testkit.ts";
import type { AgentMode } from "./agent-message.ts";
import { loopbackPorts } from "./capture/inspected-process.ts";

const run = promisify(execFile);

/** A Node program that asks another server within each request. */
const FRONT = `
import http from "node:http";
const server = http.createServer((request, response) => {
  http.get("http://127.0.0.1:" + process.argv[2] + request.url, (answer) => answer.pipe(response));
});
server.listen(0, "127.0.0.1", () => console.log("port " + server.address().port));
`;

interface Shop {
  readonly backPort: number;
  readonly frontPort: number;
}

/** Starts `python3 -m http.server` and a Node program in front of it. */
async function startShop(t: TestContext): Promise<Shop> {
  const directory = await mkdtemp(join(tmpdir(), "thalweg-shop-"));
  t.after(() => rm(directory, { recursive: true }));
  await writeFile(join(directory, "page.html"), "hello");
  await writeFile(join(directory, "checkout.mjs"), FRONT);
  const back = spawn("python3", ["-u", "-m", "http.server", "0", "--bind", "127.0.0.1"], { cwd: directory });
  t.after(() => back.kill());
  const backPort = await portOf(back);
  const front = spawn(process.execPath, [join(directory, "checkout.mjs"), String(backPort)], { cwd: directory });
  t.after(() => front.kill());
  return { backPort, frontPort: await portOf(front) };
}

function portOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    let text = "";
    child.stdout?.on("data", (bytes: Buffer) => {
      text += String(bytes);
      const port = /port (\d+)/.exec(text)?.[1];
      if (port !== undefined) resolve(Number(port));
    });
    child.on("error", reject);
    child.on("exit", (code) => reject(new Error(`it ended with ${code} before it named its port`)));
  });
}

/** Looks before anything is started; otherwise the test is skipped with what is missing. */
function isAllowed(t: TestContext): boolean {
  const root = process.getuid?.() === 0 ? undefined : "live capture needs root";
  const python = spawnSync("python3", ["--version"]).status === 0 ? undefined : "this machine has no python3";
  return requireOrSkip(t, "capture", root) && requireOrSkip(t, "servers", python);
}

/** An agent on a rung, or undefined where the machine does not allow it; then the test is skipped. */
async function agentOn(t: TestContext, mode: AgentMode): Promise<ObservedAgent | undefined> {
  try {
    const observed = await observeAgent({ mode });
    t.after(() => observed.agent.stop());
    return observed;
  } catch (error) {
    requireOrSkip(t, "capture", error instanceof Error ? error.message : String(error));
    return undefined;
  }
}

/** Spans of one path, for other traffic of the machine is seen too. */
function spansOf(spans: readonly PlainSpan[], name: string): readonly PlainSpan[] {
  return spans.filter((span) => span.name === name);
}

function only(spans: readonly PlainSpan[], service: string, kind: string): PlainSpan {
  const [span, ...more] = spans.filter((candidate) => candidate.service === service && candidate.kind === kind);
  assert.ok(
    span !== undefined && more.length === 0,
    `one ${kind} span of ${service} among ${spans.map((span) => `${span.service} ${span.kind}`)}`,
  );
  return span;
}

for (const mode of ["socket", "syscall"] as const) {
  test(`${mode} rung: curl to Node to Python is one trace with the right names`, async (t) => {
    if (!isAllowed(t)) return;
    const shop = await startShop(t);
    const observed = await agentOn(t, mode);
    if (observed === undefined) return;
    assert.equal(observed.agent.status().tier, mode);
    await run("curl", ["-s", `http://127.0.0.1:${shop.frontPort}/page.html?token=secret`]);
    await observed.until((spans) => spansOf(spans, "GET /page.html").length >= 4, 5000);
    const spans = spansOf(observed.spans, "GET /page.html");
    const curl = only(spans, "curl", "client");
    const served = only(spans, "checkout", "server");
    const call = only(spans, "checkout", "client");
    const back = only(spans, "http.server", "server");
    assert.equal(new Set(spans.map(({ traceId }) => traceId)).size, 1);
    assert.deepEqual(
      [curl, served, call, back].map(({ parentSpanId, linkReason }) => [parentSpanId, linkReason]),
      [
        [0n, ""],
        [curl.spanId, "message"],
        [served.spanId, "thread"],
        [call.spanId, "message"],
      ],
    );
    assert.ok(spans.every(({ source }) => source === "ebpf"));
    const nowNs = BigInt(Date.now()) * 1_000_000n;
    for (const span of spans) {
      assert.ok(nowNs - span.startNs < 10_000_000_000n && span.endNs <= nowNs, "times are those of now");
    }
    const status = await observed.agent.freshStatus();
    const lost = Object.values(status.lost).reduce((sum, count) => sum + count, 0);
    assert.equal(status.seen, status.delivered + lost);
  });
}

test("socket rung: what is excluded is not seen", async (t) => {
  if (!isAllowed(t)) return;
  const shop = await startShop(t);
  try {
    const observed = await observeAgent({ mode: "socket", excludePorts: [shop.backPort] });
    t.after(() => observed.agent.stop());
    await run("curl", ["-s", `http://127.0.0.1:${shop.frontPort}/page.html`]);
    await observed.until((spans) => spansOf(spans, "GET /page.html").length >= 2, 5000);
    await observed.agent.stop();
    const services = spansOf(observed.spans, "GET /page.html").map(({ service, kind }) => `${service} ${kind}`);
    assert.deepEqual(services.sort(), ["checkout server", "curl client"]);
  } catch (error) {
    const isRefused = error instanceof Error && "code" in error && error.code === "capture_failed";
    if (!isRefused) throw error;
    requireOrSkip(t, "capture", error.message);
  }
});

test("packet rung: each call gives both spans, and no parent is guessed", async (t) => {
  if (!isAllowed(t)) return;
  const shop = await startShop(t);
  const observed = await agentOn(t, "packet");
  if (observed === undefined) return;
  assert.equal(observed.agent.status().tier, "packet");
  assert.notEqual(observed.agent.status().lostByTier, "");
  await run("curl", ["-s", `http://127.0.0.1:${shop.frontPort}/page.html`]);
  await observed.until((spans) => spansOf(spans, "GET /page.html").length >= 4, 5000);
  const spans = spansOf(observed.spans, "GET /page.html");
  const served = only(spans, "checkout", "server");
  const back = only(spans, "http.server", "server");
  const call = spans.find(({ spanId }) => spanId === back.parentSpanId);
  assert.ok(call !== undefined);
  assert.equal(back.linkReason, "one-sight");
  assert.equal(call.parentSpanId, 0n);
  assert.notEqual(served.traceId, call.traceId);
  // The socket of a short call may be gone when its owner is looked up: then the name says so, and is not another's.
  assert.match(call.service, /^(checkout|unknown|user:\w+)$/);
  assert.ok(spans.every(({ source }) => source === "packet"));
});

/** A program that reads requests and never answers. */
const SILENT = `
require("node:http").createServer(() => console.log("asked")).listen(0, "127.0.0.1", function () { console.log("port " + this.address().port); });
`;

for (const mode of ["socket", "syscall", "packet"] as const) {
  test(`${mode} rung: a request under way while capture stops is no error`, async (t) => {
    const silent = spawn(process.execPath, ["-e", SILENT]);
    t.after(() => silent.kill());
    const port = await portOf(silent);
    const observed = await agentOn(t, mode);
    if (observed === undefined) return;
    const curl = spawn("curl", ["-s", `http://127.0.0.1:${port}/under-way`]);
    t.after(() => curl.kill());
    await once(silent.stdout, "data");
    // The rungs hand on what they see within some 25 ms.
    await sleep(200);
    await observed.agent.stop();
    assert.deepEqual(spansOf(observed.spans, "GET /under-way"), []);
    assert.ok((observed.agent.status().spans.dropped["capture_ended"] ?? 0) > 0);
  });
}

/** A Node program that asks itself after a timer, for each request. */
const LATER = `
const http = require("node:http");
const server = http.createServer((request, response) => {
  if (request.url === "/asked-later") return setTimeout(() => response.end("x"), 3);
  setTimeout(() => {
    http.get({ host: "127.0.0.1", port: server.address().port, path: "/asked-later" }, (answer) => answer.pipe(response));
  }, Math.random() * 10);
});
server.listen(0, "127.0.0.1", () => console.log("port " + server.address().port));
`;

test("socket rung: a Node process is asked whom its calls are made for where that is allowed, and left as it was", async (t) => {
  if (!isAllowed(t)) return;
  const service = spawn(process.execPath, ["-e", LATER], { stdio: ["ignore", "pipe", "ignore"] });
  t.after(() => service.kill());
  const port = await portOf(service);
  const pid = service.pid ?? 0;
  const observed = await observeAgent({ mode: "socket", injectNode: { kind: "names", names: [String(pid)] } });
  t.after(() => observed.agent.stop());
  const ask = () =>
    Promise.all(Array.from({ length: 8 }, () => fetch(`http://127.0.0.1:${port}/first`).then((one) => one.text())));
  const ownPorts = loopbackPorts(pid);
  const end = performance.now() + 20_000;
  while ((await observed.agent.freshStatus()).inspectors?.processes[0] !== pid) {
    assert.ok(performance.now() < end, JSON.stringify(observed.agent.status().inspectors));
    await ask();
  }
  const calls = () => spansOf(observed.spans, "GET /asked-later").filter(({ kind }) => kind === "client");
  for (let round = 0; round < 5; round++) await ask();
  await observed.until(() => calls().filter(({ linkReason }) => linkReason === "inspector").length >= 36, 8_000);
  const requests = spansOf(observed.spans, "GET /first").filter(({ kind }) => kind === "server");
  for (const { parentSpanId, startNs, endNs } of calls().filter(({ linkReason }) => linkReason === "inspector")) {
    const parent = requests.find(({ spanId }) => spanId === parentSpanId);
    assert.ok(parent !== undefined && parent.startNs <= startNs && endNs <= parent.endNs, "inside of its request");
  }
  await observed.agent.stop();
  for (let waitedMs = 0; waitedMs < 3_000 && loopbackPorts(pid).size > ownPorts.size; waitedMs += 50) await sleep(50);
  assert.deepEqual(loopbackPorts(pid), ownPorts);
  assert.equal(service.exitCode, null);
});

/** A Node program that answers over TLS with a certificate of its own directory. */
const SEALED = `
const { readFileSync } = require("node:fs");
const server = require("node:https").createServer({ key: readFileSync("key.pem"), cert: readFileSync("cert.pem") });
server.on("request", (request, response) => response.end("x"));
server.listen(0, "127.0.0.1", () => console.log("port " + server.address().port));
`;

async function startSealed(t: TestContext): Promise<{ readonly port: number }> {
  const cwd = await mkdtemp(join(tmpdir(), "thalweg-sealed-"));
  t.after(() => rm(cwd, { recursive: true }));
  const files = ["-keyout", "key.pem", "-out", "cert.pem"];
  spawnSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a", ...files], {
    cwd,
  });
  const server = spawn(process.execPath, ["-e", SEALED], { cwd });
  t.after(() => server.kill());
  return { port: await portOf(server) };
}

test("socket rung: a named program that lives for milliseconds is read inside of TLS, once one of it was seen", async (t) => {
  if (!isAllowed(t)) return;
  const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
  if (!requireOrSkip(t, "servers", hasOpenssl ? undefined : "this machine has no openssl")) return;
  const { port } = await startSealed(t);
  const observed = await observeAgent({ mode: "socket", tls: { kind: "names", names: ["curl"] } });
  t.after(() => observed.agent.stop());
  const ask = (path: string) => run("curl", ["-sk", `https://127.0.0.1:${port}${path}`]);
  for (let round = 0; round < 100; round++) {
    await ask("/before");
    await sleep(50);
    if ((await observed.agent.freshStatus()).tls?.probes?.quick.includes("curl")) break;
  }
  for (let round = 0; round < 20; round++) await ask("/named");
  await observed.until((spans) => spansOf(spans, "GET /named").length >= 20, 8000);
  const kinds = spansOf(observed.spans, "GET /named").map(({ service, kind }) => `${service} ${kind}`);
  assert.deepEqual(new Set(kinds), new Set(["curl client"]), "and nobody else is");
  assert.equal(kinds.length, 20);
});

/** Asks once, and ends. */
const ASK_ONCE = `require("node:https").get(process.argv[1], { rejectUnauthorized: false }, (answer) => answer.resume());`;

test("socket rung: a program whose threads have other names is read inside of TLS, whether it lives shortly or not", async (t) => {
  if (!isAllowed(t)) return;
  const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
  if (!requireOrSkip(t, "servers", hasOpenssl ? undefined : "this machine has no openssl")) return;
  const observed = await observeAgent({ mode: "socket", tls: { kind: "names", names: ["node"] } });
  t.after(() => observed.agent.stop());
  const { port } = await startSealed(t);
  const askOnce = (path: string) => run(process.execPath, ["-e", ASK_ONCE, `https://127.0.0.1:${port}${path}`]);
  for (let round = 0; round < 60; round++) {
    await askOnce("/early");
    if ((await observed.agent.freshStatus()).tls?.probes?.quick.includes("node")) break;
  }
  const later = await startSealed(t);
  await sleep(3_000);
  for (let round = 0; round < 5; round++) {
    await askOnce("/short");
    await run("curl", ["-sk", `https://127.0.0.1:${later.port}/lasting`]);
  }
  const kindsOf = (path: string) => spansOf(observed.spans, `GET ${path}`).map(({ kind }) => kind);
  await observed.until(() => kindsOf("/short").length >= 10 && kindsOf("/lasting").length >= 5, 8_000);
  assert.deepEqual(kindsOf("/lasting"), Array(5).fill("server"));
  assert.equal(kindsOf("/short").filter((kind) => kind === "client").length, 5);
});
