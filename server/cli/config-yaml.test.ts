import assert from "node:assert/strict";
import { test } from "node:test";
import { readScrapeConfig } from "../scrape/scrape-config.ts";
import { printConfig } from "./config-yaml.ts";

const CONFIG = `
scrape_configs:
  - job_name: one
    basic_auth: {username: u, password: hidden}
  - job_name: two
    metric_relabel_configs:
      - {source_labels: [a], regex: "(?s)x\\n\\ny", action: drop}
`;

test("the settings are told as a file that reads as the same jobs", () => {
  const outcome = readScrapeConfig("/etc/scrape.yml", CONFIG);
  assert.ok(outcome.kind === "jobs");
  const settings = {
    evaluationIntervalMs: 15_000,
    externalLabels: [],
    retentionMs: 86_400_000,
    ruleFiles: ["r/*.yml"],
  };
  const text = printConfig({ ...settings, externalLabels: [["dc", 'a"b']] }, outcome.jobs);
  assert.ok(
    text.startsWith(`global:
  evaluation_interval: 15s
  external_labels:
    dc: "a\\"b"
rule_files:
- "r/*.yml"
scrape_configs:
- job_name: one
  scrape_interval: 1m
`),
    text,
  );
  assert.ok(text.endsWith("storage:\n  tsdb:\n    retention:\n      time: 1d\n"), text);
  assert.doesNotMatch(text, /hidden/);
  const again = readScrapeConfig("/etc/scrape.yml", text);
  assert.ok(again.kind === "jobs");
  assert.deepEqual(again.jobs.map(({ identity }) => identity)[1], outcome.jobs.map(({ identity }) => identity)[1]);
  const alone = "global:\n  evaluation_interval: 15s\nstorage:\n  tsdb:\n    retention:\n      time: 1d\n";
  assert.equal(printConfig({ ...settings, ruleFiles: [] }, []), alone);
});
