/** What Prometheus' API says of this server. */

import { availableParallelism, hostname } from "node:os";
import type { PrometheusDeps } from "../api/api-deps.ts";
import type { Settings } from "../config/settings.ts";
import type { Clock } from "../model/clock.ts";
import { printDurationMs } from "../model/duration.ts";
import type { Labels } from "../model/series.ts";
import { chooseFeatures } from "../query/promql/features.ts";
import { PROMQL_DEFAULTS, type PromqlSettings } from "../query/promql/query.ts";
import { addedTemplateFunctions } from "../rules/template/template-functions.ts";
import type { Store } from "../store/store.ts";
import type { RunningRules } from "./start-rules.ts";

/** How PromQL is understood under these settings. */
export function promqlSettings(settings: Settings, samplesMax: number): PromqlSettings {
  return {
    ...PROMQL_DEFAULTS,
    lookbackMs: settings.queryLookbackMs,
    samplesMax: Math.min(settings.querySamplesMax, samplesMax),
    ...chooseFeatures(settings.enableFeatures).settings,
  };
}

/** What the facts are read from. */
export interface PrometheusParts {
  readonly settings: Settings;
  readonly external: { readonly labels: Labels };
  readonly promqlSettings: PromqlSettings;
  readonly store: Store;
  readonly clock: Clock;
  readonly rules: RunningRules;
  /** Loads rules and scrape jobs again and says what is wrong. */
  readonly reload: () => Promise<string | undefined>;
}

/** Composes the facts. */
export function prometheusDeps(parts: PrometheusParts): PrometheusDeps {
  const { settings, external, store, clock } = parts;
  const retention = printDurationMs(settings.retentionMs);
  return {
    queryTimeoutMs: settings.queryTimeoutMs,
    promql: parts.promqlSettings,
    corsOrigin: settings.corsOrigin,
    flags: settings.flags,
    searchApi: settings.enableFeatures.includes("search-api"),
    admin: settings.enableAdminApi ? store.admin : undefined,
    runtime: {
      startMs: clock.nowMs(),
      workingDirectory: process.cwd(),
      hostname: hostname(),
      processors: availableParallelism(),
      memoryBytes: settings.memoryBytesMax,
      retention,
    },
    configYaml: () =>
      `global:\n  evaluation_interval: 1m\n${externalYaml(external.labels)}storage:\n  tsdb:\n    retention:\n      time: ${retention}\n`,
    damageCount: () => store.stats().damages,
    ruleGroups: () => parts.rules.groups(),
    alertmanagers: () => parts.rules.alertmanagers(),
    templateFunctions: addedTemplateFunctions(),
    reloadRules: settings.enableLifecycle ? parts.reload : undefined,
  };
}

function externalYaml(externalLabels: Labels): string {
  if (externalLabels.length === 0) return "";
  const lines = externalLabels.map(([name, value]) => `    ${name}: ${JSON.stringify(value)}\n`);
  return `  external_labels:\n${lines.join("")}`;
}
