/** All jobs: reads the configuration, finds targets, keeps one loop for each. */

import type { Labels, MetricMetadata } from "../model/series.ts";
import { JobDiscovery } from "./discover.ts";
import { readScrapeConfig, SCRAPE_CONFIG_BYTES_MAX, type ScrapeConfigOutcome } from "./scrape-config.ts";
import type { ScrapeJob, TargetGroup } from "./scrape-job.ts";
import { type TargetSpec, targetsOf } from "./target.ts";
import { type LoopDeps, type TargetHealth, TargetLoop } from "./target-loop.ts";

/** Targets of all jobs. */
const TARGETS_MAX = 20_000;
/** Dropped targets that a job remembers where its configuration gives no number. */
const DROPPED_MAX = 10_000;

/** What the scraper needs beside what its loops need. */
export interface ScraperDeps extends LoopDeps {
  readonly readConfig: (bytesMax: number) => Promise<{ readonly name: string; readonly text: string }>;
  /** A place of discovery could not be asked, a target is not valid, or there are too many. */
  readonly onFailure: (job: string, why: string) => void;
}

/** Discovered labels of targets that rules dropped, by job. */
export type DroppedTargets = ReadonlyMap<string, { readonly count: number; readonly discovered: readonly Labels[] }>;

/** A target that is scraped. */
export interface ActiveTarget extends TargetHealth {
  readonly job: string;
  readonly target: TargetSpec;
  readonly metadata: Iterable<MetricMetadata>;
}

/** Runs jobs until it is stopped. */
export class Scraper {
  readonly #deps: ScraperDeps;
  readonly #pools = new Map<string, Pool>();

  constructor(deps: ScraperDeps) {
    this.#deps = deps;
  }

  get jobs(): readonly ScrapeJob[] {
    return [...this.#pools.values()].map(({ job }) => job);
  }

  /** Reads the configuration, and changes nothing. @throws Error where the file cannot be read */
  async read(): Promise<ScrapeConfigOutcome> {
    const { name, text } = await this.#deps.readConfig(SCRAPE_CONFIG_BYTES_MAX);
    return readScrapeConfig(name, text);
  }

  /** Makes the jobs that run be these. Jobs that did not change go on. */
  run(jobs: readonly ScrapeJob[]): void {
    const wanted = new Set(jobs.map((job) => job.name));
    for (const [jobName, pool] of this.#pools) {
      if (wanted.has(jobName)) continue;
      pool.retire();
      this.#pools.delete(jobName);
    }
    for (const job of jobs) {
      const pool = this.#pools.get(job.name);
      if (pool === undefined) this.#pools.set(job.name, new Pool(job, this.#deps, () => this.#targetsLeft()));
      else pool.update(job);
    }
  }

  active(): ActiveTarget[] {
    return [...this.#pools.values()].flatMap((pool) => pool.active());
  }

  dropped(): DroppedTargets {
    return new Map([...this.#pools].map(([name, pool]) => [name, pool.dropped]));
  }

  async stop(): Promise<void> {
    await Promise.all([...this.#pools.values()].map((pool) => pool.stop()));
  }

  #targetsLeft(): number {
    let left = TARGETS_MAX;
    for (const pool of this.#pools.values()) left -= pool.size;
    return left;
  }
}

/** Targets of one job. */
class Pool {
  readonly #deps: ScraperDeps;
  readonly #targetsLeft: () => number;
  /** By the target's identity. */
  readonly #loops = new Map<string, TargetLoop>();
  /** Loops of targets that are gone, until their series are ended. */
  readonly #retired = new Map<string, TargetLoop>();
  #discovery: JobDiscovery;
  #job: ScrapeJob;
  #groups: readonly TargetGroup[] = [];
  #dropped: Labels[] = [];
  #droppedCount = 0;

  constructor(job: ScrapeJob, deps: ScraperDeps, targetsLeft: () => number) {
    this.#job = job;
    this.#deps = deps;
    this.#targetsLeft = targetsLeft;
    this.#discovery = this.#discover();
  }

  get job(): ScrapeJob {
    return this.#job;
  }

  get size(): number {
    return this.#loops.size;
  }

  get dropped(): { readonly count: number; readonly discovered: readonly Labels[] } {
    return { count: this.#droppedCount, discovered: this.#dropped };
  }

  active(): ActiveTarget[] {
    return [...this.#loops.values()].map((loop) => {
      return { job: this.#job.name, target: loop.target, metadata: loop.metadata, ...loop.health };
    });
  }

  update(job: ScrapeJob): void {
    if (job.identity === this.#job.identity) return;
    this.#job = job;
    this.#discovery.stop();
    this.#discovery = this.#discover();
  }

  retire(): void {
    this.#discovery.stop();
    this.#sync([]);
  }

  async stop(): Promise<void> {
    this.#discovery.stop();
    await Promise.all([...this.#loops.values(), ...this.#retired.values()].map((loop) => loop.stop()));
  }

  #discover(): JobDiscovery {
    const fail = (why: string) => this.#deps.onFailure(this.#job.name, why);
    const discovery = new JobDiscovery(this.#job, (groups) => this.#sync(groups), fail);
    discovery.start().catch((error: unknown) => fail(String(error)));
    return discovery;
  }

  /** Makes the loops be those of the groups' targets. */
  #sync(groups: readonly TargetGroup[]): void {
    this.#groups = groups;
    this.#dropped = [];
    this.#droppedCount = 0;
    const wanted = new Map<string, TargetSpec>();
    const keepDropped = this.#job.limits.keepDropped || DROPPED_MAX;
    for (const outcome of this.#groups.flatMap((group) => targetsOf(this.#job, group))) {
      if (outcome.kind === "target") wanted.set(outcome.target.identity, outcome.target);
      else if (outcome.kind === "dropped") {
        this.#droppedCount++;
        if (this.#dropped.length < keepDropped) this.#dropped.push(outcome.discovered);
      } else this.#deps.onFailure(this.#job.name, outcome.reason);
    }
    for (const [identity, loop] of this.#loops) {
      if (wanted.has(identity)) continue;
      this.#loops.delete(identity);
      this.#retired.set(identity, loop);
      loop.retire(() => this.#retired.delete(identity));
    }
    this.#grow(wanted);
    const { targets } = this.#job.limits;
    const isOver = targets > 0 && wanted.size > targets;
    const error = isOver ? `target_limit exceeded (number of targets: ${wanted.size}, limit: ${targets})` : "";
    for (const loop of this.#loops.values()) loop.force(error);
  }

  #grow(wanted: ReadonlyMap<string, TargetSpec>): void {
    let leftOut = 0;
    for (const [identity, target] of wanted) {
      const running = this.#loops.get(identity);
      if (running !== undefined) {
        running.update(this.#job, target);
        continue;
      }
      if (this.#targetsLeft() <= 0) {
        leftOut++;
        continue;
      }
      const loop = this.#retired.get(identity) ?? new TargetLoop(this.#job, target, this.#deps);
      this.#retired.delete(identity);
      loop.update(this.#job, target);
      this.#loops.set(identity, loop);
      loop.start();
    }
    if (leftOut > 0) {
      this.#deps.onFailure(
        this.#job.name,
        `${leftOut} targets are left out: there are more than ${TARGETS_MAX} in all`,
      );
    }
  }
}
