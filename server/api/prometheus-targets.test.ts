import assert from "node:assert/strict";
import test from "node:test";
import type { MetricMetadata } from "../model/series.ts";
import { readScrapeConfig } from "../scrape/scrape-config.ts";
import type { ScrapeJob } from "../scrape/scrape-job.ts";
import type { ActiveTarget } from "../scrape/scraper.ts";
import { targetsOf } from "../scrape/target.ts";
import { json, startFixture } from "./api-fixture.test.ts";

const CONFIG = `
scrape_configs:
  - job_name: go
    basic_auth: {username: u, password: hidden}
    static_configs: [{targets: ["a:1", "b:1"]}]
`;
const METADATA: readonly MetricMetadata[] = [
  { name: "up_total", type: "counter", help: "h", unit: "" },
  { name: "size", type: "gauge", help: "s", unit: "bytes" },
];

function goJob(): ScrapeJob {
  const outcome = readScrapeConfig("/etc/scrape.yml", CONFIG);
  const [job] = outcome.kind === "jobs" ? outcome.jobs : [];
  assert.ok(job !== undefined);
  return job;
}

function activeTargets(job: ScrapeJob): ActiveTarget[] {
  const groups = job.discovery.flatMap((each) => (each.kind === "static" ? [each.group] : []));
  return groups
    .flatMap((group) => targetsOf(job, group))
    .flatMap((outcome) => (outcome.kind === "target" ? [outcome.target] : []))
    .map((target) => ({
      job: job.name,
      target,
      metadata: METADATA,
      health: "up",
      lastError: "",
      lastScrapeMs: 0,
      lastDurationSeconds: 0,
    }));
}

test("a pool is told as it is configured, one that is not there by its name", async (context) => {
  const job = goJob();
  const scrapes = { jobs: () => [job], targets: () => [], dropped: () => new Map() };
  const { url } = await startFixture(context, { scrapes });
  const { body } = await json(`${url}/api/v1/scrape_pools/config?scrapePool=go`);
  assert.deepEqual(body, { status: "success", data: { yaml: job.print() } });
  assert.match(job.print(), /^job_name: go\n.*password: <secret>/s);
  const other = await json(`${url}/api/v1/scrape_pools/config?scrapePool=no`);
  assert.partialDeepStrictEqual(other.body, { error: 'error retrieving scrape config: scrape pool "no" not found' });
});

test("metadata of targets is limited by targets, each told whole", async (context) => {
  const job = goJob();
  const scrapes = { jobs: () => [job], targets: () => activeTargets(job), dropped: () => new Map() };
  const { url } = await startFixture(context, { scrapes });
  const told = async (more: string) => {
    const { body } = await json(`${url}/api/v1/targets/metadata?${more}`);
    // In the shape of Prometheus' API.
    const { data } = body as { data: { target: { instance: string }; metric?: string }[] };
    return data.map(({ target, metric }) => [target.instance, metric]);
  };
  const first = [
    ["a:1", "up_total"],
    ["a:1", "size"],
  ];
  assert.deepEqual(await told("limit=0"), []);
  assert.deepEqual(await told("limit=1"), first);
  assert.deepEqual(await told("limit=2"), first);
  assert.equal((await told("limit=3")).length, 4);
  assert.deepEqual(await told("metric=size&limit=1"), [["a:1", undefined]]);
  assert.equal((await told("")).length, 4);
});
