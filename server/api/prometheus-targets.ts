/**
 * What is scraped, in Prometheus' shapes: targets, their metadata, jobs, and how rules change the labels of a target.
 */

import { printDurationMs } from "../model/duration.ts";
import type { Labels, MetricMetadata } from "../model/series.ts";
import { matcherTest, parseSelector, quoteText } from "../query/promql-texts.ts";
import { relabel } from "../scrape/relabel.ts";
import type { ScrapeJob } from "../scrape/scrape-job.ts";
import type { ActiveTarget } from "../scrape/scraper.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { AddRoute, PrometheusAnswer, PrometheusRequest } from "./prometheus-answer.ts";
import { invalid, PrometheusError, readPlainLimit } from "./prometheus-parameters.ts";

const GET = ["GET"] as const;
/** Go's time that was never set. */
const NEVER = "0001-01-01T00:00:00Z";

/** Adds the routes. */
export function addTargetRoutes(add: AddRoute, deps: ApiDeps): void {
  add("targets", GET, (request) => answerTargets(deps, request));
  add("targets/metadata", GET, (request) => answerMetadata(deps, request));
  add("targets/relabel_steps", GET, ({ form }) => {
    const pool = neededPool(form.get("scrapePool"));
    const text = form.get("labels");
    if (text === "") throw new PrometheusError("bad_data", "no labels parameter provided");
    return { data: { steps: relabelSteps(jobOf(deps, pool), text) } };
  });
  add("scrape_pools", GET, () => ({
    data: {
      scrapePools: deps.scrapes
        .jobs()
        .map(({ name }) => name)
        .sort(),
    },
  }));
  add("scrape_pools/config", GET, ({ form }) => ({
    data: { yaml: jobOf(deps, neededPool(form.get("scrapePool"))).print() },
  }));
}

function answerTargets({ scrapes }: ApiDeps, { form }: PrometheusRequest): PrometheusAnswer {
  const state = form.get("state").toLowerCase();
  const pool = form.get("scrapePool");
  const isAsked = (job: string) => pool === "" || pool === job;
  const shows = (kind: string) => state === "" || state === "any" || state === kind;
  const active = shows("active") ? scrapes.targets().filter(({ job }) => isAsked(job)) : [];
  const dropped = shows("dropped") ? [...scrapes.dropped()].filter(([job]) => isAsked(job)) : [];
  return {
    data: {
      activeTargets: active.sort((a, b) => (a.job < b.job ? -1 : a.job > b.job ? 1 : 0)).map(showTarget),
      droppedTargets: dropped.flatMap(([scrapePool, { discovered }]) =>
        discovered.map((labels) => ({ discoveredLabels: Object.fromEntries(labels), scrapePool })),
      ),
      droppedTargetCounts: shows("dropped")
        ? Object.fromEntries(dropped.map(([job, { count }]) => [job, count]))
        : null,
    },
  };
}

function showTarget({ job, target, health, lastError, lastScrapeMs, lastDurationSeconds }: ActiveTarget): object {
  return {
    discoveredLabels: Object.fromEntries(target.discovered),
    labels: Object.fromEntries(target.labels),
    scrapePool: job,
    scrapeUrl: target.url,
    globalUrl: target.url,
    lastError,
    lastScrape: lastScrapeMs === 0 ? NEVER : new Date(lastScrapeMs).toISOString(),
    lastScrapeDuration: lastDurationSeconds,
    health,
    scrapeInterval: printDurationMs(target.intervalMs),
    scrapeTimeout: printDurationMs(target.timeoutMs),
  };
}

function answerMetadata(deps: ApiDeps, { form }: PrometheusRequest): PrometheusAnswer {
  const limit = readPlainLimit(form, "limit") ?? -1;
  const metric = form.get("metric");
  const isAsked = targetTest(deps, form.get("match_target"));
  const found: object[] = [];
  for (const { target, metadata } of deps.scrapes.targets()) {
    // Of a target that is begun everything is told, as Prometheus does.
    if (limit >= 0 && found.length >= limit) break;
    if (!isAsked(target.labels)) continue;
    const labels = Object.fromEntries(target.labels);
    for (const each of metadata) {
      if (metric === "" || metric === each.name) found.push(showMetadata(labels, each, metric));
    }
  }
  return { data: found };
}

function showMetadata(target: object, { name, type, help, unit }: MetricMetadata, asked: string): object {
  return { target, ...(asked === "" ? { metric: name } : {}), type, help, unit };
}

function targetTest(deps: ApiDeps, text: string): (labels: Labels) => boolean {
  if (text === "") return () => true;
  const outcome = parseSelector(text, deps.prometheus.promql);
  if (outcome.kind === "refused") throw invalid("match_target", outcome.message);
  if (outcome.kind === "matches_empty") return () => true;
  const tests = outcome.matchers.map((matcher) => ({ name: matcher.name, test: matcherTest(matcher) }));
  return (labels) => tests.every(({ name, test }) => test(labels.find(([key]) => key === name)?.[1] ?? ""));
}

function jobOf({ scrapes }: ApiDeps, pool: string): ScrapeJob {
  const job = scrapes.jobs().find(({ name }) => name === pool);
  if (job === undefined) {
    throw new PrometheusError("bad_data", `error retrieving scrape config: scrape pool ${quoteText(pool)} not found`);
  }
  return job;
}

/** Labels after each rule of the job, until one drops the target. */
function relabelSteps(job: ScrapeJob, text: string): object[] {
  const labels = new Map(Object.entries(readLabels(text)));
  const steps: object[] = [];
  for (const rule of job.relabel) {
    const keep = relabel(labels, [rule]);
    const shown = {
      action: rule.action,
      source_labels: rule.sourceLabels,
      regex: rule.regex,
      target_label: rule.targetLabel,
    };
    steps.push({
      rule: { ...shown, separator: rule.separator, replacement: rule.replacement },
      output: Object.fromEntries(labels),
      keep,
    });
    if (!keep) break;
  }
  return steps;
}

function readLabels(text: string): Record<string, string> {
  let parsed: unknown;
  try {
    parsed = JSON.parse(text);
  } catch {
    parsed = undefined;
  }
  if (
    typeof parsed === "object" &&
    parsed !== null &&
    Object.values(parsed).every((each) => typeof each === "string")
  ) {
    return Object.fromEntries(Object.entries(parsed).map(([name, value]) => [name, String(value)]));
  }
  throw new PrometheusError(
    "bad_data",
    `failed to parse labels: ${quoteText(text.slice(0, 100))} is no JSON object of texts`,
  );
}

function neededPool(pool: string): string {
  if (pool === "") throw new PrometheusError("bad_data", "no scrapePool parameter provided");
  return pool;
}
