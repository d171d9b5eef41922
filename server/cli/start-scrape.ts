/** Scraping as the server runs it: the configuration file, connections, log, counters. */

import type { Settings } from "../config/settings.ts";
import { acceptSeries } from "../ingest/accept-series.ts";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { ByteRoom } from "../platform/body-blocks.ts";
import { type HttpAnswer, HttpGetter } from "../platform/http-get.ts";
import { readPatternFiles } from "../platform/pattern-files.ts";
import { httpTls, requestHeaders } from "../scrape/http-client.ts";
import { TurnQueue } from "../scrape/read-answer.ts";
import type { ScrapeJob } from "../scrape/scrape-job.ts";
import { type ActiveTarget, type DroppedTargets, Scraper, type ScraperDeps } from "../scrape/scraper.ts";
import type { TargetSpec } from "../scrape/target.ts";
import type { Store } from "../store/store.ts";
import type { Log } from "../telemetry/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";

/** Bytes of one answer where its job sets no limit. */
const BODY_BYTES_MAX = 64 * 2 ** 20;

/** What scraping is made from. */
export interface ScrapeParts {
  readonly settings: Settings;
  readonly store: Store;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly log: Log;
  /** Bytes of all answers that are read at the same time, and of their samples until they are stored. */
  readonly answerBytesMax: number;
}

/** Scraping that runs, or that nobody asked for. */
export interface RunningScrapes {
  /** Loads the configuration and starts. @throws ThalwegError `scrape_config_invalid` */
  start(): Promise<void>;
  /** Loads the configuration again; what is wrong is returned, and nothing has changed then. */
  reload(): Promise<string | undefined>;
  jobs(): readonly ScrapeJob[];
  targets(): ActiveTarget[];
  dropped(): DroppedTargets;
  stop(): Promise<void>;
}

/** Prepares scraping; nothing is read before `start`. */
export function prepareScrapes(parts: ScrapeParts): RunningScrapes {
  const { settings, telemetry, log } = parts;
  const connections = new Connections(parts.answerBytesMax);
  const scraper = new Scraper(scraperDeps(parts, connections));
  const load = async (): Promise<readonly string[]> => {
    if (settings.scrapeConfig === "") return [];
    let reasons: readonly string[] = [];
    try {
      const outcome = await scraper.load();
      if (outcome.kind === "refused") reasons = outcome.reasons;
      else {
        for (const warning of outcome.warnings) log.warn({ warning }, "the scrape configuration was read in part");
        log.info({ jobs: outcome.jobs }, "the scrape configuration is loaded");
      }
    } catch (error) {
      reasons = [error instanceof Error ? error.message : String(error)];
    }
    telemetry.set("thalweg_scrape_reload_successful", {}, reasons.length === 0 ? 1 : 0);
    return reasons;
  };
  return {
    start: async () => {
      const reasons = await load();
      if (reasons.length > 0) throw new ThalwegError("scrape_config_invalid", { reason: reasons.join("; ") });
      telemetry.onRender(() => telemetry.set("thalweg_scrape_targets", {}, scraper.active().length));
    },
    reload: async () => {
      const reasons = await load();
      for (const reason of reasons) log.error({ reason }, "the scrape configuration could not be loaded");
      if (reasons.length === 0) return undefined;
      return `error loading the scrape configuration, the one before goes on: ${reasons.join("; ")}`;
    },
    jobs: () => scraper.jobs,
    targets: () => scraper.active(),
    dropped: () => scraper.dropped(),
    stop: async () => {
      connections.abort();
      await scraper.stop();
      connections.close();
    },
  };
}

function scraperDeps(parts: ScrapeParts, connections: Connections): ScraperDeps {
  const { settings, store, clock, telemetry, log } = parts;
  return {
    clock,
    fetch: (job, target) => connections.fetch(job, target),
    turns: new TurnQueue(clock),
    room: connections,
    store: async (write) => {
      const outcome = await acceptSeries({ writer: store.writer, telemetry, clock }, write, "scrape");
      if (outcome.kind === "refused") throw new Error(outcome.reason);
    },
    readConfig: async (bytesMax) => {
      const [file] = await readPatternFiles([settings.scrapeConfig], bytesMax);
      if (file === undefined) throw new Error(`${settings.scrapeConfig}: no such file`);
      return file;
    },
    onScrape: (failed) => telemetry.count("thalweg_scrapes_total", { outcome: failed ? "failed" : "scraped" }),
    onFailure: (job, why) => {
      telemetry.count("thalweg_scrape_discovery_failures_total", {});
      log.warn({ job, why }, "targets of a scrape job could not be found or are not valid");
    },
  };
}

/** Connections to targets, one set for each job, and the room that their answers take. */
class Connections implements ByteRoom {
  readonly #bytesMax: number;
  readonly #stopping = new AbortController();
  readonly #getters = new Map<string, { readonly tls: string; readonly getter: HttpGetter }>();
  #bytes = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  take(bytes: number): boolean {
    if (this.#bytes + bytes > this.#bytesMax) return false;
    this.#bytes += bytes;
    return true;
  }

  give(bytes: number): void {
    this.#bytes -= bytes;
  }

  async fetch(job: ScrapeJob, target: TargetSpec): Promise<HttpAnswer> {
    const timeout = AbortSignal.timeout(target.timeoutMs);
    try {
      const getter = await this.#getter(job);
      const { bodyBytes } = job.limits;
      return await getter.get({
        url: target.url,
        headers: {
          ...(await requestHeaders(job.http)),
          accept: job.accept,
          "accept-encoding": job.enableCompression ? "gzip" : "identity",
          "x-prometheus-scrape-timeout-seconds": String(target.timeoutMs / 1000),
        },
        followRedirects: job.http.followRedirects,
        bodyBytesMax: bodyBytes > 0 ? Math.min(bodyBytes, BODY_BYTES_MAX) : BODY_BYTES_MAX,
        signal: AbortSignal.any([timeout, this.#stopping.signal]),
        room: this,
      });
    } catch (error) {
      if (!timeout.aborted) throw error;
      throw new Error(`Get "${target.url}": no whole answer within ${target.timeoutMs / 1000} s`, { cause: error });
    }
  }

  abort(): void {
    this.#stopping.abort();
  }

  close(): void {
    for (const { getter } of this.#getters.values()) getter.close();
  }

  /** Certificates are read anew with every request, since they are replaced before they end. */
  async #getter(job: ScrapeJob): Promise<HttpGetter> {
    const settings = await httpTls(job.http.tls);
    const tls = JSON.stringify(settings);
    const known = this.#getters.get(job.name);
    if (known?.tls === tls) return known.getter;
    known?.getter.close();
    const getter = new HttpGetter(settings);
    this.#getters.set(job.name, { tls, getter });
    return getter;
  }
}
