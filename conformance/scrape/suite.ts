/**
 * The suite `scrape`: the same targets are scraped by us and by a real Prometheus, which then tell the same series, values,
 * targets and ends of series.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { isDeepStrictEqual, parseArgs } from "node:util";
import { metricLedgerFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { Prometheus } from "../prometheus.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { scrapeConfig, Targets } from "./targets.ts";

/** Scrapes of a second before both are asked. */
const SCRAPES = 7;
const SETTLE_MS_MAX = 20_000;
const FILE_POLL_MS = 7_000;
/** A label that later versions of Prometheus give to targets before relabelling. */
const HISTOGRAM_LABEL = "__scrape_native_histograms__";

/**
 * Answered alike by both, whenever they scraped. Of an answer that is wrong in the middle Prometheus does not end the series
 * that came before the fault; here they end like the others, which the job `breaks` shows.
 */
const QUERIES: readonly string[] = [
  'last_over_time({job!="",__name__!="scrape_duration_seconds"}[20s])',
  'up{job!=""}',
  'scrape_samples_scraped{job!="comes-and-goes"}',
  "scrape_samples_post_metric_relabeling",
  "goes",
  "stays",
  "last_over_time(breaks_later[20s])",
  'count by (job) ({job!="",job!="breaks"})',
  'absent(goes{job="comes-and-goes"})',
  'min_over_time(up{job=~"breaks|text|nobody"}[6s])',
  "scrape_series_added",
];

/** Where a Prometheus is not Debian's: `--prometheus PROGRAM`. */
export async function runScrape(): Promise<SuiteOutcome> {
  const { values } = parseArgs({ options: { prometheus: { type: "string" } }, strict: false });
  const binary = typeof values.prometheus === "string" ? values.prometheus : "prometheus";
  const report = new SuiteReport();
  if (spawnSync(binary, ["--version"]).status !== 0) {
    report.skip("scrape", `there is no ${binary}`, "servers");
    return report.outcome;
  }
  const directory = mkdtempSync(join(tmpdir(), "thalweg-scrape-"));
  const targets = await Targets.start();
  const file = join(directory, "targets.json");
  writeFileSync(file, JSON.stringify([{ targets: [targets.address], labels: { from_file: "first" } }]));
  const config = scrapeConfig(targets.address, file);
  const configFile = join(directory, "scrape.yml");
  writeFileSync(configFile, config);
  const prometheus = await Prometheus.start(binary, { config });
  const program = await Program.start(["--capture", "off", "--scrape.config", configFile]);
  try {
    await sleep((SCRAPES + 1) * 1000);
    await compare(report, prometheus.http, program.http);
    const broken = (await program.promql('breaks_later or up{job="breaks"}')).map(({ value }) => value);
    report.add("series of a broken answer end", isDeepStrictEqual(broken, [0]) ? "" : `there is ${broken}`);
    await checkFiles(report, { program, targets, file });
    await checkReload(report, { program, configFile });
    report.add("received = stored + rejected + lost", await metricLedgerFault(program));
  } catch (error) {
    report.add("scrape", error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    await program.discard();
    await prometheus.discard();
    await targets.stop();
    rmSync(directory, { recursive: true, force: true });
  }
  return report.outcome;
}

async function compare(report: SuiteReport, theirs: string, ours: string): Promise<void> {
  for (const query of QUERIES) {
    const ask = async (base: string) => vectorOf(await get(`${base}/api/v1/query?query=${encodeURIComponent(query)}`));
    report.add(
      query,
      await agreement(
        () => ask(theirs),
        () => ask(ours),
      ),
    );
  }
  const { activeTargets: known } = (await get(`${theirs}/api/v1/targets`)) as TargetsAnswer;
  const tellsHistograms = known.some(({ discoveredLabels }) => HISTOGRAM_LABEL in discoveredLabels);
  const targetsOf = async (base: string) => {
    const { activeTargets, droppedTargets } = (await get(`${base}/api/v1/targets`)) as TargetsAnswer;
    const shown = (target: ShownTarget) => (tellsHistograms ? target : withoutHistogramLabels(target));
    return [
      ...activeTargets.map((each) => comparable(shown(each))),
      ...droppedTargets.map((each) => ({ dropped: sorted(shown(each).discoveredLabels) })),
    ]
      .map((each) => JSON.stringify(each))
      .sort();
  };
  report.add(
    "targets",
    await agreement(
      () => targetsOf(theirs),
      () => targetsOf(ours),
    ),
  );
  const metadata = async (base: string) =>
    (
      (await get(
        `${base}/api/v1/targets/metadata?match_target=${encodeURIComponent('{job=~"text|open-metrics"}')}`,
      )) as object[]
    )
      .map((each) => JSON.stringify(sorted(each)))
      .sort();
  report.add(
    "targets/metadata",
    await agreement(
      () => metadata(theirs),
      () => metadata(ours),
    ),
  );
  const pools = async (base: string) => get(`${base}/api/v1/scrape_pools`);
  report.add(
    "scrape_pools",
    await agreement(
      () => pools(theirs),
      () => pools(ours),
    ),
  );
  const federated = async (base: string) => {
    const match = encodeURIComponent('{job=~"text|labels"}');
    const text = await (await fetch(`${base}/federate?match[]=${match}`)).text();
    // Times differ by when each scraped.
    return text
      .split("\n")
      .filter((line) => !/scrape_duration/.test(line))
      .map((line) => line.replace(/ \d+$/, "").replace(/[{,}]/g, "\n").split("\n").sort().join(","))
      .sort();
  };
  report.add(
    "federate",
    await agreement(
      () => federated(theirs),
      () => federated(ours),
    ),
  );
}

/** Until both agree: they scrape at times of their own. */
async function agreement(theirs: () => Promise<unknown>, ours: () => Promise<unknown>): Promise<string> {
  let difference = "";
  const deadline = performance.now() + SETTLE_MS_MAX;
  while (performance.now() < deadline) {
    const [wanted, got] = await Promise.all([theirs(), ours()]);
    if (isDeepStrictEqual(wanted, got)) return "";
    difference = differenceOf(wanted, got);
    await sleep(500);
  }
  return difference;
}

function differenceOf(wanted: unknown, got: unknown): string {
  const lines = (value: unknown) =>
    Array.isArray(value) ? value.map((each) => JSON.stringify(each)) : [JSON.stringify(value)];
  const [left, right] = [lines(wanted), lines(got)];
  const missing = left.filter((line) => !right.includes(line)).slice(0, 8);
  const more = right.filter((line) => !left.includes(line)).slice(0, 8);
  return [...missing.map((line) => `only Prometheus: ${line}`), ...more.map((line) => `only Thalweg: ${line}`)].join(
    "\n",
  );
}

interface ShownTarget {
  readonly discoveredLabels: Readonly<Record<string, string>>;
  readonly labels: Readonly<Record<string, string>>;
  readonly scrapePool: string;
  readonly scrapeUrl: string;
  readonly lastError: string;
  readonly health: string;
  readonly scrapeInterval: string;
  readonly scrapeTimeout: string;
}

interface TargetsAnswer {
  readonly activeTargets: readonly ShownTarget[];
  readonly droppedTargets: readonly ShownTarget[];
}

/** Errors are in words of their own. */
function comparable(target: ShownTarget): object {
  const { labels, scrapePool, scrapeUrl, lastError, health, scrapeInterval, scrapeTimeout } = target;
  const failed = lastError !== "";
  return {
    discovered: sorted(target.discoveredLabels),
    labels: sorted(labels),
    scrapePool,
    scrapeUrl,
    failed,
    health,
    scrapeInterval,
    scrapeTimeout,
  };
}

/** As versions that do not give them tell it. */
function withoutHistogramLabels(target: ShownTarget): ShownTarget {
  const labels = Object.entries(target.discoveredLabels).filter(([name]) => !/histogram/.test(name));
  return { ...target, discoveredLabels: Object.fromEntries(labels) };
}

function sorted(record: object): object {
  return Object.fromEntries(Object.entries(record).sort(([a], [b]) => (a < b ? -1 : 1)));
}

/** Whether something comes true in time. */
async function holds(test: () => Promise<boolean>, msMax: number): Promise<boolean> {
  return (await until(async () => (await test()) || undefined, msMax)) === true;
}

/** A job of files follows them. */
async function checkFiles(
  report: SuiteReport,
  { program, targets, file }: { readonly program: Program; readonly targets: Targets; readonly file: string },
): Promise<void> {
  writeFileSync(file, `- targets: ["${targets.address}"]\n  labels: {from_file: second}\n`);
  const values = async () => (await program.promql('up{job="files"}')).map(({ metric }) => metric["from_file"] ?? "");
  const came = await holds(async () => (await values()).includes("second"), FILE_POLL_MS);
  report.add("a changed file brings its target", came ? "" : `up tells ${await values()}`);
  const ended = await holds(async () => !(await values()).includes("first"), FILE_POLL_MS);
  report.add("the target that is gone ends", ended ? "" : `up tells ${await values()}`);
}

/** SIGHUP loads the jobs again; a wrong file changes nothing. */
async function checkReload(
  report: SuiteReport,
  { program, configFile }: { readonly program: Program; readonly configFile: string },
): Promise<void> {
  const pools = async () =>
    ((await get(`${program.http}/api/v1/scrape_pools`)) as { scrapePools: string[] }).scrapePools;
  const before = await pools();
  writeFileSync(configFile, "scrape_configs: [{job_name: ''}]\n");
  program.signal("SIGHUP");
  const told = await holds(async () => program.output.includes("job_name is empty"), 5_000);
  report.add("a wrong file is told", told ? "" : program.output.slice(-500));
  report.add(
    "a wrong file changes nothing",
    isDeepStrictEqual(await pools(), before) ? "" : `jobs are ${await pools()}`,
  );
  writeFileSync(configFile, "scrape_configs: [{job_name: only}]\n");
  program.signal("SIGHUP");
  const loaded = await holds(async () => isDeepStrictEqual(await pools(), ["only"]), 5_000);
  report.add("SIGHUP loads the jobs again", loaded ? "" : `jobs are ${await pools()}`);
  const ended = await holds(async () => (await program.promql('up{job="text"}')).length === 0, 5_000);
  report.add("series of a job that is gone end", ended ? "" : "up is still there");
}

/** The answer's data. */
async function get(url: string): Promise<unknown> {
  const body: { data: unknown } = JSON.parse(await (await fetch(url)).text());
  return body.data;
}

function vectorOf(data: unknown): string[] {
  // Both answer instant queries in this shape.
  const { result } = data as { result: { metric: object; value: [number, string] }[] };
  return result.map(({ metric, value }) => `${JSON.stringify(sorted(metric))} ${value[1]}`).sort();
}
