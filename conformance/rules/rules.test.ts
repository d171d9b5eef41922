import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { requireOrSkip } from "../../server/platform/test-ability.ts";
import { Program, until } from "../program.ts";

const WAIT_MS = 30_000;

const RULES = `groups:
- name: fast
  interval: 1s
  rules:
  - record: two
    expr: vector(2)
  - alert: Always
    expr: two > 1
    labels: {severity: page, value: "{{ $value }}"}
    annotations: {summary: "{{ $labels.alertname }} at {{ $value | humanize }}"}
  - alert: Later
    expr: two > 1
    for: 1h
`;

function directory(t: TestContext): string {
  const path = mkdtempSync(join(tmpdir(), "thalweg-rules-"));
  t.after(() => rmSync(path, { recursive: true, force: true }));
  return path;
}

interface Groups {
  readonly groups: readonly { readonly name: string; readonly rules: readonly Rule[] }[];
}

interface Rule {
  readonly name: string;
  readonly type: string;
  readonly state?: string;
  readonly health: string;
  readonly alerts?: readonly Shown[];
}

interface Shown {
  readonly labels: Record<string, string>;
  readonly annotations: Record<string, string>;
  readonly activeAt: string;
}

async function rulesOf(program: Program): Promise<readonly Rule[]> {
  const { data } = await program.json<{ data: Groups }>("/api/v1/rules");
  return data.groups.flatMap((group) => group.rules);
}

/** Waits until a rule is what the caller wants. */
async function ruleWhen(program: Program, name: string, wants: (rule: Rule) => boolean): Promise<Rule> {
  const rule = await until(
    async () => (await rulesOf(program)).find((one) => one.name === name && wants(one)),
    WAIT_MS,
  );
  assert.ok(rule !== undefined, `${name}: ${JSON.stringify(await rulesOf(program))}\n${program.output}`);
  return rule;
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  await new Promise((resolve) => server.close(resolve));
  return typeof address === "object" && address !== null ? address.port : 0;
}

/** Debian's Alertmanager on a free port; undefined where this machine has none. */
async function alertmanager(t: TestContext, path: string): Promise<string | undefined> {
  const program = "prometheus-alertmanager";
  const found = spawnSync(program, ["--version"]).status === 0;
  if (!requireOrSkip(t, "servers", found ? undefined : `this machine has no ${program}`)) return undefined;
  const config = join(path, "alertmanager.yml");
  writeFileSync(config, "route: {receiver: none}\nreceivers: [{name: none}]\n");
  const port = await freePort();
  const address = `127.0.0.1:${port}`;
  const flags = [
    `--config.file=${config}`,
    `--storage.path=${join(path, "alertmanager")}`,
    `--web.listen-address=${address}`,
    "--cluster.listen-address=",
  ];
  const child = spawn(program, flags, { stdio: "ignore" });
  t.after(async () => {
    const ended = new Promise((resolve) => child.once("exit", resolve));
    child.kill("SIGTERM");
    await ended;
  });
  const isReady = async () => {
    try {
      return (await fetch(`http://${address}/-/ready`)).ok ? true : undefined;
    } catch {
      // It does not listen yet.
      return undefined;
    }
  };
  assert.ok(await until(isReady, WAIT_MS), "the Alertmanager did not come up");
  return `http://${address}`;
}

test("rules run, are shown, loaded again on demand, and stay as they were where a file is wrong", async (t) => {
  const path = directory(t);
  const file = join(path, "rules.yml");
  writeFileSync(file, RULES);
  const program = await Program.start([
    "--capture=off",
    `--rule-files=${path}/*.yml`,
    "--enable-lifecycle",
    "--log-level=warn",
  ]);
  t.after(() => program.discard());
  const always = await ruleWhen(program, "Always", (rule) => rule.state === "firing");
  assert.equal(always.health, "ok");
  assert.deepEqual(always.alerts?.[0]?.labels, { alertname: "Always", severity: "page", value: "2" });
  assert.deepEqual(always.alerts?.[0]?.annotations, { summary: " at 2" });
  await ruleWhen(program, "Later", (rule) => rule.state === "pending");
  assert.deepEqual(await program.promql("two"), [{ metric: { __name__: "two" }, value: 2 }]);
  await until(async () => ((await program.promql("ALERTS")).length === 2 ? true : undefined), WAIT_MS);
  const alerts = await program.promql("count by (alertname, alertstate) (ALERTS)");
  assert.deepEqual(alerts.map(({ metric }) => `${metric["alertname"]} ${metric["alertstate"]}`).sort(), [
    "Always firing",
    "Later pending",
  ]);
  assert.equal((await program.json<{ data: { alerts: unknown[] } }>("/api/v1/alerts")).data.alerts.length, 2);
  assert.ok((await program.counter("thalweg_rule_evaluations_total", `rule_group="${file};fast"`)) >= 3);
  assert.equal(await program.counter("thalweg_rule_evaluation_failures_total"), 0);

  writeFileSync(file, RULES.replace("vector(2)", "vector("));
  const refused = await fetch(`${program.http}/-/reload`, { method: "POST" });
  assert.equal(refused.status, 500);
  assert.match(await refused.text(), /could not parse expression: 1:8: parse error: unclosed left parenthesis/);
  assert.equal(await program.counter("thalweg_rules_reload_successful"), 0);
  assert.equal((await rulesOf(program)).length, 3);

  writeFileSync(file, RULES.replace("record: two", "record: two_more").replaceAll("two > 1", "two_more > 1"));
  process.kill(program.pid, "SIGHUP");
  await ruleWhen(program, "two_more", (rule) => rule.health === "ok");
  assert.equal(await program.counter("thalweg_rules_reload_successful"), 1);
  const goneAlready = async () => ((await program.promql("two")).length === 0 ? true : undefined);
  assert.ok(await until(goneAlready, WAIT_MS), "a series of a rule that is gone goes stale");
});

test("a killed server knows since when alerts are pending once it runs again", async (t) => {
  const file = join(directory(t), "rules.yml");
  writeFileSync(file, RULES);
  const flags = ["--capture=off", `--rule-files=${file}`];
  const before = await Program.start(flags);
  t.after(() => rmSync(before.dataDirectory, { recursive: true, force: true }));
  const pending = await ruleWhen(before, "Later", (rule) => rule.state === "pending");
  const since = Date.parse(pending.alerts?.[0]?.activeAt ?? "");
  const forState = async () => (await before.promql('ALERTS_FOR_STATE{alertname="Later"}'))[0];
  assert.ok(await until(forState, WAIT_MS));
  await before.kill();
  const downMs = Date.now();
  const after = await Program.start(flags, before.dataDirectory);
  t.after(() => after.stop());
  const upMs = Date.now();
  // The time in between does not count, to a second on both sides.
  const isMoved = ({ alerts }: Rule) => {
    const activeAtMs = Date.parse(alerts?.[0]?.activeAt ?? "");
    return activeAtMs >= since - 2000 && activeAtMs <= since + (Date.now() - downMs) + 4000 && activeAtMs < upMs;
  };
  await ruleWhen(after, "Later", (rule) => rule.state === "pending" && isMoved(rule));
});

test("a file that is wrong at the start stops the start", async (t) => {
  const file = join(directory(t), "rules.yml");
  writeFileSync(file, "groups: [{name: a, rules: [{record: x}]}]\n");
  await assert.rejects(Program.start(["--capture=off", `--rule-files=${file}`]), /field 'expr' must be set in rule/);
});

test("an Alertmanager gets alerts, and hears when they end", async (t) => {
  const path = directory(t);
  const address = await alertmanager(t, path);
  if (address === undefined) return;
  const file = join(path, "rules.yml");
  writeFileSync(file, RULES);
  const flags = ["--capture=off", `--rule-files=${file}`, `--alertmanager=${address}/`, "--external-labels=region=eu"];
  const program = await Program.start([...flags, "--external-url=https://thalweg.example/base/"]);
  t.after(() => program.discard());
  type Received = { labels: Record<string, string>; endsAt: string; generatorURL: string; annotations: unknown };
  const received = async () => {
    // The shape of Alertmanager's own API.
    const alerts = (await (await fetch(`${address}/api/v2/alerts?active=true`)).json()) as Received[];
    return alerts.length === 0 ? undefined : alerts;
  };
  const alerts = (await until(received, WAIT_MS)) ?? [];
  assert.deepEqual(
    alerts.map(({ labels, annotations }) => ({ labels, annotations })),
    [
      {
        labels: { alertname: "Always", severity: "page", value: "2", region: "eu" },
        annotations: { summary: " at 2" },
      },
    ],
  );
  assert.equal(alerts[0]?.generatorURL, "https://thalweg.example/base/graph?g0.expr=two+%3E+1&g0.tab=1");
  const shown = await program.json<{ data: { activeAlertmanagers: unknown } }>("/api/v1/alertmanagers");
  assert.deepEqual(shown.data.activeAlertmanagers, [{ url: `${address}/api/v2/alerts` }]);
  assert.ok((await program.counter("thalweg_notifications_sent_total")) >= 1);
  writeFileSync(file, RULES.replace("vector(2)", "vector(0)"));
  process.kill(program.pid, "SIGHUP");
  const ended = async () => {
    const still = ((await (await fetch(`${address}/api/v2/alerts`)).json()) as Received[]).filter(
      ({ endsAt }) => Date.parse(endsAt) > Date.now(),
    );
    return still.length === 0 ? true : undefined;
  };
  assert.ok(await until(ended, WAIT_MS), "the alert ended and the Alertmanager knows");
});

test("`check rules` judges files as promtool does", (t) => {
  const path = directory(t);
  const run = (...words: string[]) =>
    spawnSync(process.execPath, ["--disable-warning=ExperimentalWarning", "server/cli/main.ts", "check", ...words], {
      encoding: "utf8",
      cwd: join(import.meta.dirname, "..", ".."),
    });
  const good = join(path, "good.yml");
  const bad = join(path, "bad.yml");
  writeFileSync(good, RULES);
  writeFileSync(bad, RULES.replace("two > 1", "two >"));
  assert.deepEqual(
    [run("rules", good).status, run("rules", good).stdout],
    [0, `Checking ${good}\n  SUCCESS: 3 rules found\n`],
  );
  const refused = run("rules", good, bad);
  assert.equal(refused.status, 1);
  assert.match(refused.stderr, /FAILED: .*bad\.yml: 8:11: group "fast", rule 2, "Always": could not parse expression/);
  assert.equal(run("rules").status, 2);
  assert.equal(run("rules", join(path, "none.yml")).status, 1);
  const missing = spawnSync("promtool", ["--version"]).status === 0 ? undefined : "this machine has no promtool";
  if (!requireOrSkip(t, "servers", missing)) return;
  assert.equal(spawnSync("promtool", ["check", "rules", good]).status, 0);
  assert.notEqual(spawnSync("promtool", ["check", "rules", bad]).status, 0);
});
