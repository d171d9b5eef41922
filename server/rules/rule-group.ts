/**
 * A group that runs: its rules one after the other, at the group's slots.
 *
 * Invariants: one evaluation at a time; a slot that passes while one runs is counted as missed; after `stop` nothing is
 * written but what was under way.
 */

import type { Clock } from "../model/clock.ts";
import type { Labels, Matcher, SeriesSamples } from "../model/series.ts";
import type { RuleGroupState } from "../query/doors.ts";
import type { AppendOutcome, StoreWriter } from "../store/writer.ts";
import { type Alert, needsSending } from "./alert-state.ts";
import { restoredActiveAtMs } from "./restored-alert.ts";
import { Rule, type RuleScope } from "./rule.ts";
import type { RuleGroupSpec } from "./rule-file.ts";
import { withLabels, withoutName } from "./rule-labels.ts";
import { endsStale, staleSample } from "./rule-samples.ts";
import { type RuleSlots, ruleSlots, slotBefore } from "./rule-slots.ts";

/** The longest that a timer of Node waits. */
const TIMER_MS_MAX = 2 ** 31 - 1;

/** How long Prometheus trusts what it knew of alerts before a restart. */
const OUTAGE_MS_MAX = 3_600_000;
/** The least time that an alert which was pending stays so after a start. */
const GRACE_MS = 600_000;

/** How groups tell of themselves. */
interface RuleReporter {
  /** An iteration began; `missed` slots passed unused before it. */
  readonly onIteration: (group: string, missed: number) => void;
  /** A rule was evaluated; `error` is empty where it succeeded. */
  readonly onRule: (group: string, rule: string, error: string) => void;
  readonly onGroup: (
    group: string,
    facts: { readonly seconds: number; readonly timeMs: number; readonly samples: number },
  ) => void;
}

/** What groups need of the rest of the program. */
export interface RuleGroupDeps extends RuleScope, RuleReporter {
  readonly writer: Pick<StoreWriter, "appendSeries">;
  /** Series of `ALERTS_FOR_STATE`. */
  readonly select: (matchers: readonly Matcher[], minMs: number, maxMs: number) => Promise<SeriesSamples[]>;
  readonly clock: Clock;
  /** Of groups that name none. */
  readonly intervalMs: number;
  /** How often a firing alert is sent again. */
  readonly resendMs: number;
  /** Takes alerts whose receivers have to hear of them, with the rule's expression. */
  readonly notify: (expression: string, alerts: readonly Alert[]) => void;
}

/** A group and its timer. */
export class RuleGroup {
  readonly spec: RuleGroupSpec;
  readonly intervalMs: number;
  readonly #deps: RuleGroupDeps;
  readonly #slots: RuleSlots;
  readonly #rules: readonly Rule[];
  /** Series of rules that are gone, to be marked stale. */
  #stale: Labels[] = [];
  #iterations = 0;
  #shouldRestore: boolean;
  #evaluationMs = 0;
  #lastEvaluationMs: number | undefined;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #stopped = false;

  /** @param restores Whether alerts may have been active before the program was started. */
  constructor(spec: RuleGroupSpec, deps: RuleGroupDeps, restores: boolean) {
    this.spec = spec;
    this.#deps = deps;
    this.intervalMs = spec.intervalMs ?? deps.intervalMs;
    this.#slots = ruleSlots(spec.file, spec.name, this.intervalMs);
    this.#shouldRestore = restores;
    this.#rules = spec.rules.map((rule) => new Rule(rule, !restores));
  }

  /** `FILE;GROUP`, by which it is counted. */
  get key(): string {
    return `${this.spec.file};${this.spec.name}`;
  }

  /** Waits for the first slot. */
  start(): void {
    this.#wait(slotBefore(this.#slots, this.#deps.clock.nowMs()) + this.intervalMs, 0);
  }

  /** Resolves once nothing is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    clearTimeout(this.#timer);
    await this.#running;
  }

  /** Takes over what the group of the same name knew before its file was loaded again. */
  copyFrom(before: RuleGroup): void {
    this.#evaluationMs = before.#evaluationMs;
    this.#lastEvaluationMs = before.#lastEvaluationMs;
    const left = [...before.#rules];
    for (const rule of this.#rules) {
      const index = left.findIndex((old) => old.identity === rule.identity);
      const old = index === -1 ? undefined : left.splice(index, 1)[0];
      if (old === undefined) continue;
      rule.written = old.written;
      rule.alertState.copyFrom(old.alertState);
    }
    this.#stale = [...before.#stale, ...left.flatMap((rule) => [...rule.written.values()])];
  }

  /** Marks every series of a stopped group stale, as of `timeMs`. */
  async markStale(timeMs: number): Promise<void> {
    this.#stale.push(...this.#rules.flatMap((rule) => [...rule.written.values()]));
    for (const rule of this.#rules) rule.written = new Map();
    await this.#writeStale(timeMs - this.#queryOffsetMs);
  }

  state(): RuleGroupState {
    return {
      name: this.spec.name,
      file: this.spec.file,
      intervalSeconds: this.intervalMs / 1000,
      limit: this.spec.limit,
      rules: this.#rules.map((rule) => rule.state()),
      evaluationSeconds: this.#evaluationMs / 1000,
      lastEvaluationMs: this.#lastEvaluationMs,
    };
  }

  get #queryOffsetMs(): number {
    return this.spec.queryOffsetMs ?? 0;
  }

  /** Sets the timer for a slot, in steps where it is further away than a timer reaches. */
  #wait(slotMs: number, missed: number): void {
    if (this.#stopped) return;
    const waitMs = slotMs - this.#deps.clock.nowMs();
    this.#timer = setTimeout(
      () => {
        if (waitMs > TIMER_MS_MAX) this.#wait(slotMs, missed);
        else this.#running = this.#iterate(slotMs, missed);
      },
      Math.min(Math.max(0, waitMs), TIMER_MS_MAX),
    );
    this.#timer.unref();
  }

  async #iterate(slotMs: number, missed: number): Promise<void> {
    this.#deps.onIteration(this.key, missed);
    await this.evaluate(slotMs);
    const passed = Math.floor((this.#deps.clock.nowMs() - slotMs) / this.intervalMs);
    this.#wait(slotMs + Math.max(1, passed) * this.intervalMs, Math.max(0, passed - 1));
  }

  /** Evaluates all rules for a slot. */
  async evaluate(timeMs: number): Promise<void> {
    const { clock, onGroup } = this.#deps;
    const sinceMs = clock.monotonicMs();
    const startMs = clock.nowMs();
    let samples = 0;
    for (const rule of this.#rules) {
      if (this.#stopped) return;
      samples += await this.#evaluateRule(rule, timeMs);
    }
    await this.#writeStale(timeMs - this.#queryOffsetMs);
    this.#iterations++;
    // At the first evaluation what the alerts depend on may not be there yet.
    if (this.#shouldRestore && this.#iterations === 2) await this.#restore();
    this.#evaluationMs = clock.monotonicMs() - sinceMs;
    this.#lastEvaluationMs = startMs;
    onGroup(this.key, { seconds: this.#evaluationMs / 1000, timeMs: startMs, samples });
  }

  async #evaluateRule(rule: Rule, timeMs: number): Promise<number> {
    const { clock, onRule } = this.#deps;
    const sinceMs = clock.monotonicMs();
    const startMs = clock.nowMs();
    let samples = 0;
    try {
      const moment = { timeMs, queryOffsetMs: this.#queryOffsetMs, limit: this.spec.limit };
      const series = await rule.evaluate(moment, this.#deps);
      samples = series.length;
      this.#send(rule, timeMs);
      const refusal = await this.#write(rule, series, timeMs - this.#queryOffsetMs);
      rule.lastError = refusal;
    } catch (cause) {
      rule.lastError = cause instanceof Error ? cause.message : String(cause);
    }
    rule.health = rule.lastError === "" ? "ok" : "err";
    rule.evaluationMs = clock.monotonicMs() - sinceMs;
    rule.lastEvaluationMs = startMs;
    onRule(this.key, rule.spec.name, rule.lastError);
    return samples;
  }

  #send(rule: Rule, timeMs: number): void {
    const { resendMs, notify } = this.#deps;
    const due = rule.alertState.alerts.filter((alert) => needsSending(alert, timeMs, resendMs));
    if (due.length === 0) return;
    for (const alert of due) {
      alert.lastSentMs = timeMs;
      // Two evaluations or messages may fail.
      alert.validUntilMs = timeMs + 4 * Math.max(this.intervalMs, resendMs);
    }
    notify(rule.spec.expression, due);
  }

  /** Writes a rule's samples, and markers for series that it no longer gives. Returns why some were refused. */
  async #write(rule: Rule, series: Parameters<StoreWriter["appendSeries"]>[0], timeMs: number): Promise<string> {
    const { writer } = this.#deps;
    const outcome: AppendOutcome | undefined = series.length === 0 ? undefined : await writer.appendSeries(series);
    const written = new Map(series.map(({ labels }) => [JSON.stringify(labels), labels] as const));
    const gone = [...rule.written].filter(([key]) => !written.has(key));
    rule.written = written;
    // That a marker comes too late means that another rule gives the series.
    if (gone.length > 0) await writer.appendSeries(gone.map(([, labels]) => staleSample(labels, timeMs)));
    return outcome?.refusals[0]?.text ?? "";
  }

  async #writeStale(timeMs: number): Promise<void> {
    if (this.#stale.length === 0) return;
    const stale = this.#stale;
    this.#stale = [];
    try {
      await this.#deps.writer.appendSeries(stale.map((labels) => staleSample(labels, timeMs)));
    } catch {
      // Counted by the store; tried again at the next evaluation.
      this.#stale = [...stale, ...this.#stale];
    }
  }

  /** Finds since when alerts are active that were before the program was started. */
  async #restore(): Promise<void> {
    this.#shouldRestore = false;
    const nowMs = this.#deps.clock.nowMs();
    for (const rule of this.#rules) {
      if (rule.spec.kind === "alerting") await this.#restoreRule(rule, rule.spec.holdMs, nowMs);
      rule.restored = true;
    }
  }

  async #restoreRule(rule: Rule, holdMs: number, nowMs: number): Promise<void> {
    let found: SeriesSamples[];
    try {
      found = await this.#deps.select(memoryMatchers(rule), nowMs - OUTAGE_MS_MAX, nowMs);
    } catch {
      // The store refused: alerts then count from now on, which is late but never wrong.
      return;
    }
    const byLabels = new Map(found.map((series) => [JSON.stringify(withoutName(series.labels)), series]));
    for (const alert of rule.alertState.alerts) {
      const series = byLabels.get(JSON.stringify(alert.labels));
      const seenMs = series?.timestampsMs.at(-1);
      const activeAtSeconds = series?.values.at(-1);
      if (series === undefined || seenMs === undefined || activeAtSeconds === undefined) continue;
      if (endsStale(series.values)) continue; // it was not active
      const memory = { seenMs: Math.floor(seenMs / 1000) * 1000, activeAtMs: Math.trunc(activeAtSeconds) * 1000 };
      alert.activeAtMs = restoredActiveAtMs(memory, holdMs, nowMs, GRACE_MS) ?? alert.activeAtMs;
    }
  }
}

/** Labels of templates differ from alert to alert, so they are not asked for. */
function memoryMatchers({ spec }: Rule): readonly Matcher[] {
  const labels = withLabels(spec.labels, [
    ["__name__", "ALERTS_FOR_STATE"],
    ["alertname", spec.name],
  ]);
  return labels
    .filter(([, value]) => value !== "" && !value.includes("{{"))
    .map(([name, value]) => ({ name, kind: "=", value }));
}
