/**
 * Sends alerts to Alertmanagers over their API v2: batches, again after a failure, never more than a queue holds.
 *
 * Each Alertmanager has a queue of its own. It holds the latest message of each alert, so one that is down for a while
 * costs no more than the number of alerts, and hears of their present state.
 *
 * @see https://prometheus.io/docs/alerting/latest/alerts_api/
 */

import type { Clock } from "../model/clock.ts";
import type { Labels } from "../model/series.ts";
import type { Alert } from "./alert-state.ts";
import { withLabels } from "./rule-labels.ts";
import { tableLink } from "./template/template-functions.ts";

/** Alerts that wait for one Alertmanager. */
const QUEUE_MAX = 10_000;
/** Alerts in one request. */
const BATCH_MAX = 256;
const TIMEOUT_MS = 10_000;
const BACKOFF_MIN_MS = 1000;
const BACKOFF_MAX_MS = 30_000;
/** How long a stop waits for what is left in the queues. */
const DRAIN_MS = 3000;
/** How long a message is worth sending after the end that it tells of. */
const EXPIRED_MS = 15 * 60_000;

/** Why messages were not sent. */
export type NotificationDrop = "queue_full" | "refused" | "expired" | "stopping";

/** How the notifier tells of itself. */
interface NotifierReporter {
  readonly onSent: (alertmanager: string, count: number) => void;
  readonly onFailure: (alertmanager: string, count: number, why: string) => void;
  readonly onDropped: (alertmanager: string, reason: NotificationDrop, count: number) => void;
}

/** What the notifier needs. */
export interface NotifierOptions extends NotifierReporter {
  /** Addresses such as `http://host:9093/prefix`, without a slash at the end. */
  readonly alertmanagers: readonly string[];
  readonly externalUrl: string;
  readonly externalLabels: Labels;
  readonly clock: Pick<Clock, "nowMs">;
  /** Posts JSON and gives the status of the answer. @throws Error where there is none in time. */
  readonly post: (url: string, body: string, timeoutMs: number) => Promise<number>;
}

/** An alert as the API takes it. */
interface Message {
  readonly key: string;
  readonly body: object;
  /** When receivers take it for resolved by themselves. */
  readonly endsAtMs: number;
}

/** Queues of all Alertmanagers. */
export class Notifier {
  readonly #options: NotifierOptions;
  readonly #senders: readonly AlertSender[];

  constructor(options: NotifierOptions) {
    this.#options = options;
    this.#senders = [...new Set(options.alertmanagers)].map((url) => new AlertSender(url, options));
  }

  /** Addresses to which alerts are posted. */
  get urls(): readonly string[] {
    return this.#senders.map((sender) => sender.url);
  }

  /** Alerts that wait, by Alertmanager. */
  queueLengths(): ReadonlyMap<string, number> {
    return new Map(this.#senders.map((sender) => [sender.url, sender.length]));
  }

  /** Queues alerts of one rule. */
  send(expression: string, alerts: readonly Alert[]): void {
    const { externalUrl, externalLabels } = this.#options;
    const generatorURL = externalUrl + tableLink(expression);
    const messages = alerts.map((alert) => messageOf(alert, externalLabels, generatorURL));
    for (const sender of this.#senders) sender.add(messages);
  }

  /** Sends what is left, for a moment. */
  async stop(): Promise<void> {
    await Promise.all(this.#senders.map((sender) => sender.stop()));
  }
}

function messageOf(alert: Alert, externalLabels: Labels, generatorURL: string): Message {
  const labels = withLabels(externalLabels, alert.labels);
  const endsAtMs = alert.resolvedAtMs ?? alert.validUntilMs;
  return {
    key: JSON.stringify(labels),
    endsAtMs,
    body: {
      labels: Object.fromEntries(labels),
      annotations: Object.fromEntries(alert.annotations),
      startsAt: new Date(alert.firedAtMs ?? alert.activeAtMs).toISOString(),
      endsAt: new Date(endsAtMs).toISOString(),
      generatorURL,
    },
  };
}

/** The queue of one Alertmanager: the latest message of each alert, in order of arrival. */
class AlertSender {
  readonly url: string;
  readonly #options: NotifierOptions;
  readonly #queue = new Map<string, Message>();
  #sending: Promise<void> | undefined;
  #backoffMs = 0;
  #wake: (() => void) | undefined;
  #stopping = false;

  constructor(alertmanager: string, options: NotifierOptions) {
    this.url = `${alertmanager}/api/v2/alerts`;
    this.#options = options;
  }

  get length(): number {
    return this.#queue.size;
  }

  add(messages: readonly Message[]): void {
    if (this.#stopping) return;
    for (const message of messages) {
      this.#queue.delete(message.key);
      this.#queue.set(message.key, message);
    }
    this.#dropOldest(this.#queue.size - QUEUE_MAX);
    this.#sending ??= this.#sendAll().finally(() => {
      this.#sending = undefined;
    });
  }

  async stop(): Promise<void> {
    this.#stopping = true;
    this.#wake?.();
    const timeUp = new Promise<void>((resolve) => {
      setTimeout(resolve, DRAIN_MS).unref();
    });
    await Promise.race([this.#sending, timeUp]);
    if (this.#queue.size > 0) this.#options.onDropped(this.url, "stopping", this.#queue.size);
    this.#queue.clear();
  }

  #dropOldest(count: number): void {
    if (count <= 0) return;
    for (const key of [...this.#queue.keys()].slice(0, count)) this.#queue.delete(key);
    this.#options.onDropped(this.url, "queue_full", count);
  }

  async #sendAll(): Promise<void> {
    while (this.#queue.size > 0) {
      const batch = [...this.#queue.values()].slice(0, BATCH_MAX);
      const again = await this.#sendBatch(batch);
      if (!again) this.#backoffMs = 0;
      // Nobody waits long for a program that stops.
      else if (this.#stopping) return;
      else await this.#pause();
    }
  }

  /** Sends one batch and takes it off the queue; returns whether it has to be tried again. */
  async #sendBatch(batch: readonly Message[]): Promise<boolean> {
    const { post, onSent, onFailure } = this.#options;
    let why: string;
    let mayTryAgain = true;
    try {
      const status = await post(this.url, JSON.stringify(batch.map(({ body }) => body)), TIMEOUT_MS);
      if (status >= 200 && status < 300) {
        this.#take(batch);
        onSent(this.url, batch.length);
        return false;
      }
      why = `bad response status ${status}`;
      mayTryAgain = status >= 500 || status === 429;
    } catch (cause) {
      why = cause instanceof Error ? cause.message : String(cause);
    }
    onFailure(this.url, batch.length, why);
    if (!mayTryAgain) {
      this.#options.onDropped(this.url, "refused", this.#take(batch));
      return false;
    }
    this.#dropExpired(batch);
    return true;
  }

  /** Takes messages off the queue, but for alerts of which a newer one came meanwhile. */
  #take(batch: readonly Message[]): number {
    let taken = 0;
    for (const message of batch) {
      if (this.#queue.get(message.key) !== message) continue;
      this.#queue.delete(message.key);
      taken++;
    }
    return taken;
  }

  /** What ended so long ago would tell nobody anything. */
  #dropExpired(batch: readonly Message[]): void {
    const oldestMs = this.#options.clock.nowMs() - EXPIRED_MS;
    const expired = this.#take(batch.filter(({ endsAtMs }) => endsAtMs < oldestMs));
    if (expired > 0) this.#options.onDropped(this.url, "expired", expired);
  }

  #pause(): Promise<void> {
    this.#backoffMs = Math.min(BACKOFF_MAX_MS, Math.max(BACKOFF_MIN_MS, this.#backoffMs * 2));
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, this.#backoffMs);
      timer.unref();
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}
