/**
 * Alerts of one alerting rule: pending, firing, kept firing, resolved.
 *
 * Pure: times come in. An alert is known by its labels; one that resolved is kept for a while, so that its end is sent
 * again where the first message was lost.
 *
 * @see https://prometheus.io/docs/prometheus/latest/configuration/alerting_rules/
 */

import type { Labels } from "../model/series.ts";

/** How long a resolved alert is kept and sent again. */
const RESOLVED_MS = 15 * 60_000;

/** One alert. Times are Unix milliseconds. */
export interface Alert {
  readonly labels: Labels;
  annotations: Labels;
  value: number;
  state: "pending" | "firing" | "inactive";
  activeAtMs: number;
  firedAtMs: number | undefined;
  resolvedAtMs: number | undefined;
  /** When it was last handed to the notifier. */
  lastSentMs: number | undefined;
  /** Until when receivers may take it for firing without hearing of it again. */
  validUntilMs: number;
  keepFiringSinceMs: number | undefined;
}

/** What an evaluation found for one alert. */
export interface AlertFinding {
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly value: number;
}

/** How long alerts wait and stay. */
export interface AlertTimes {
  /** `for` */
  readonly holdMs: number;
  /** `keep_firing_for` */
  readonly keepFiringMs: number;
}

/** Two findings have the same labels. */
export const SAME_LABELSET = "vector contains metrics with the same labelset after applying alert labels";

/** Alerts by their labels. */
export class AlertState {
  #alerts = new Map<string, Alert>();

  /** Those that are not forgotten yet, resolved ones too. */
  get alerts(): readonly Alert[] {
    return [...this.#alerts.values()];
  }

  /** The same alerts, of a rule that takes the place of another. */
  copyFrom(other: AlertState): void {
    for (const [key, alert] of other.#alerts) this.#alerts.set(key, alert);
  }

  /**
   * Takes what an evaluation at `timeMs` found.
   *
   * @returns Alerts that are pending or firing after it.
   * @throws Error in Prometheus' words; over the limit all alerts are forgotten.
   */
  update(findings: readonly AlertFinding[], timeMs: number, times: AlertTimes, limit: number): readonly Alert[] {
    const found = new Map<string, AlertFinding>();
    for (const finding of findings) {
      const key = JSON.stringify(finding.labels);
      if (found.has(key)) throw new Error(SAME_LABELSET);
      found.set(key, finding);
    }
    for (const [key, finding] of found) this.#take(key, finding, timeMs);
    const active: Alert[] = [];
    for (const [key, alert] of this.#alerts) {
      if (found.has(key)) alert.keepFiringSinceMs = undefined;
      else if (!this.#keepsFiring(alert, timeMs, times)) {
        this.#resolve(key, alert, timeMs);
        continue;
      }
      active.push(alert);
      changeState(alert, timeMs, times.holdMs);
    }
    if (limit > 0 && active.length > limit) {
      this.#alerts = new Map();
      throw new Error(`exceeded limit of ${limit} with ${active.length} alerts`);
    }
    return active;
  }

  #take(key: string, { labels, annotations, value }: AlertFinding, timeMs: number): void {
    const known = this.#alerts.get(key);
    if (known !== undefined && known.state !== "inactive") {
      known.value = value;
      known.annotations = annotations;
      return;
    }
    this.#alerts.set(key, {
      labels,
      annotations,
      value,
      state: "pending",
      activeAtMs: timeMs,
      firedAtMs: undefined,
      resolvedAtMs: undefined,
      lastSentMs: undefined,
      validUntilMs: 0,
      keepFiringSinceMs: undefined,
    });
  }

  #keepsFiring(alert: Alert, timeMs: number, { keepFiringMs }: AlertTimes): boolean {
    if (alert.state !== "firing" || keepFiringMs === 0) return false;
    alert.keepFiringSinceMs ??= timeMs;
    return timeMs - alert.keepFiringSinceMs < keepFiringMs;
  }

  #resolve(key: string, alert: Alert, timeMs: number): void {
    const isOld = alert.resolvedAtMs !== undefined && timeMs - alert.resolvedAtMs > RESOLVED_MS;
    if (alert.state === "pending" || isOld) this.#alerts.delete(key);
    if (alert.state === "inactive") return;
    alert.state = "inactive";
    alert.resolvedAtMs = timeMs;
  }
}

function changeState(alert: Alert, timeMs: number, holdMs: number): void {
  const held = timeMs - alert.activeAtMs >= holdMs;
  if (alert.state === "pending" && held) {
    alert.state = "firing";
    alert.firedAtMs = timeMs;
  } else if (alert.state === "firing" && !held) {
    // A rule that was loaded again may hold longer than the one before.
    alert.state = "pending";
    alert.firedAtMs = undefined;
    alert.lastSentMs = undefined;
    alert.keepFiringSinceMs = undefined;
  }
}

/** Whether receivers have to hear of an alert: it is new or resolved, or the last message is a while ago. */
export function needsSending(alert: Alert, timeMs: number, resendMs: number): boolean {
  if (alert.state === "pending") return false;
  const { resolvedAtMs, lastSentMs } = alert;
  if (lastSentMs === undefined) return true;
  if (resolvedAtMs !== undefined && resolvedAtMs > lastSentMs) return true;
  return lastSentMs + resendMs < timeMs;
}
