/** Rules as the server runs them: files, Alertmanagers, log, counters. */

import type { Settings } from "../config/settings.ts";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { Labels } from "../model/series.ts";
import { postJson } from "../platform/http-post.ts";
import { readPatternFiles } from "../platform/pattern-files.ts";
import type { PromqlDoor, RuleGroupState } from "../query/doors.ts";
import { type PromqlSettings, parseOptions } from "../query/promql/query.ts";
import { Notifier } from "../rules/notifier.ts";
import { RuleEngine } from "../rules/rule-engine.ts";
import { RULE_FILE_BYTES_MAX } from "../rules/rule-file.ts";
import { Turns } from "../rules/turns.ts";
import type { Store } from "../store/store.ts";
import type { Log } from "../telemetry/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";

/** How often a firing alert is sent again, as Prometheus does unless told otherwise. */
const RESEND_MS = 60_000;

/** Rules that are asked at once: groups may be many, and people's queries need room beside them. */
const EVALUATIONS_AT_ONCE = 8;

/** What rules are made from. */
export interface RuleParts {
  readonly settings: Settings;
  readonly external: { readonly labels: Labels };
  readonly promqlSettings: PromqlSettings;
  readonly promql: PromqlDoor;
  readonly store: Store;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly log: Log;
}

/** Rules that run. */
export interface RunningRules {
  /** Loads the files and starts the groups; `externalUrl` is where the server is reached. @throws ThalwegError */
  start(externalUrl: string): Promise<void>;
  /** Loads the files again; what is wrong is returned, and nothing has changed then. */
  reload(): Promise<string | undefined>;
  groups(): readonly RuleGroupState[];
  alertmanagers(): readonly string[];
  stop(): Promise<void>;
}

/** Prepares rules; nothing is read before `start`. */
export function prepareRules(parts: RuleParts): RunningRules {
  const { settings, telemetry, log } = parts;
  let running: Running | undefined;
  const load = async (): Promise<readonly string[]> => {
    if (running === undefined) return [];
    const reasons = await loadInto(running.engine, log);
    telemetry.set("thalweg_rules_reload_successful", {}, reasons.length === 0 ? 1 : 0);
    for (const reason of reasons) log.error({ reason }, "rules could not be loaded");
    return reasons;
  };
  return {
    start: async (externalUrl) => {
      running = makeRules(parts, (settings.externalUrl || externalUrl).replace(/\/+$/, ""));
      telemetry.onRender(() => renderRules(telemetry, running));
      const [reason] = await load();
      if (reason !== undefined) throw new ThalwegError("rules_invalid", { reason });
    },
    reload: async () => {
      const reasons = await load();
      return reasons.length === 0
        ? undefined
        : `error loading rules, previous rule set restored: ${reasons.join("; ")}`;
    },
    groups: () => running?.engine.groups() ?? [],
    alertmanagers: () => running?.notifier.urls ?? [],
    stop: async () => {
      // A query that is under way would hold up the end.
      running?.stopping.abort();
      await running?.engine.stop();
      await running?.notifier.stop();
    },
  };
}

async function loadInto(engine: RuleEngine, log: Log): Promise<readonly string[]> {
  try {
    const loaded = await engine.load();
    if (loaded.kind === "refused") return loaded.reasons;
    for (const warning of loaded.warnings) log.warn({ warning }, "a rule file was read in part");
    if (loaded.rules > 0) log.info({ rules: loaded.rules }, "rules are loaded");
    return [];
  } catch (error) {
    return [error instanceof Error ? error.message : String(error)];
  }
}

interface Running {
  readonly engine: RuleEngine;
  readonly notifier: Notifier;
  readonly stopping: AbortController;
}

function makeRules(parts: RuleParts, externalUrl: string): Running {
  const { settings, external, promql, store, clock, telemetry, log } = parts;
  const stopping = new AbortController();
  const turns = new Turns(EVALUATIONS_AT_ONCE);
  const notifier = new Notifier({
    alertmanagers: settings.alertmanagers,
    externalUrl,
    get externalLabels() {
      return external.labels;
    },
    clock,
    post: postJson,
    onSent: (alertmanager, count) => telemetry.count("thalweg_notifications_sent_total", { alertmanager }, count),
    onFailure: (alertmanager, count, why) => {
      telemetry.count("thalweg_notifications_errors_total", { alertmanager }, count);
      log.warn({ alertmanager, count, why }, "alerts could not be sent");
    },
    onDropped: (alertmanager, reason, count) => {
      telemetry.count("thalweg_notifications_dropped_total", { reason }, count);
      log.warn({ alertmanager, reason, count }, "alerts were dropped");
    },
  });
  const engine = new RuleEngine({
    syntax: parseOptions(parts.promqlSettings),
    readFiles: () => readPatternFiles(settings.ruleFiles, RULE_FILE_BYTES_MAX),
    externalUrl,
    get externalLabels() {
      return external.labels;
    },
    evaluate: (query, timeMs) =>
      turns.run(async () => {
        if (stopping.signal.aborted)
          return { kind: "failed", errorType: "canceled", message: "the server is stopping" };
        return promql.evaluate({ query, timeMs, timeoutMs: settings.queryTimeoutMs, signal: stopping.signal });
      }),
    onTemplateFailure: (alert, why) => {
      telemetry.count("thalweg_rule_template_failures_total", {});
      log.warn({ alert, why }, "the template of an alert could not be expanded");
    },
    writer: store.writer,
    select: (matchers, minMs, maxMs) => store.reader.select(matchers, minMs, maxMs),
    clock,
    intervalMs: settings.evaluationIntervalMs,
    resendMs: RESEND_MS,
    notify: (expression, alerts) => notifier.send(expression, alerts),
    onIteration: (rule_group, missed) => {
      telemetry.count("thalweg_rule_group_iterations_total", { rule_group }, 1 + missed);
      telemetry.count("thalweg_rule_group_iterations_missed_total", { rule_group }, missed);
    },
    onRule: (rule_group, rule, error) => {
      telemetry.count("thalweg_rule_evaluations_total", { rule_group });
      telemetry.count("thalweg_rule_evaluation_failures_total", { rule_group }, error === "" ? 0 : 1);
      if (error !== "" && !stopping.signal.aborted)
        log.warn({ group: rule_group, rule, why: error }, "a rule could not be evaluated");
    },
    onGroup: (rule_group, { seconds, timeMs, samples }) => {
      telemetry.set("thalweg_rule_group_last_duration_seconds", { rule_group }, seconds);
      telemetry.set("thalweg_rule_group_last_evaluation_timestamp_seconds", { rule_group }, timeMs / 1000);
      telemetry.set("thalweg_rule_group_last_evaluation_samples", { rule_group }, samples);
    },
  });
  return { engine, notifier, stopping };
}

function renderRules(telemetry: Telemetry, running: Running | undefined): void {
  for (const { file, name, rules, intervalSeconds } of running?.engine.groups() ?? []) {
    const rule_group = `${file};${name}`;
    telemetry.set("thalweg_rule_group_rules", { rule_group }, rules.length);
    telemetry.set("thalweg_rule_group_interval_seconds", { rule_group }, intervalSeconds);
  }
  for (const [alertmanager, length] of running?.notifier.queueLengths() ?? []) {
    telemetry.set("thalweg_notifications_queue_length", { alertmanager }, length);
  }
}
