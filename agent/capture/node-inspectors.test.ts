import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { get } from "node:http";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { describe, type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type { ToldCall } from "../../server/model/capture-event.ts";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { loopbackPorts } from "./inspected-process.ts";
import { NodeInspectors } from "./node-inspectors.ts";

/** Calls itself back for each request, after a timer; ends where it is told to. */
const SERVICE = `
const http = require("node:http");
const server = http.createServer((request, response) => {
  if (request.url === "/end") return response.end("", () => process.exit(7));
  if (request.url === "/back") return setTimeout(() => response.end("x"), 5);
  setTimeout(() => {
    http.get({ port: server.address().port, host: "127.0.0.1", path: "/back", agent: false }, (answer) => {
      console.log(request.socket.remotePort + " " + answer.socket.localPort);
      answer.pipe(response);
    });
  }, Math.random() * 10);
});
server.listen(0, "127.0.0.1", () => console.log("port " + server.address().port));
`;

interface Service {
  readonly child: ChildProcess;
  readonly pid: number;
  readonly port: number;
  readonly lines: string[];
}

function startService(t: TestContext, ...flags: string[]): Promise<Service> {
  return startProgram(t, SERVICE, ...flags);
}

async function startProgram(t: TestContext, script: string, ...flags: string[]): Promise<Service> {
  const child = spawn(process.execPath, [...flags, "-e", script], { stdio: ["ignore", "pipe", "ignore"] });
  t.after(() => child.kill("SIGKILL"));
  const lines: string[] = [];
  child.stdout.setEncoding("utf8").on("data", (text: string) => lines.push(...text.trim().split("\n")));
  await until("it listens", () => lines.length > 0);
  return { child, pid: child.pid ?? 0, port: Number(lines.shift()?.slice("port ".length)), lines };
}

async function until(what: string, isTrue: () => boolean, msMax = 20_000): Promise<void> {
  const end = performance.now() + msMax;
  while (!isTrue()) {
    assert.ok(performance.now() < end, `waited in vain: ${what}`);
    await sleep(20);
  }
}

function ask(port: number, path: string): Promise<void> {
  return new Promise((resolve, reject) => {
    get({ host: "127.0.0.1", port, path, agent: false }, (answer) => answer.resume().on("end", resolve)).on(
      "error",
      reject,
    );
  });
}

/** Inspectors whose owner keeps what it is told. */
function inspectorsOf(t: TestContext) {
  const told: ToldCall[] = [];
  const excluded = new Set<number>();
  const inspectors = new NodeInspectors(
    { kind: "auto" },
    {
      nowNs: () => Number(process.hrtime.bigint()),
      told: (call) => told.push(call),
      telling: () => {},
      exclude: (port, isExcluded) => (isExcluded ? excluded.add(port) : excluded.delete(port)),
    },
  );
  t.after(() => inspectors.stop());
  return { inspectors, told, excluded };
}

const OTHER = process.platform === "linux" ? undefined : "processes are looked at through /proc";

test("two processes tell whom their calls are made for, and nothing is left of it", async (t) => {
  if (!requireOrSkip(t, "capture", OTHER)) return;
  const services = [await startService(t), await startService(t)];
  const { inspectors, told, excluded } = inspectorsOf(t);
  const pids = services.map(({ pid }) => pid);
  await until("both tell", () => {
    inspectors.unsure(pids);
    return inspectors.status().processes.length === 2;
  });
  for (const { port } of services) await Promise.all(Array.from({ length: 20 }, () => ask(port, "/work")));
  await until("all calls are told", () => told.length >= 40);
  for (const { pid, port, lines } of services) {
    const own = told.filter((call) => call.pid === pid).map(({ request, call }) => `${request?.port} ${call.ownPort}`);
    assert.deepEqual(own.sort(), [...lines].sort());
    assert.ok(told.every((call) => call.pid !== pid || (call.request?.ownPort === port && call.call.port === port)));
    assert.equal([...loopbackPorts(pid)].filter((one) => one !== port && excluded.has(one)).length, 1);
  }
  await inspectors.stop();
  await until("the inspectors are closed", () =>
    services.every(({ pid, port }) => [...loopbackPorts(pid)].every((one) => one === port)),
  );
  const before = told.length;
  await ask(services[0]?.port ?? 0, "/work");
  await sleep(100);
  assert.equal(told.length, before);
  assert.equal(excluded.size, 0);
});

test("a process that tells may end whenever it likes", async (t) => {
  if (!requireOrSkip(t, "capture", OTHER)) return;
  const { child, pid, port } = await startService(t);
  const { inspectors } = inspectorsOf(t);
  inspectors.unsure([pid]);
  await until("it tells", () => inspectors.status().processes.length === 1);
  const ended = once(child, "exit");
  await ask(port, "/end").catch(() => {});
  const outcome = await Promise.race([ended, sleep(5_000, "it hangs")]);
  assert.deepEqual(outcome, [7, null]);
  await until("it is forgotten", () => inspectors.status().processes.length === 0);
});

test("processes that are not Node, that are inspected, elsewhere than on loopback, or that have no handler are sent no signal", async (t) => {
  if (!requireOrSkip(t, "capture", OTHER)) return;
  const { inspectors } = inspectorsOf(t);
  const sleeper = spawn("sleep", ["60"]);
  t.after(() => sleeper.kill());
  const inspected = await startService(t, "--inspect=127.0.0.1:0");
  const deaf = await startService(t, "--disable-sigusr1");
  const open = await startService(t, "--inspect-port=0.0.0.0:9231");
  const anywhere = await startService(t, "--inspect-port", "0");
  for (const pid of [sleeper.pid ?? 0, inspected.pid, deaf.pid, open.pid, anywhere.pid]) inspectors.unsure([pid]);
  assert.deepEqual(inspectors.status(), {
    processes: [],
    refused: { not_node: 1, inspector_in_use: 1, no_signal_handler: 1, inspector_elsewhere: 2 },
    told: 0,
    dropped: 0,
  });
  await sleep(200);
  assert.deepEqual([sleeper.exitCode, inspected.child.exitCode, deaf.child.exitCode], [null, null, null]);
});

/** Opens one port of loopback after the other, and says of each that somebody connected to it. */
const PORTS = `${SERVICE}
const servers = [];
setInterval(() => {
  servers.push(require("node:net").createServer(() => console.log("touched")).listen(0, "127.0.0.1"));
  if (servers.length > 50) servers.shift().close();
}, 2);
`;

test("ports that the program opens meanwhile are not connected to", async (t) => {
  if (!requireOrSkip(t, "capture", OTHER)) return;
  const { child, pid, lines } = await startProgram(t, PORTS, `--inspect-port=${await freePort()}`);
  const { inspectors } = inspectorsOf(t);
  inspectors.unsure([pid]);
  await until("it tells", () => inspectors.status().processes.length === 1);
  await inspectors.stop();
  assert.deepEqual(lines, []);
  assert.equal(child.exitCode, null);
});

/** Publishes what nobody expects on the channels that are listened to. */
const ODD = `${SERVICE}
const { channel } = require("node:diagnostics_channel");
const names = ["http.server.request.start", "http.client.request.start", "http.client.response.finish"];
names.push("undici:request:create", "undici:client:sendHeaders", "undici:request:headers");
let rounds = 0;
setInterval(() => {
  for (const name of names) for (const odd of [{}, { request: 1 }, undefined, { request: {} }]) channel(name).publish(odd);
  const tell = globalThis[Object.getOwnPropertyNames(globalThis).find((name) => name.startsWith("thalweg"))];
  const far = "- 0 0 0 1 2 " + (process.hrtime.bigint() + 10n ** 15n);
  for (const odd of ["", "- 0 0 0 1 2 1e30", "- 0 0 0 1 2 x", far, "y ".repeat(50_000)]) tell?.(odd);
  if (names.every((name) => channel(name).hasSubscribers) && ++rounds === 5) console.log("survived");
}, 10);
`;

test("a program that publishes anything on Node's channels goes on, and what it tells of no time is not taken", async (t) => {
  if (!requireOrSkip(t, "capture", OTHER)) return;
  const { child, pid, lines } = await startProgram(t, ODD, `--inspect-port=${await freePort()}`);
  const { inspectors, told } = inspectorsOf(t);
  inspectors.unsure([pid]);
  await until("it was listened to", () => lines.length > 0 || child.exitCode !== null);
  assert.deepEqual([lines, child.exitCode], [["survived"], null]);
  await sleep(100);
  assert.deepEqual(told, []);
});

/** Its loop is held up for some seconds where it is told so: where V8 still takes turns of its own, and where it does not. */
const HELD = `${SERVICE}
server.on("request", ({ url }) => {
  if (url === "/wait") Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5000);
  if (url === "/run") require("node:child_process").execFileSync("sleep", ["5"]);
});
`;

test("a process may be asked by one agent after the other", async (t) => {
  if (!requireOrSkip(t, "capture", OTHER)) return;
  const { pid, port } = await startService(t, `--inspect-port=${await freePort()}`);
  for (let round = 0; round < 2; round++) {
    const { inspectors } = inspectorsOf(t);
    inspectors.unsure([pid]);
    await until("it tells", () => inspectors.status().processes.length === 1);
    await inspectors.stop();
    await until("it is closed", () => [...loopbackPorts(pid)].every((one) => one === port));
  }
});

/** Asks a process, says so, and is killed. */
const OPENER = `
import { NodeInspectors } from ${JSON.stringify(join(import.meta.dirname, "node-inspectors.ts"))};
const owner = { nowNs: () => Number(process.hrtime.bigint()), told: () => {}, exclude: () => {} };
const inspectors = new NodeInspectors({ kind: "auto" }, { ...owner, telling: () => console.log("tells") });
inspectors.unsure([Number(process.argv[1])]);
setInterval(() => {}, 1000);
`;

/** Says how much of what was injected is left. */
const LEFT = `${SERVICE}
const { channel } = require("node:diagnostics_channel");
setInterval(() => {
  const own = Object.getOwnPropertyNames(globalThis).filter((name) => name.startsWith("thalweg"));
  const isListened = channel("undici:request:create").hasSubscribers;
  const place = globalThis[Symbol.for("thalweg.inspector")];
  console.log([own.length, isListened, typeof place, require("node:inspector").url() === undefined].join(" "));
}, 100);
`;

// Each waits most of the time, for a process with a port of its own.
describe("inspectors that open late, elsewhere or never", { concurrency: true }, () => {
  test("a process whose port is taken is asked again once it is free", async (t) => {
    if (!requireOrSkip(t, "capture", OTHER)) return;
    const blocker = createServer().listen(0, "127.0.0.1");
    await once(blocker, "listening");
    // Listening on a port gives an address of this form.
    const taken = (blocker.address() as AddressInfo).port;
    const { pid } = await startService(t, `--inspect-port=${taken}`);
    t.after(() => blocker.close());
    const { inspectors } = inspectorsOf(t);
    const isTold = () => {
      inspectors.unsure([pid]);
      return inspectors.status().processes.length === 1;
    };
    await until("it was tried in vain", () => isTold() || inspectors.status().refused["port_taken"] === 1);
    assert.deepEqual(inspectors.status().processes, []);
    blocker.close();
    await until("it tells", isTold, 20_000);
  });

  for (const path of ["/wait", "/run"])
    test(`an inspector that opens when nobody waits any more is closed: ${path}`, async (t) => {
      if (!requireOrSkip(t, "capture", OTHER)) return;
      const { pid, port } = await startProgram(t, HELD, `--inspect-port=${await freePort()}`);
      const { inspectors } = inspectorsOf(t);
      const held = ask(port, path);
      await sleep(300);
      inspectors.unsure([pid]);
      await until("nobody waits", () => inspectors.status().refused["not_opened"] === 1);
      await held;
      await sleep(500);
      await until("only its own port is open", () => [...loopbackPorts(pid)].every((one) => one === port), 6_000);
      inspectors.unsure([pid]);
      await until("it is asked again", () => {
        inspectors.unsure([pid]);
        return inspectors.status().processes.length === 1;
      });
    });

  test("an inspector that opens on another port than that of its flags is closed", async (t) => {
    if (!requireOrSkip(t, "capture", OTHER)) return;
    const [flag, own] = [await freePort(), await freePort()];
    const moved = `${SERVICE} process.debugPort = ${own};`;
    const { pid, port } = await startProgram(t, moved, `--inspect-port=${flag}`);
    const { inspectors } = inspectorsOf(t);
    inspectors.unsure([pid]);
    await until("it opened", () => loopbackPorts(pid).has(own));
    await until("it is closed", () => [...loopbackPorts(pid)].every((one) => one === port));
  });

  test("a process takes everything back by itself where the agent was killed", { timeout: 60_000 }, async (t) => {
    if (!requireOrSkip(t, "capture", OTHER)) return;
    const { child, pid, port, lines } = await startProgram(t, LEFT, `--inspect-port=${await freePort()}`);
    const opener = spawn(process.execPath, ["--input-type=module", "-e", OPENER, String(pid)]);
    t.after(() => opener.kill("SIGKILL"));
    await once(opener.stdout, "data");
    await until("it is listened to", () => lines.at(-1) === "1 true object false");
    opener.kill("SIGKILL");
    await until("nothing is left", () => lines.at(-1) === "0 false undefined true", 25_000);
    assert.deepEqual([...loopbackPorts(pid)], [port]);
    await ask(port, "/work");
    assert.equal(child.exitCode, null);
  });
});

async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  // Listening on a port gives an address of this form.
  const { port } = server.address() as AddressInfo;
  server.close();
  return port;
}
