import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { requireOrSkip } from "../platform/test-ability.ts";
import { readRuleFile } from "./rule-file.ts";
import { SYNTAX } from "./rules-fixture.test.ts";

const GOOD = `
groups:
- name: requests
  interval: 30s
  query_offset: 1m
  limit: 10
  labels: {team: web, tier: "1"}
  rules:
  - record: job:requests:rate5m
    expr: sum by(job) (rate(requests_total[5m]))
    labels:
      tier: front
      port: 8080
  - alert: Slow
    expr: |
      job:latency:p99
        > 0.5
    for: 1h30m
    keep_firing_for: 5m
    labels: {severity: page, where: "{{ $labels.instance }}"}
    annotations:
      summary: "{{ $labels.job }} is slow: {{ $value | humanizeDuration }}"
- name: empty
  rules: []
`;

/** Files that Prometheus refuses too, with what is wrong in its words. */
const BAD: readonly (readonly [text: string, reason: string])[] = [
  [
    "groups:\n- name: a\n  rules:\n  - record: x\n    expr: sum(\n",
    'x.yml: 5:11: group "a", rule 1, "x": could not parse expression: 1:5: parse error: unclosed left parenthesis',
  ],
  [
    "groups:\n- name: a\n  rules:\n  - record: x\n    alert: y\n    expr: up\n",
    `x.yml: 4:13: 5:12: group "a", rule 1, "y": only one of 'record' and 'alert' must be set`,
  ],
  [
    "groups:\n- name: a\n  rules:\n  - expr: up\n",
    `x.yml: 0:0: 0:0: group "a", rule 1, "": one of 'record' or 'alert' must be set`,
  ],
  [
    "groups:\n- name: a\n  rules:\n  - record: x\n",
    `x.yml: 0:0: group "a", rule 1, "x": field 'expr' must be set in rule`,
  ],
  [
    "groups:\n- name: a\n  rules:\n  - {record: x, expr: up, for: 5m}\n",
    `x.yml: 4:14: group "a", rule 1, "x": invalid field 'for' in recording rule`,
  ],
  [
    "groups:\n- name: a\n  rules:\n  - {record: 'x{a=\"b\"}', expr: up}\n",
    'x.yml: 4:14: group "a", rule 1, "x{a=\\"b\\"}": braces present in the recording rule name; should it be in expr?: x{a="b"}',
  ],
  [
    "groups:\n- name: a\n  rules:\n  - {record: x, expr: up, labels: {__name__: y}}\n",
    'x.yml: group "a", rule 1, "x": invalid label name: __name__',
  ],
  [
    "groups:\n- name: a\n  rules:\n  - alert: x\n    expr: up\n    annotations: {a: '{{ foo }}'}\n",
    'x.yml: group "a", rule 1, "x": annotation "a": template: __alert_x:1: function "foo" not defined',
  ],
  ["groups:\n- name: a\n- name: a\n", 'x.yml: 3:3: groupname: "a" is repeated in the same file'],
  ["groups:\n- rules: []\n", "x.yml: 2:3: Groupname must not be empty"],
  ["groups:\n- name: a\n  rule: []\n", "x.yml: yaml: line 3: field rule not found in a group"],
  ["groups:\n- name: a\n  interval: 5x\n", 'x.yml: yaml: line 3: interval: unknown unit "x" in duration "5x"'],
  ["groups: 5\n", "x.yml: yaml: line 1: cannot unmarshal into groups: it takes a list"],
  ["groups:\n- name: [\n", "x.yml: yaml: line"],
];

test("a rule file becomes groups", () => {
  const outcome = readRuleFile("x.yml", GOOD, SYNTAX);
  assert.ok(outcome.kind === "groups", JSON.stringify(outcome));
  assert.deepEqual(outcome.groups, [
    {
      name: "requests",
      file: "x.yml",
      intervalMs: 30_000,
      queryOffsetMs: 60_000,
      limit: 10,
      rules: [
        {
          kind: "recording",
          name: "job:requests:rate5m",
          expression: "sum by (job) (rate(requests_total[5m]))",
          labels: [
            ["port", "8080"],
            ["team", "web"],
            ["tier", "front"],
          ],
        },
        {
          kind: "alerting",
          name: "Slow",
          expression: "job:latency:p99 > 0.5",
          labels: [
            ["severity", "page"],
            ["team", "web"],
            ["tier", "1"],
            ["where", "{{ $labels.instance }}"],
          ],
          holdMs: 5_400_000,
          keepFiringMs: 300_000,
          annotations: [["summary", "{{ $labels.job }} is slow: {{ $value | humanizeDuration }}"]],
        },
      ],
    },
    { name: "empty", file: "x.yml", intervalMs: undefined, queryOffsetMs: undefined, limit: 0, rules: [] },
  ]);
});

test("anchors stand for what they mark, and << merges", () => {
  const outcome = readRuleFile(
    "x.yml",
    `groups:
- name: a
  rules:
  - &first
    alert: A
    expr: &up up == 0
    labels: &labels {severity: page, team: web}
  - {<<: *first, alert: B, for: 5m}
  - {record: c, expr: *up, labels: {<<: [*labels, {tier: "1"}], team: db}}
`,
    SYNTAX,
  );
  assert.ok(outcome.kind === "groups", JSON.stringify(outcome));
  assert.deepEqual(
    outcome.groups[0]?.rules.map(({ name, expression, labels }) => [name, expression, labels.flat().join(" ")]),
    [
      ["A", "up == 0", "severity page team web"],
      ["B", "up == 0", "severity page team web"],
      ["c", "up == 0", "severity page team db tier 1"],
    ],
  );
  const bomb = `groups:\n- &a {name: a, rules: [${"{record: x, expr: '1'},".repeat(500)}]}\n${"- *a\n".repeat(50)}`;
  const many = readRuleFile("x.yml", bomb, SYNTAX);
  assert.ok(many.kind === "refused" && many.reasons.some((reason) => reason === "x.yml: more than 20000 rules"));
});

test("an empty file has no groups, and only the first document counts", () => {
  assert.deepEqual(readRuleFile("x.yml", "", SYNTAX), { kind: "groups", groups: [], warnings: [] });
  const two = readRuleFile("x.yml", "groups: []\n---\ngroups: [{}]\n", SYNTAX);
  assert.ok(two.kind === "groups" && two.groups.length === 0 && two.warnings.length === 1);
});

test("what is wrong with a rule file is told with its place", () => {
  for (const [text, reason] of BAD) {
    const outcome = readRuleFile("x.yml", text, SYNTAX);
    assert.ok(outcome.kind === "refused", text);
    const [first = ""] = outcome.reasons;
    assert.equal(reason.endsWith("line") ? first.slice(0, reason.length) : first, reason, text);
  }
});

test("promtool judges the same files alike", (t) => {
  const missing = spawnSync("promtool", ["--version"]).status === 0 ? undefined : "this machine has no promtool";
  if (!requireOrSkip(t, "servers", missing)) return;
  const directory = mkdtempSync(join(tmpdir(), "thalweg-rules-"));
  t.after(() => rmSync(directory, { recursive: true, force: true }));
  const judge = (text: string) => {
    const file = join(directory, "rules.yml");
    writeFileSync(file, text);
    return spawnSync("promtool", ["check", "rules", file], { encoding: "utf8" });
  };
  // Debian's promtool is older than some fields.
  const old = GOOD.replace(/ *(?:query_offset|keep_firing_for): .*\n| *labels: \{team.*\n/g, "");
  const good = judge(old);
  assert.equal(good.status, 0, good.stdout + good.stderr);
  assert.match(good.stdout, /2 rules found/);
  for (const [text] of BAD.filter(([bad]) => !bad.includes('{a="b"}'))) assert.notEqual(judge(text).status, 0, text);
});
