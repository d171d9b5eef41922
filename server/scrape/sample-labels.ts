/** Labels of a scraped series: those it was exposed with, those of its target, and what the job's rules make of both. */

import type { Labels } from "../model/series.ts";
import type { ExposedLabels } from "../wire/exposition.ts";
import { LABELS_MAX, overLimit } from "../wire/series-labels.ts";
import { relabel } from "./relabel.ts";
import type { ScrapeJob, ScrapeLimits } from "./scrape-job.ts";
import { sorted } from "./target.ts";

const METRIC_NAME = "__name__";
const EXPORTED_PREFIX = "exported_";

/** Labels to store, or why the series is left out or the whole scrape is wrong. */
export type SampleLabels =
  | { readonly kind: "labels"; readonly labels: Labels }
  | { readonly kind: "dropped" }
  | { readonly kind: "invalid"; readonly reason: string };

/** Labels of one exposed series. */
export function sampleLabels(exposed: ExposedLabels, target: Labels, job: ScrapeJob): SampleLabels {
  const labels = new Map<string, string>();
  for (const [name, value] of exposed) {
    if (value === "") continue;
    if (labels.has(name)) return { kind: "invalid", reason: `duplicate label ${JSON.stringify(name.slice(0, 100))}` };
    labels.set(name, value);
  }
  addTarget(labels, target, job.honorLabels);
  if (!relabel(labels, job.metricRelabel) || labels.size === 0) return { kind: "dropped" };
  if (!labels.has(METRIC_NAME)) return { kind: "invalid", reason: "missing metric name (__name__ label)" };
  const found = sorted(labels);
  const fault = limitFault(found, job.limits) ?? storeFault(found);
  return fault === undefined ? { kind: "labels", labels: found } : { kind: "invalid", reason: fault };
}

/** A label of the target wins; the exposed one moves to `exported_…`, or wins where the job honours it. */
function addTarget(labels: Map<string, string>, target: Labels, honorLabels: boolean): void {
  const conflicts: [string, string][] = [];
  for (const [name, value] of target) {
    const exposed = labels.get(name);
    if (exposed !== undefined) {
      if (honorLabels) continue;
      conflicts.push([name, exposed]);
    }
    labels.set(name, value);
  }
  conflicts.sort(([a], [b]) => a.length - b.length);
  for (const [name, value] of conflicts) {
    let moved = EXPORTED_PREFIX + name;
    while (labels.has(moved)) moved = EXPORTED_PREFIX + moved;
    labels.set(moved, value);
  }
}

function limitFault(labels: Labels, limits: ScrapeLimits): string | undefined {
  const metric = labels.find(([name]) => name === METRIC_NAME)?.[1].slice(0, 50) ?? "";
  if (limits.labels > 0 && labels.length > limits.labels) {
    return `label_limit exceeded (metric: ${metric}, number of labels: ${labels.length}, limit: ${limits.labels})`;
  }
  if (limits.labelNameBytes === 0 && limits.labelValueBytes === 0) return undefined;
  for (const [name, value] of labels) {
    const nameBytes = Buffer.byteLength(name);
    const valueBytes = Buffer.byteLength(value);
    const shown = name.slice(0, 50);
    if (limits.labelNameBytes > 0 && nameBytes > limits.labelNameBytes) {
      return `label_name_length_limit exceeded (metric: ${metric}, label name: ${shown}, length: ${nameBytes}, limit: ${limits.labelNameBytes})`;
    }
    if (limits.labelValueBytes > 0 && valueBytes > limits.labelValueBytes) {
      return `label_value_length_limit exceeded (metric: ${metric}, label name: ${shown}, length: ${valueBytes}, limit: ${limits.labelValueBytes})`;
    }
  }
  return undefined;
}

/** What no series may have, whichever way it comes. */
function storeFault(labels: Labels): string | undefined {
  if (labels.length > LABELS_MAX) return `a series has ${labels.length} labels; the limit is ${LABELS_MAX}`;
  for (const [name, value] of labels) {
    const fault = overLimit(name, value);
    if (fault !== "") return fault;
  }
  return undefined;
}

/** Labels of a series that tells of the scrape itself. */
export function reportLabels(name: string, target: Labels): Labels {
  return sorted(new Map([...target, [METRIC_NAME, name]]));
}
