import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { type AddressInfo, connect, createServer } from "node:net";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { loadNative } from "../../bpf/native.ts";
import type { Owner } from "../../server/model/capture-event.ts";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { cgroupTree } from "./cgroup-tree.ts";
import { OwnerLookup } from "./owner-lookup.ts";

const loaded = loadNative();
const NO_ADDON = loaded.ok ? undefined : loaded.why;
const isRoot = process.getuid?.() === 0;
const NO_SETPRIV = !isRoot
  ? "needs root, to be without rights over another user"
  : spawnSync("setpriv", ["--version"]).status === 0
    ? NO_ADDON
    : "needs setpriv (util-linux)";

function makeLookup(lookupsPerSecondMax = 2000): OwnerLookup {
  assert.ok(loaded.ok);
  return new OwnerLookup(loaded.native, { lookupsPerSecondMax });
}

test("both ends of a connection by descriptor, before and after the listener's table was read", async (t) => {
  if (!requireOrSkip(t, "capture", NO_ADDON)) return;
  const owners = makeLookup();
  owners.prepare(1e9);
  const server = createServer();
  t.after(() => server.close());
  server.listen(0, "::");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const client = connect(port, "127.0.0.1");
  t.after(() => client.destroy());
  await once(client, "connect");
  const local = { addr: "127.0.0.1", port: client.localPort ?? 0 };
  const remote = { addr: "127.0.0.1", port };
  assert.deepEqual(owners.ofClient(local, remote, 2e9), { pid: process.pid, ownerBy: "fd", fallbackName: "" });
  assert.deepEqual(owners.ofServer(remote, 2e9), { pid: process.pid, ownerBy: "fd", fallbackName: "" });
  assert.equal(owners.counters.found.fd, 2);
});

test("what nobody owns is unknown, and a TIME_WAIT socket is not root's", async (t) => {
  if (!requireOrSkip(t, "capture", NO_ADDON)) return;
  const owners = makeLookup();
  const nobody = { addr: "127.0.0.1", port: 1 };
  assert.deepEqual(owners.ofClient(nobody, nobody, 1e9), { pid: 0, ownerBy: "port", fallbackName: "unknown" });
  assert.deepEqual(owners.ofServer(nobody, 1e9), { pid: 0, ownerBy: "port", fallbackName: "unknown:1" });

  const server = createServer((socket) => socket.resume());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const remote = { addr: "127.0.0.1", port: (server.address() as AddressInfo).port };
  const client = connect(remote.port, remote.addr);
  await once(client, "connect");
  const local = { addr: "127.0.0.1", port: client.localPort ?? 0 };
  client.end();
  await once(client.resume(), "close");
  server.close();
  const owner = owners.ofClient(local, remote, 2e9);
  assert.deepEqual([owner.pid, owner.ownerBy], [0, "port"], "it closed first, so its end waits out its time");
});

test("look-ups beyond the budget are not made, and counted", (t) => {
  if (!requireOrSkip(t, "capture", NO_ADDON)) return;
  const owners = makeLookup(3);
  const end = { addr: "127.0.0.1", port: 1 };
  for (let asked = 0; asked < 5; asked++) owners.ofClient(end, end, 1e9);
  assert.equal(owners.counters.overBudget, 2);
  owners.ofClient(end, end, 2.1e9);
  assert.equal(owners.counters.overBudget, 2, "a second later there is a new budget");
});

/** Starts a server of another user and gives its port. */
async function serverOf(t: TestContext, uid: number, program: string): Promise<{ child: ChildProcess; port: number }> {
  const code = `${program}; require("http").createServer((q, r) => r.end("hi")).listen(0, "127.0.0.1", function () { console.log(this.address().port); });`;
  const args = [`--reuid=${uid}`, "--clear-groups", process.execPath, "-e", code];
  const child = spawn("setpriv", args, { stdio: ["ignore", "pipe", "inherit"] });
  t.after(() => child.kill());
  const [text] = (await once(child.stdout, "data")) as [Buffer];
  return { child, port: Number(String(text)) };
}

/** Asks for a server's owner from a process that has CAP_NET_RAW and nothing else. */
function ownerWithoutRights(port: number): Owner {
  const program = `
    import { loadNative } from ${JSON.stringify(join(import.meta.dirname, "../../bpf/native.ts"))};
    import { OwnerLookup } from ${JSON.stringify(join(import.meta.dirname, "owner-lookup.ts"))};
    const owners = new OwnerLookup(loadNative().native);
    owners.prepare(1);
    console.log(JSON.stringify(owners.ofServer({ addr: "127.0.0.1", port: ${port} }, 2)));`;
  const privileges = ["--bounding-set=-all,+net_raw", "--inh-caps=-all"];
  const args = [...privileges, process.execPath, "--input-type=module-typescript", "-e", program];
  const { stdout, stderr } = spawnSync("setpriv", args, { encoding: "utf8", timeout: 20_000 });
  assert.ok(stdout.startsWith("{"), stderr);
  return JSON.parse(stdout);
}

test("without the right to look: the one program of a user, else the user, and it is said which", async (t) => {
  if (!requireOrSkip(t, "capture", NO_SETPRIV)) return;
  // A user of our own, so that no other process of the machine is among the candidates.
  const uid = 2_000_000_000 + process.pid;
  const first = await serverOf(t, uid, "1");
  const alone = ownerWithoutRights(first.port);
  if (alone.ownerBy === "fd") return t.skip("this kernel lets processes without rights see each other's descriptors");
  const named = alone.ownerBy === "cgroup" ? alone.fallbackName : `user:${uid}`;
  assert.deepEqual([alone.pid, alone.fallbackName], [first.child.pid, named]);
  const second = await serverOf(t, uid, "2");
  const ambiguous = ownerWithoutRights(first.port);
  assert.deepEqual([ambiguous.pid, ambiguous.ownerBy], [0, alone.ownerBy], "it could be either");
  assert.ok(second.port > 0);
});

test("without the right to look: a client born since the processes were read does not get the name of another", (t) => {
  if (!requireOrSkip(t, "capture", NO_SETPRIV)) return;
  const uid = 2_000_000_000 + process.pid;
  const program = `
    import { spawn, spawnSync } from "node:child_process";
    import { once } from "node:events";
    import { closedProcesses } from ${JSON.stringify(join(import.meta.dirname, "closed-processes.ts"))};
    const as = (...args) => ["--reuid=${uid}", "--clear-groups", "--bounding-set=-all", ...args];
    const daemon = spawn("setpriv", as("sh", "-c", "echo up; read line"), { stdio: ["pipe", "pipe", "inherit"] });
    await once(daemon.stdout, "data");
    process.setgid(1_999_999_999);
    process.setuid(1_999_999_999);
    const closed = closedProcesses();
    const answers = [closed.ownerOf(${uid}, undefined, 1e9, () => true) === daemon.pid];
    spawnSync("true");
    answers.push(closed.ownerOf(${uid}, undefined, 1.1e9, () => true) === undefined);
    answers.push(closed.ownerOf(${uid}, undefined, 1.5e9, () => false) === undefined);
    spawnSync("true");
    answers.push(closed.ownerOf(${uid}, undefined, 2e9, () => true) === daemon.pid);
    daemon.stdin.end();
    console.log(JSON.stringify(answers));`;
  const { stdout, stderr } = spawnSync(process.execPath, ["--input-type=module-typescript", "-e", program], {
    encoding: "utf8",
    timeout: 20_000,
  });
  assert.equal(stdout.trim(), "[true,true,true,true]", stderr);
});

test("cgroups by id", (t) => {
  const tree = cgroupTree();
  assert.equal(tree.find(0n, 1e9), undefined);
  assert.equal(tree.find(0xffff_ffff_ffffn, 1e9), undefined);
  const root = tree.find(1n, 1e9);
  if (!requireOrSkip(t, "servers", root === undefined ? "needs a mounted cgroup2 hierarchy" : undefined)) return;
  assert.equal(root?.name, "");
  assert.equal(cgroupTree("").find(1n, 1e9), undefined, "none is mounted");
});
