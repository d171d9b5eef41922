/** The settings in the form of Prometheus' configuration file, as `/api/v1/status/config` shows them. */

import type { Settings } from "../config/settings.ts";
import { printDurationMs } from "../model/duration.ts";
import type { ScrapeJob } from "../scrape/scrape-job.ts";

type Shown = Pick<Settings, "evaluationIntervalMs" | "externalLabels" | "retentionMs" | "ruleFiles">;

/** Jobs are printed without secrets. */
export function printConfig(settings: Shown, jobs: readonly Pick<ScrapeJob, "print">[]): string {
  const { evaluationIntervalMs, externalLabels, retentionMs, ruleFiles } = settings;
  return [
    "global:",
    `  evaluation_interval: ${printDurationMs(evaluationIntervalMs)}`,
    ...section(
      "  external_labels:",
      externalLabels.map(([name, value]) => `    ${name}: ${JSON.stringify(value)}`),
    ),
    ...section(
      "rule_files:",
      ruleFiles.map((file) => `- ${JSON.stringify(file)}`),
    ),
    ...section("scrape_configs:", jobs.map(asItem)),
    "storage:",
    "  tsdb:",
    "    retention:",
    `      time: ${printDurationMs(retentionMs)}`,
    "",
  ].join("\n");
}

function section(head: string, items: readonly string[]): readonly string[] {
  return items.length === 0 ? [] : [head, ...items];
}

/** A mapping as an item of a list. Blank lines, which texts of several lines hold, stay blank. */
function asItem(job: Pick<ScrapeJob, "print">): string {
  return `- ${job
    .print()
    .trimEnd()
    .replace(/\n(?!\n)/g, "\n  ")}`;
}
