/** One rule: what it is, how its last evaluation went, and what it wrote then. */

import { setImmediate } from "node:timers/promises";
import type { Labels, SeriesToAppend } from "../model/series.ts";
import type { EvaluatedSample, EvaluateOutcome, RuleState } from "../query/doors.ts";
import { type Alert, type AlertFinding, AlertState } from "./alert-state.ts";
import { type AlertTemplateScope, expandAlertTemplate } from "./alert-template.ts";
import type { RuleSpec } from "./rule-file.ts";
import { withLabels } from "./rule-labels.ts";
import { alertSamples, ruleSample } from "./rule-samples.ts";
import { TemplateError } from "./template/template-error.ts";

/** Alerts whose templates are expanded before other work gets a turn. */
const SAMPLES_A_TURN = 64;

/** What an evaluation needs beside the rule. */
export interface RuleScope extends Pick<AlertTemplateScope, "externalLabels" | "externalUrl"> {
  /** An instant query. */
  readonly evaluate: (query: string, timeMs: number) => Promise<EvaluateOutcome>;
  /** Told of templates that could not be expanded. */
  readonly onTemplateFailure: (alert: string, why: string) => void;
}

/** When a rule is evaluated. Times are Unix milliseconds. */
export interface RuleMoment {
  readonly timeMs: number;
  /** How far back the query looks and samples are written. */
  readonly queryOffsetMs: number;
  /** Series or alerts at most; 0 for any number. */
  readonly limit: number;
}

/** A rule of a group that runs. */
export class Rule {
  readonly spec: RuleSpec;
  readonly alertState = new AlertState();
  /** Series that the last successful evaluation wrote, by their labels as JSON. */
  written: ReadonlyMap<string, Labels> = new Map();
  /** `ALERTS` are written once what was before a restart is known. */
  restored: boolean;
  health: RuleState["health"] = "unknown";
  lastError = "";
  evaluationMs = 0;
  lastEvaluationMs: number | undefined;

  constructor(spec: RuleSpec, restored: boolean) {
    this.spec = spec;
    this.restored = restored;
  }

  /** What makes a rule the same after its file was loaded again. */
  get identity(): string {
    return JSON.stringify([this.spec.kind, this.spec.name, this.spec.labels]);
  }

  /**
   * Asks and judges.
   *
   * @returns What is to be written.
   * @throws Error in Prometheus' words.
   */
  async evaluate(moment: RuleMoment, scope: RuleScope): Promise<readonly SeriesToAppend[]> {
    const atMs = moment.timeMs - moment.queryOffsetMs;
    const outcome = await scope.evaluate(this.spec.expression, atMs);
    if (outcome.kind === "failed") throw new Error(outcome.message);
    return this.spec.kind === "recording"
      ? record(this.spec.name, this.spec.labels, outcome.samples, { ...moment, timeMs: atMs })
      : this.#alert(this.spec, outcome.samples, moment, scope);
  }

  async #alert(
    spec: RuleSpec & { readonly kind: "alerting" },
    samples: readonly EvaluatedSample[],
    { timeMs, queryOffsetMs, limit }: RuleMoment,
    scope: RuleScope,
  ): Promise<readonly SeriesToAppend[]> {
    const findings: AlertFinding[] = [];
    for (const [index, sample] of samples.entries()) {
      if (index % SAMPLES_A_TURN === SAMPLES_A_TURN - 1) await setImmediate();
      findings.push(await findingOf(spec, sample, timeMs, scope));
    }
    const active = this.alertState.update(findings, timeMs, spec, limit);
    if (!this.restored) return [];
    return active.flatMap((alert) => alertSamples(spec.name, alert, timeMs - queryOffsetMs));
  }

  /** As the API shows it. */
  state(): RuleState {
    const { name, expression: query, labels } = this.spec;
    const shared = {
      name,
      query,
      labels,
      health: this.health,
      lastError: this.lastError,
      evaluationSeconds: this.evaluationMs / 1000,
      lastEvaluationMs: this.lastEvaluationMs,
    };
    if (this.spec.kind === "recording") return { kind: "recording", ...shared };
    const { holdMs, keepFiringMs, annotations } = this.spec;
    const alerts = this.alertState.alerts.flatMap(activeAlert);
    const state = this.lastEvaluationMs === undefined ? "unknown" : highest(alerts.map((alert) => alert.state));
    return {
      kind: "alerting",
      ...shared,
      state,
      holdSeconds: holdMs / 1000,
      keepFiringSeconds: keepFiringMs / 1000,
      annotations,
      alerts,
    };
  }
}

function activeAlert({ state, resolvedAtMs, ...alert }: Alert) {
  if (state === "inactive" || resolvedAtMs !== undefined) return [];
  const { labels, annotations, activeAtMs, keepFiringSinceMs, value } = alert;
  return [{ labels, annotations, state, activeAtMs, keepFiringSinceMs, value }];
}

function highest(states: readonly ("pending" | "firing")[]): "inactive" | "pending" | "firing" {
  if (states.includes("firing")) return "firing";
  return states.includes("pending") ? "pending" : "inactive";
}

function record(
  name: string,
  labels: Labels,
  samples: readonly EvaluatedSample[],
  { timeMs, limit }: RuleMoment,
): readonly SeriesToAppend[] {
  const seen = new Set<string>();
  const series = samples.map((sample) => {
    const named = withLabels(sample.labels, [["__name__", name]], labels);
    const key = JSON.stringify(named);
    if (seen.has(key)) throw new Error("vector contains metrics with the same labelset after applying rule labels");
    seen.add(key);
    return ruleSample(named, timeMs, sample.value, sample.histogram);
  });
  if (limit > 0 && series.length > limit) throw new Error(`exceeded limit of ${limit} with ${series.length} series`);
  return series;
}

async function findingOf(
  spec: RuleSpec & { readonly kind: "alerting" },
  sample: EvaluatedSample,
  timeMs: number,
  scope: RuleScope,
): Promise<AlertFinding> {
  const templates: AlertTemplateScope = {
    nowMs: timeMs,
    externalUrl: scope.externalUrl,
    externalLabels: scope.externalLabels,
    query: async (text) => {
      const outcome = await scope.evaluate(text, timeMs);
      if (outcome.kind === "failed") throw new Error(outcome.message);
      return outcome.samples;
    },
  };
  const expandAll = async (texts: Labels): Promise<Labels> => {
    const out: [string, string][] = [];
    for (const [name, text] of texts) out.push([name, await expand(spec.name, text, sample, templates, scope)]);
    return out;
  };
  const labels = withLabels(sample.labels, [["__name__", ""]], await expandAll(spec.labels), [
    ["alertname", spec.name],
  ]);
  return { labels, annotations: await expandAll(spec.annotations), value: sample.value };
}

/** A text that cannot be expanded says so: better a poor description than no alert. */
async function expand(
  alert: string,
  text: string,
  sample: EvaluatedSample,
  templates: AlertTemplateScope,
  { onTemplateFailure }: RuleScope,
): Promise<string> {
  try {
    return await expandAlertTemplate(alert, text, sample, templates);
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    onTemplateFailure(alert, cause.message);
    return `<error expanding template: ${cause.message}>`;
  }
}
