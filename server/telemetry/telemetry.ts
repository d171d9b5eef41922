/**
 * Our own counters and gauges, and their text for `/metrics`.
 *
 * Invariants: a counter never goes down; a value outside a label's list counts as `other`, so nothing that arrives
 * from outside can add series without end.
 */

import { monitorEventLoopDelay } from "node:perf_hooks";
import {
  type LabelValues,
  LOOP_PERCENTILES,
  METRICS,
  type MetricDefinition,
  type MetricName,
  OTHER,
} from "./metric-table.ts";

/** How often the loop's delay is looked at; the figure includes it. */
const LOOP_RESOLUTION_MS = 10;

/** Label values of one metric, by label name. */
export type LabelsOf<N extends MetricName> = Readonly<Record<keyof (typeof METRICS)[N]["labels"] & string, string>>;

interface Metric {
  readonly name: string;
  readonly definition: MetricDefinition;
  /** By label values joined with NUL. */
  readonly values: Map<string, number>;
  /** By label, in the order of the definition: the values let in so far. */
  readonly known: ReadonlyMap<string, Set<string>>;
}

/** The registry. One for a program. */
export class Telemetry {
  readonly #metrics = new Map<string, Metric>();
  readonly #collectors: (() => void)[] = [];
  readonly #loop = monitorEventLoopDelay({ resolution: LOOP_RESOLUTION_MS });

  constructor() {
    for (const [name, definition] of Object.entries<MetricDefinition>(METRICS)) {
      this.#metrics.set(name, emptyMetric(name, definition));
    }
    this.#loop.enable();
    const startedSeconds = Date.now() / 1000 - process.uptime();
    this.set("process_start_time_seconds", {}, Math.round(startedSeconds * 1000) / 1000);
  }

  /** Adds to a counter. `by` is not negative. */
  count<N extends MetricName>(name: N, labels: LabelsOf<N>, by = 1): void {
    const metric = this.#metricOf(name);
    const key = keyOf(metric, labels);
    metric.values.set(key, (metric.values.get(key) ?? 0) + by);
  }

  /** Sets a gauge, or a counter that is kept elsewhere; that one must not go down. */
  set<N extends MetricName>(name: N, labels: LabelsOf<N>, value: number): void {
    const metric = this.#metricOf(name);
    metric.values.set(keyOf(metric, labels), value);
  }

  /** Current value of one series; 0 where it was never counted. */
  value<N extends MetricName>(name: N, labels: LabelsOf<N>): number {
    const metric = this.#metricOf(name);
    return metric.values.get(keyOf(metric, labels)) ?? 0;
  }

  /** Registers what shall `set` values kept elsewhere; called before every `render`. */
  onRender(collect: () => void): void {
    this.#collectors.push(collect);
  }

  /** Counts a damaged part of a file under the reason that its name tells. */
  countDamage(file: string): void {
    this.count("thalweg_store_damage_total", { reason: damageReason(file) });
  }

  /**
   * Prometheus text exposition 0.0.4 of all metrics, in the order of the table.
   *
   * @param shows Which metrics a program has that does not have all.
   */
  render(shows: (name: string) => boolean = () => true): string {
    for (const collect of this.#collectors) collect();
    const { user, system } = process.cpuUsage();
    this.set("process_cpu_seconds_total", {}, (user + system) / 1e6);
    for (const percentile of LOOP_PERCENTILES) {
      // Node measures from one look to the next: the time it meant to wait between them is no delay.
      const delayMs = Math.max(0, this.#loop.percentile(Number(percentile)) / 1e6 - LOOP_RESOLUTION_MS);
      this.set("thalweg_loop_delay_seconds", { percentile }, delayMs / 1e3);
    }
    this.#loop.reset();
    this.set("process_resident_memory_bytes", {}, process.memoryUsage.rss());
    const lines: string[] = [];
    for (const { name, definition, values } of this.#metrics.values()) {
      if (!shows(name)) continue;
      lines.push(`# HELP ${name} ${definition.help}`, `# TYPE ${name} ${definition.type}`);
      const labels = Object.keys(definition.labels);
      for (const [key, value] of values) lines.push(`${name}${labelText(labels, key)} ${numberText(value)}`);
    }
    return `${lines.join("\n")}\n`;
  }

  #metricOf(name: MetricName): Metric {
    const metric = this.#metrics.get(name);
    if (metric === undefined) throw new Error(`metric ${name} is not in the table`);
    return metric;
  }
}

function damageReason(file: string): string {
  if (/metrics-\d+\.log/.test(file)) return "metric_log";
  if (/block-\d+-\d+\.metrics/.test(file)) return "metric_block";
  if (file.includes(".wal")) return "span_log";
  return file.includes(".duckdb") ? "span_file" : OTHER;
}

function emptyMetric(name: string, definition: MetricDefinition): Metric {
  const labels = Object.entries(definition.labels);
  const known = new Map(labels.map(([label, values]) => [label, new Set(closedValues(values))]));
  let keys = [""];
  for (const [at, [, values]] of labels.entries()) {
    keys = keys.flatMap((key) => closedValues(values).map((value) => (at === 0 ? value : `${key}\u0000${value}`)));
  }
  return { name, definition, known, values: new Map(keys.map((key) => [key, 0])) };
}

/** A label without a list starts with `other`, so that the metric is present before its first value. */
function closedValues(values: LabelValues): readonly string[] {
  return "distinctMax" in values ? [OTHER] : values;
}

function keyOf({ known, definition }: Metric, labels: Readonly<Record<string, string>>): string {
  let key = "";
  let separator = "";
  for (const [label, among] of known) {
    const value = labels[label] ?? OTHER;
    let shown = value;
    if (!among.has(value)) {
      const values = definition.labels[label];
      if (values !== undefined && "distinctMax" in values && among.size < values.distinctMax) among.add(value);
      else shown = OTHER;
    }
    key += separator + shown;
    separator = "\u0000";
  }
  return key;
}

function labelText(labels: readonly string[], key: string): string {
  if (labels.length === 0) return "";
  const values = key.split("\u0000");
  return `{${labels.map((label, at) => `${label}="${escaped(values[at] ?? "")}"`).join(",")}}`;
}

function escaped(value: string): string {
  return value.replaceAll("\\", "\\\\").replaceAll("\n", "\\n").replaceAll('"', '\\"');
}

function numberText(value: number): string {
  if (Number.isFinite(value)) return String(value);
  if (Number.isNaN(value)) return "NaN";
  return value > 0 ? "+Inf" : "-Inf";
}
