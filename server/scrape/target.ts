/** A target: what discovery tells of it and the job's rules make of that. */

import { parseDuration } from "../../grammar/promql-duration.ts";
import { printDurationMs } from "../model/duration.ts";
import type { Labels } from "../model/series.ts";
import { relabel } from "./relabel.ts";
import type { HistogramSettings, ScrapeJob, TargetGroup } from "./scrape-job.ts";

const META_PREFIX = "__meta_";
const RESERVED_PREFIX = "__";
const PARAM_PREFIX = "__param_";
/** Labels that say how histograms of a target are scraped. */
const HISTOGRAM_LABELS = [
  ["native", "__scrape_native_histograms__"],
  ["alwaysClassic", "__always_scrape_classic_histograms__"],
  ["convertClassic", "__convert_classic_histograms_to_nhcb__"],
] as const;
/** What Go's `ParseBool` takes. */
const TRUE_TEXTS = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE_TEXTS = ["0", "f", "F", "FALSE", "false", "False"];

/** One endpoint to scrape. */
export interface TargetSpec {
  /** Before relabelling. */
  readonly discovered: Labels;
  /** Labels that its series get. */
  readonly labels: Labels;
  readonly url: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly histograms: HistogramSettings;
  /** Equal for targets that are the same over a new configuration or discovery. */
  readonly identity: string;
}

/** What became of a discovered target. */
export type TargetOutcome =
  | { readonly kind: "target"; readonly target: TargetSpec }
  | { readonly kind: "dropped"; readonly discovered: Labels }
  | { readonly kind: "invalid"; readonly reason: string };

/** All targets of a group, in its order. */
export function targetsOf(job: ScrapeJob, group: TargetGroup): TargetOutcome[] {
  return group.targets.map((own, index) => {
    const outcome = targetOf(job, own, group.labels);
    if (outcome.kind !== "invalid") return outcome;
    return { kind: "invalid", reason: `instance ${index} in group ${group.source}: ${outcome.reason}` };
  });
}

function targetOf(
  job: ScrapeJob,
  own: ReadonlyMap<string, string>,
  shared: ReadonlyMap<string, string>,
): TargetOutcome {
  const labels = discoveredLabels(job, own, shared);
  const discovered = sorted(labels);
  if (!relabel(labels, job.relabel)) return { kind: "dropped", discovered };
  const address = labels.get("__address__") ?? "";
  if (address === "") return { kind: "invalid", reason: "no address" };
  if (address.includes("/")) return { kind: "invalid", reason: `"${address}" is not a valid hostname` };
  const interval = labels.get("__scrape_interval__") ?? "";
  const timeout = labels.get("__scrape_timeout__") ?? "";
  const intervalMs = durationOf(interval);
  const timeoutMs = durationOf(timeout);
  if (intervalMs === undefined || timeoutMs === undefined || intervalMs === 0 || timeoutMs === 0) {
    const [what, text] = intervalMs ? ["timeout", timeout] : ["interval", interval];
    return { kind: "invalid", reason: `scrape ${what} "${text}" is not a duration above 0` };
  }
  if (timeoutMs > intervalMs) {
    return {
      kind: "invalid",
      reason: `scrape timeout cannot be greater than scrape interval ("${timeout}" > "${interval}")`,
    };
  }
  const histograms = histogramsOf(job, labels);
  if (typeof histograms === "string") return { kind: "invalid", reason: histograms };
  for (const name of [...labels.keys()]) if (name.startsWith(META_PREFIX)) labels.delete(name);
  if (!labels.has("instance")) labels.set("instance", address);
  const url = urlOf(job, labels, address);
  if (url === undefined) return { kind: "invalid", reason: `"${address}" is not a valid hostname` };
  const shown = sorted(labels).filter(([name]) => !name.startsWith(RESERVED_PREFIX));
  const identity = JSON.stringify([sorted(labels), url]);
  return { kind: "target", target: { discovered, labels: shown, url, intervalMs, timeoutMs, histograms, identity } };
}

/** What the target's labels say, and the job where they say nothing; or why they are no answer. */
function histogramsOf({ histograms }: ScrapeJob, labels: ReadonlyMap<string, string>): HistogramSettings | string {
  const found = { ...histograms };
  for (const [name, label] of HISTOGRAM_LABELS) {
    const text = labels.get(label);
    if (text === undefined) continue;
    found[name] = TRUE_TEXTS.includes(text);
    if (!found[name] && !FALSE_TEXTS.includes(text)) return `${label} "${text}" is neither true nor false`;
  }
  return found;
}

function discoveredLabels(
  job: ScrapeJob,
  own: ReadonlyMap<string, string>,
  shared: ReadonlyMap<string, string>,
): Map<string, string> {
  const defaults: [string, string][] = [
    ["job", job.name],
    ["__scrape_interval__", printDurationMs(job.intervalMs)],
    ["__scrape_timeout__", printDurationMs(job.timeoutMs)],
    ["__metrics_path__", job.metricsPath],
    ["__scheme__", job.scheme],
  ];
  for (const [name, label] of HISTOGRAM_LABELS) defaults.push([label, String(job.histograms[name])]);
  for (const [name, [first]] of job.params) if (first !== undefined) defaults.push([PARAM_PREFIX + name, first]);
  const labels = new Map([...new Map([...shared, ...own])].filter(([, value]) => value !== ""));
  for (const [name, value] of defaults) if (value !== "" && !labels.has(name)) labels.set(name, value);
  return labels;
}

function durationOf(text: string): number | undefined {
  const outcome = parseDuration(text);
  return outcome.kind === "ok" ? outcome.milliseconds : undefined;
}

function urlOf(job: ScrapeJob, labels: ReadonlyMap<string, string>, address: string): string | undefined {
  const query = new URLSearchParams();
  const params = new Map([...job.params].map(([name, values]) => [name, [...values]]));
  for (const [name, value] of labels) {
    if (!name.startsWith(PARAM_PREFIX)) continue;
    const key = name.slice(PARAM_PREFIX.length);
    params.set(key, [value, ...(params.get(key)?.slice(1) ?? [])]);
  }
  for (const [name, values] of [...params].sort(([a], [b]) => (a < b ? -1 : 1))) {
    for (const value of values) query.append(name, value);
  }
  const path = labels.get("__metrics_path__") ?? "";
  const text = query.toString();
  const url = `${labels.get("__scheme__") ?? "http"}://${address}${path.startsWith("/") ? "" : "/"}${path}`;
  const whole = text === "" ? url : `${url}?${text}`;
  return URL.canParse(whole) ? whole : undefined;
}

/** Labels in order of name. */
export function sorted(labels: ReadonlyMap<string, string>): Labels {
  return [...labels].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0));
}
