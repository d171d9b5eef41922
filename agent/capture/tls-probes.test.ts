/** Probes on a real process, taken off and put on again by its budget, and by their owner's end. */

import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { loadNative, type Native } from "../../bpf/native.ts";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { attachProbes } from "./socket-probes.ts";
import { trySocketRung } from "./socket-rung.ts";
import { readTlsObject, tryTls } from "./tls-attach.ts";
import { type TlsPolicy, TlsProbes } from "./tls-probes.ts";

/** A program that writes to itself by TLS in memory, as often a second as it is told. */
const TALKER = `
import { duplexPair } from "node:stream";
import { readFileSync } from "node:fs";
import tls from "node:tls";
const [left, right] = duplexPair();
const server = new tls.TLSSocket(left, { isServer: true, key: readFileSync("key.pem"), cert: readFileSync("cert.pem") });
const client = tls.connect({ socket: right, rejectUnauthorized: false });
server.resume();
let perTick = 1;
process.stdin.on("data", (text) => { perTick = Number(text); });
client.on("secureConnect", () => {
  console.log("ready");
  setInterval(() => { for (let at = 0; at < perTick; at++) client.write("x"); }, 10);
});
`;

interface Talker {
  readonly child: ChildProcess;
  readonly pid: number;
}

async function startTalker(t: TestContext): Promise<Talker> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-talker-"));
  t.after(() => rmSync(directory, { recursive: true }));
  writeFileSync(join(directory, "talker.mjs"), TALKER);
  const files = ["-keyout", join(directory, "key.pem"), "-out", join(directory, "cert.pem")];
  spawnSync("openssl", ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=a", ...files]);
  const child = spawn(process.execPath, ["talker.mjs"], { cwd: directory, stdio: ["pipe", "pipe", "inherit"] });
  t.after(() => child.kill());
  await new Promise((resolve) => child.stdout?.once("data", resolve));
  return { child, pid: child.pid ?? 0 };
}

/** Where this is not allowed the test is skipped with what is missing. */
function nativeOrSkip(t: TestContext): Native | undefined {
  const tried = trySocketRung();
  const loaded = loadNative();
  const hasOpenssl = spawnSync("openssl", ["version"]).status === 0;
  if (!requireOrSkip(t, "servers", hasOpenssl ? undefined : "this machine has no openssl")) return undefined;
  if (!requireOrSkip(t, "capture", tried.ok ? undefined : tried.why)) return undefined;
  return loaded.ok ? loaded.native : undefined;
}

/** Descriptors of links in this process, from what the kernel says of each. */
function linksHeld(pid: number): number {
  const listed = spawnSync("sh", ["-c", `grep -l "uprobe" /proc/${pid}/fdinfo/* 2>/dev/null | wc -l`], {
    encoding: "utf8",
  });
  return Number(listed.stdout);
}

function probesOf(t: TestContext, native: Native, policy: TlsPolicy) {
  const rung = attachProbes(native, { rung: "socket" });
  const looked: [number, boolean][] = [];
  const probes = new TlsProbes({
    native,
    policy,
    object: readTlsObject(undefined),
    maps: rung.maps,
    pidNamespace: 0,
    excludePids: [process.pid],
    callsPerSecondMax: 500,
    pauseMs: 300,
    lookInto: (pid, isLooked) => looked.push([pid, isLooked]),
  });
  t.after(() => {
    probes.detach();
    probes.close();
    native.detach(rung);
  });
  return { probes, looked };
}

async function tickUntil(probes: TlsProbes, wanted: () => boolean, msMax: number): Promise<boolean> {
  const end = performance.now() + msMax;
  while (performance.now() < end) {
    probes.tick(performance.now());
    if (wanted()) return true;
    await sleep(50);
  }
  return false;
}

test("a process over its budget loses its probes, is told, and has them again later", async (t) => {
  const native = nativeOrSkip(t);
  if (native === undefined) return;
  const talker = await startTalker(t);
  const { probes, looked } = probesOf(t, native, { kind: "names", names: [String(talker.pid)] });
  probes.start(performance.now());
  assert.deepEqual(
    looked.filter(([, isLooked]) => isLooked),
    [[talker.pid, true]],
  );
  assert.ok(await tickUntil(probes, () => probes.counters().seen > 100, 30_000), "calls are seen");
  assert.equal(probes.status().overBudget.length, 0);

  talker.child.stdin?.write("60");
  assert.ok(await tickUntil(probes, () => probes.status().overBudget.length === 1, 30_000), "it is over its budget");
  assert.deepEqual(looked.at(-1), [talker.pid, false]);
  assert.equal(probes.status().detachedOverBudget, 1);
  assert.ok((probes.status().overBudget[0]?.callsPerSecond ?? 0) > 500);

  talker.child.stdin?.write("1");
  assert.ok(await tickUntil(probes, () => probes.status().overBudget.length === 0, 30_000), "it is looked into again");
  assert.deepEqual(looked.at(-1), [talker.pid, true]);
  const { seen } = probes.counters();
  assert.ok(await tickUntil(probes, () => probes.counters().seen > seen + 50, 30_000), "calls are seen again");

  probes.depthChanged(talker.pid, false);
  assert.equal(probes.status().heldBack, 1);
  probes.depthChanged(talker.pid, true);
  assert.deepEqual([probes.status().heldBack, probes.status().processes], [0, 1]);
});

test("a process's end takes its links off; so does the end of the probes", async (t) => {
  const native = nativeOrSkip(t);
  if (native === undefined) return;
  const talker = await startTalker(t);
  const before = linksHeld(process.pid);
  const { probes } = probesOf(t, native, { kind: "names", names: [String(talker.pid)] });
  probes.start(performance.now());
  assert.ok(linksHeld(process.pid) > before, "links are descriptors of this process");
  probes.exited(talker.pid, performance.now());
  assert.equal(probes.status().processes, 0);
  assert.ok(await tickUntil(probes, () => linksHeld(process.pid) === before, 5000), "no link is left");
});

test("tryTls names the way, or says why there is none", (t) => {
  const native = nativeOrSkip(t);
  if (native === undefined) return;
  const tried = tryTls(native, undefined);
  assert.ok("way" in tried, JSON.stringify(tried));
  assert.match(tried.way, /^(uprobe_multi|perf)$/);
  assert.deepEqual("why" in tryTls(native, "/nowhere"), true);
});
