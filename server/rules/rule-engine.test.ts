import assert from "node:assert/strict";
import { test } from "node:test";
import { RuleEngine, type RuleFile } from "./rule-engine.ts";
import { ruleBench, SYNTAX } from "./rules-fixture.test.ts";

function file(name: string, ...groups: readonly string[]): RuleFile {
  return { name, text: `groups:\n${groups.map((group) => `- ${group}\n`).join("")}` };
}

const A = "{name: a, interval: 5m, rules: [{record: x, expr: up}]}";
const B = "{name: b, rules: [{alert: Y, expr: up == 0}]}";

test("files are loaded, loaded again, and a load that fails changes nothing", async (t) => {
  const bench = await ruleBench(t);
  let files: readonly RuleFile[] = [file("2.yml", B, A), file("1.yml", A)];
  const engine = new RuleEngine({ ...bench.deps, syntax: SYNTAX, readFiles: async () => files });
  t.after(() => engine.stop());
  const groups = () => engine.groups().map((group) => `${group.file} ${group.name} ${group.intervalSeconds}`);
  assert.deepEqual(await engine.load(), { kind: "loaded", rules: 3, warnings: [] });
  assert.deepEqual(groups(), ["1.yml a 300", "2.yml a 300", "2.yml b 60"]);
  files = [file("1.yml", A), file("2.yml", "{name: c, rules: [{record: x, expr: 'up('}]}")];
  const refused = await engine.load();
  assert.ok(
    refused.kind === "refused" && refused.reasons[0]?.startsWith('2.yml: 2:39: group "c", rule 1, "x": could not'),
  );
  assert.equal(groups().length, 3);
  files = [file("1.yml", A), file("3.yml", B)];
  assert.equal((await engine.load()).kind, "loaded");
  assert.deepEqual(groups(), ["1.yml a 300", "3.yml b 60"]);
  await engine.stop();
});

test("groups are evaluated at their slots", async (t) => {
  const bench = await ruleBench(t);
  const clock = {
    ...bench.clock,
    nowMs: () => Date.now(),
    monotonicMs: () => performance.now(),
    nowUnixNano: () => 0n,
  };
  const iterations: string[] = [];
  const engine = new RuleEngine({
    ...bench.deps,
    clock,
    syntax: SYNTAX,
    readFiles: async () => [file("r.yml", "{name: a, interval: 200ms, rules: [{record: x, expr: vector(1)}]}")],
    onIteration: (group, missed) => iterations.push(`${group} ${missed}`),
  });
  t.after(() => engine.stop());
  await engine.load();
  for (let tries = 0; tries < 300 && iterations.length < 3; tries++) await new Promise((done) => setTimeout(done, 20));
  assert.ok(iterations.length >= 3);
  assert.ok(iterations.every((line) => line.startsWith("r.yml;a ")));
  assert.equal(engine.groups()[0]?.rules[0]?.health, "ok");
  await engine.stop();
  const [series] = await bench.store.reader.select([{ name: "__name__", kind: "=", value: "x" }], 0, Date.now() + 1000);
  const times = [...(series?.timestampsMs ?? [])];
  assert.ok(times.length >= 2);
  for (const [index, time] of times.entries()) {
    const apart = time - (times[index - 1] ?? time);
    assert.ok(apart === 0 ? index === 0 : apart % 200 <= 1 || apart % 200 === 199, `${apart} ms apart`);
  }
});
