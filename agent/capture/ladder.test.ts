import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { tryAbilities } from "./doctor.ts";
import { chooseRung, type LadderDeps } from "./ladder.ts";
import { Collector } from "./packets.testkit.ts";

const deps = (more: Partial<LadderDeps> = {}): LadderDeps => ({
  sink: new Collector(),
  nativeDirectory: undefined,
  excludePids: [process.pid],
  excludePorts: [],
  ...more,
});

test("auto gives a running rung, or a sentence for each that does not run", async () => {
  const outcome = chooseRung({ kind: "auto" }, deps());
  if (outcome.kind === "running") await outcome.rung.stop();
  else {
    assert.deepEqual(
      outcome.refused.map(({ rung }) => rung),
      ["socket", "fexit", "syscall", "packet"],
    );
    assert.ok(outcome.fix !== "" && outcome.lost !== "");
  }
  assert.notEqual(outcome.why, "");
});

test("each rung inside the kernel runs under its own name, or says why not", async () => {
  for (const name of ["socket", "fexit", "syscall"] as const) {
    const outcome = chooseRung({ kind: "rung", rung: name }, deps());
    if (outcome.kind === "running") {
      assert.equal(outcome.rung.name, name);
      await outcome.rung.stop();
    } else {
      assert.match(outcome.why, new RegExp(`^${name} rung: .`));
      assert.notEqual(outcome.fix, "");
    }
  }
});

test("a recording that is not there, a machine without the addon", () => {
  const replay = chooseRung({ kind: "replay", file: "/nonexistent.twcap" }, deps());
  assert.match(replay.why, /nonexistent/);
  const directory = mkdtempSync(join(tmpdir(), "thalweg-ladder-"));
  const bare = chooseRung({ kind: "auto" }, deps({ nativeDirectory: directory }));
  assert.match(bare.why, /no capture addon/);
  const abilities = tryAbilities(directory);
  assert.equal(abilities.find(({ ability }) => ability === "capture addon")?.ok, false);
  writeFileSync(join(directory, "thalweg.node"), "not an addon");
  assert.match(chooseRung({ kind: "auto" }, deps({ nativeDirectory: directory })).why, /does not load/);
  rmSync(directory, { recursive: true });
});

test("each ability that fails says why, what is lost and what to do; one that works at most what it does not reach", () => {
  for (const { ability, ok, why, lost, fix } of tryAbilities(undefined)) {
    assert.equal(why === "" && fix === "", ok, ability);
    if (ok && !/^(TLS of OpenSSL|parents inside|(fexit|syscall|packet) rung)/.test(ability))
      assert.equal(lost, "", ability);
    assert.equal(why !== "" && lost !== "" && fix !== "", !ok, ability);
    assert.ok(!/\.$/.test(why + lost + fix), `${ability}: sentences without a full stop`);
  }
});

/** Runs the ladder in another process under `setpriv`. */
function chooseWith(...privileges: string[]): { status: number | null; text: string } {
  const program = `
    import { chooseRung } from ${JSON.stringify(join(import.meta.dirname, "ladder.ts"))};
    const none = () => {};
    const sink = { opened: none, slice: none, owner: none, closed: none, process: none, processExited: none };
    const outcome = chooseRung({ kind: "auto" }, { sink, excludePids: [], excludePorts: [] });
    const { kind, why, fix, lost } = outcome;
    console.log(JSON.stringify({ kind, name: kind === "running" ? outcome.rung.name : "", why, fix, lost }));
    if (kind === "running") await outcome.rung.stop();`;
  const args = [...privileges, process.execPath, "--input-type=module-typescript", "-e", program];
  const ran = spawnSync("setpriv", args, { encoding: "utf8", timeout: 20_000 });
  return { status: ran.status, text: ran.stdout + ran.stderr };
}

const NO_SETPRIV =
  process.getuid?.() !== 0
    ? "needs root"
    : spawnSync("setpriv", ["--version"]).status === 0
      ? undefined
      : "needs setpriv (util-linux)";

test("without capabilities the missing ones are named, never the memory limit", (t) => {
  if (!requireOrSkip(t, "capture", NO_SETPRIV)) return;
  const { status, text } = chooseWith("--bounding-set=-all", "--inh-caps=-all");
  assert.equal(status, 0, text);
  const outcome = JSON.parse(text);
  assert.equal(outcome.kind, "none");
  assert.match(outcome.why, /CAP_BPF/);
  assert.match(outcome.why, /CAP_PERFMON/);
  assert.match(outcome.why, /CAP_NET_RAW/);
  assert.doesNotMatch(JSON.stringify(outcome), /memlock/i);
});

test("with CAP_NET_RAW alone the packet rung runs and says what is lost", (t) => {
  if (!requireOrSkip(t, "capture", NO_SETPRIV)) return;
  const { status, text } = chooseWith("--bounding-set=-all,+net_raw", "--inh-caps=-all");
  assert.equal(status, 0, text);
  const outcome = JSON.parse(text);
  assert.deepEqual([outcome.kind, outcome.name], ["running", "packet"], text);
  assert.match(outcome.why, /socket rung: CAP_BPF and CAP_PERFMON are missing/);
  assert.notEqual(outcome.lost, "");
  assert.notEqual(outcome.fix, "");
});
