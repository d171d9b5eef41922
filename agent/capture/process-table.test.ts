import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { Collector } from "./packets.testkit.ts";
import {
  cgroupPathNames,
  environValue,
  isGoExecutable,
  languageOfMaps,
  languageOfName,
  parseCgroup,
} from "./process-names.ts";
import { ProcessTable } from "./process-table.ts";

const ID = "0123456789abcdef".repeat(4);
const NOT_LINUX = existsSync("/proc/self/stat") ? undefined : "needs Linux's /proc";

test("cgroup paths: units and containers, of both versions", () => {
  const names = (text: string, unit: string, containerId: string) =>
    assert.deepEqual(parseCgroup(text), { unit, containerId }, text);
  names("0::/system.slice/nginx.service\n", "nginx", "");
  names("12:cpu:/\n1:name=systemd:/system.slice/nginx.service\n0::/\n", "nginx", "");
  names("0::/system.slice/system-postgresql.slice/postgresql@15-main.service", "postgresql@15-main", "");
  names("0::/system.slice/my\\x2dshop.service/worker", "my-shop", "");
  names("0::/user.slice/user-1000.slice/user@1000.service/app.slice/shop.service", "shop", "");
  names("0::/user.slice/user-1000.slice/session-3.scope", "", "");
  names("0::/user.slice/user-1000.slice/user@1000.service/init.scope", "", "");
  names(`0::/system.slice/docker-${ID}.scope`, "", ID);
  names(`5:memory:/docker/${ID}\n0::/\n`, "", ID);
  names(`0::/kubepods.slice/kubepods-pod1.slice/cri-containerd-${ID}.scope`, "", ID);
  names(`0::/system.slice/docker.service/${ID}`, "", ID);
  names("0::/", "", "");
  names("", "", "");
  assert.equal(cgroupPathNames(`/docker/${ID.slice(1)}`).containerId, "", "63 digits are no id");
});

test("only the asked variable is taken from an environment", () => {
  const environ = Buffer.from("A=1\0XOTEL_SERVICE_NAME=no\0OTEL_SERVICE_NAME=shöp=1\0SECRET=x\0EMPTY=\0");
  assert.equal(environValue(environ, "OTEL_SERVICE_NAME"), "shöp=1");
  assert.equal(environValue(environ, "A"), "1");
  assert.equal(environValue(environ, "EMPTY"), "");
  assert.equal(environValue(environ, "MISSING"), "");
  assert.equal(environValue(Buffer.alloc(0), "A"), "");
});

test("languages by name and by mapped libraries", () => {
  for (const [name, language] of [
    ["node", "node"],
    ["nodejs", "node"],
    ["python3.11", "python"],
    ["pypy3", "python"],
    ["java", "java"],
    ["nodeman", ""],
    ["nginx", ""],
  ] as const) {
    assert.equal(languageOfName(name), language, name);
  }
  assert.equal(languageOfMaps("7f00-7f01 r-xp 0 08:01 12 /usr/lib/libpython3.11.so.1.0\n"), "python");
  assert.equal(languageOfMaps("7f00-7f01 r-xp 0 08:01 12 /usr/lib/jvm/lib/server/libjvm.so\n"), "java");
  assert.equal(languageOfMaps("7f00-7f01 r-xp 0 08:01 12 /usr/lib/libnode.so.108\n"), "node");
  assert.equal(languageOfMaps("7f00-7f01 r-xp 0 08:01 12 /usr/lib/libc.so.6\n"), "");
});

const children: ChildProcess[] = [];
after(() => {
  for (const child of children) child.kill("SIGKILL");
});

async function start(command: string, args: readonly string[], env: Record<string, string> = {}): Promise<number> {
  const child = spawn(command, args, { stdio: ["pipe", "pipe", "ignore"], env: { ...process.env, ...env } });
  children.push(child);
  await new Promise((resolve, reject) => child.once("spawn", resolve).once("error", reject));
  return child.pid ?? 0;
}

test("a process as /proc shows it, told once", async (t) => {
  if (!requireOrSkip(t, "servers", NOT_LINUX)) return;
  const before = process.hrtime.bigint();
  const env = { OTEL_SERVICE_NAME: "shop", OTEL_RESOURCE_ATTRIBUTES: "service.version=1", TOP_SECRET: "hunter2" };
  const pid = await start(process.execPath, ["-e", "setInterval(() => {}, 1e6)", "--", "a b"], env);
  const collector = new Collector();
  const table = new ProcessTable(collector);
  const seen = table.processOf(pid, 1) ?? assert.fail("it is alive");
  assert.equal(table.processOf(pid, 2), seen);
  table.processOf(pid, 1e12);
  assert.deepEqual(collector.processes, [seen]);
  assert.equal(seen.exe, process.execPath);
  assert.equal(seen.cwd, process.cwd());
  assert.deepEqual(seen.cmdline.slice(1), ["-e", "setInterval(() => {}, 1e6)", "--", "a b"]);
  assert.deepEqual([seen.otelServiceName, seen.otelResourceAttributes], ["shop", "service.version=1"]);
  assert.equal(seen.language, "node");
  assert.ok(!JSON.stringify(seen).includes("hunter2"));
  // Boot time is not behind the monotonic clock; the kernel counts starts in hundredths of a second.
  assert.ok(seen.startNs >= Number(before) - 2e7, "started after this test began");
});

test("a vanished process is undefined, and told as exited only if it was known", async (t) => {
  if (!requireOrSkip(t, "servers", NOT_LINUX)) return;
  const collector = new Collector();
  const table = new ProcessTable(collector);
  assert.equal(table.processOf(0x7ffffff0, 1), undefined);
  const pid = await start("sleep", ["1000"]);
  table.processOf(pid, 1);
  table.sweep(2);
  assert.deepEqual(collector.exits, []);
  const child = children.at(-1);
  child?.kill("SIGKILL");
  await new Promise((resolve) => child?.once("exit", resolve));
  assert.equal(table.processOf(pid, 3)?.comm, "sleep", "what is known stays known until it is swept");
  table.sweep(4);
  table.sweep(5);
  assert.deepEqual(collector.exits, [pid]);
  assert.equal(table.size, 0);
});

test("exec makes the same process another program", async (t) => {
  if (!requireOrSkip(t, "servers", NOT_LINUX)) return;
  const collector = new Collector();
  const table = new ProcessTable(collector);
  const pid = await start("sh", ["-c", "read go; exec sleep 1000"]);
  const first = table.processOf(pid, 1);
  children.at(-1)?.stdin?.write("go\n");
  for (let tries = 0; tries < 200; tries++) {
    if (table.processOf(pid, 1e12 + tries * 1e10)?.comm === "sleep") break;
    await new Promise((wake) => setTimeout(wake, 10));
  }
  const second = table.processOf(pid, 2e12);
  assert.equal(second?.comm, "sleep");
  assert.equal(second?.startNs, first?.startNs);
  assert.deepEqual(collector.exits, [], "it lives on");
});

test("more processes than allowed: the longest unasked one is forgotten", (t) => {
  if (!requireOrSkip(t, "servers", NOT_LINUX)) return;
  const collector = new Collector();
  const table = new ProcessTable(collector, { processesMax: 1 });
  table.processOf(process.pid, 1);
  table.processOf(process.ppid, 1);
  assert.equal(table.size, 1);
  table.processOf(process.pid, 1);
  assert.equal(collector.processes.length, 3);
});

test("Go executables are told by their build information, stripped or not", (t) => {
  const go = spawnSync("go", ["version"]);
  if (!requireOrSkip(t, "servers", go.status === 0 ? undefined : "needs the Go compiler")) return;
  const directory = mkdtempSync(join(tmpdir(), "thalweg-go-"));
  try {
    writeFileSync(join(directory, "main.go"), "package main\n\nfunc main() {}\n");
    const environment = { ...process.env, GO111MODULE: "off", GOCACHE: join(directory, "cache"), GOFLAGS: "" };
    const build = spawnSync("go", ["build", "-ldflags", "-s -w", "-o", "prog", "main.go"], {
      cwd: directory,
      env: environment,
      encoding: "utf8",
    });
    assert.equal(build.status, 0, build.stderr);
    assert.equal(isGoExecutable(join(directory, "prog")), true);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
  assert.equal(isGoExecutable(process.execPath), false);
  assert.equal(isGoExecutable("/etc/passwd"), false);
  assert.equal(isGoExecutable("/nonexistent"), false);
});
