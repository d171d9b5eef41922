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
import type { ScrapeJob } from "../scrape/scrape-job.ts";
import type { Store } from "../store/store.ts";
import { printConfig } from "./config-yaml.ts";
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
  /** Jobs that scrape. */
  readonly jobs: () => readonly ScrapeJob[];
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
    configYaml: () => printConfig({ ...settings, externalLabels: external.labels }, parts.jobs()),
    damageCount: () => store.stats().damages,
    ruleGroups: () => parts.rules.groups(),
    alertmanagers: () => parts.rules.alertmanagers(),
    templateFunctions: addedTemplateFunctions(),
    reloadRules: settings.enableLifecycle ? parts.reload : undefined,
  };
}
