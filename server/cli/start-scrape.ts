/** Scraping as the server runs it: the configuration file, connections, log, counters. */

import type { Settings } from "../config/settings.ts";
import { acceptSeries } from "../ingest/accept-series.ts";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import type { Labels } from "../model/series.ts";
import type { ByteRoom } from "../platform/body-blocks.ts";
import { type HttpAnswer, HttpGetter } from "../platform/http-get.ts";
import { readPatternFiles } from "../platform/pattern-files.ts";
import { httpTls, requestHeaders } from "../scrape/http-client.ts";
import { TurnQueue } from "../scrape/read-answer.ts";
import type { ScrapeConfigOutcome } from "../scrape/scrape-config.ts";
import type { ScrapeJob } from "../scrape/scrape-job.ts";
import { type ActiveTarget, type DroppedTargets, Scraper, type ScraperDeps } from "../scrape/scraper.ts";
import type { TargetSpec } from "../scrape/target.ts";
import type { Store } from "../store/store.ts";
import type { Log } from "../telemetry/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";
import { DEFAULT_TRANSLATION, type OtlpTranslation } from "../wire/otlp-translation.ts";

/** Bytes of one answer where its job sets no limit. */
const BODY_BYTES_MAX = 64 * 2 ** 20;

/** Of a server without a file. */
const NO_CONFIG: ScrapeConfigOutcome = {
  kind: "jobs",
  jobs: [],
  translation: DEFAULT_TRANSLATION,
  externalLabels: [],
  warnings: [],
};

/** What scraping is made from. */
export interface ScrapeParts {
  readonly settings: Settings;
  readonly store: Store;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly log: Log;
  /** Bytes of all answers that are read at the same time, and of their samples until they are stored. */
  readonly answerBytesMax: number;
  /** Takes how metrics over OTLP become series, which the same file says. */
  readonly translate: (translation: OtlpTranslation) => void;
  /** Takes the file's external labels. */
  readonly label: (externalLabels: Labels) => void;
}

/** Scraping that runs, or that nobody asked for. */
export interface RunningScrapes {
  /** Reads the configuration, and hands on how metrics over OTLP become series, and external labels. @throws ThalwegError `scrape_config_invalid` */
  open(): Promise<void>;
  /** Starts the jobs of the configuration. */
  start(): void;
  /** Loads the configuration again; what is wrong is returned, and nothing has changed then. */
  reload(): Promise<string | undefined>;
  jobs(): readonly ScrapeJob[];
  targets(): ActiveTarget[];
  dropped(): DroppedTargets;
  stop(): Promise<void>;
}

/** Prepares scraping; nothing is read before `open`. */
export function prepareScrapes(parts: ScrapeParts): RunningScrapes {
  const { settings, telemetry, log } = parts;
  const connections = new Connections(parts.answerBytesMax);
  const scraper = new Scraper(scraperDeps(parts, connections));
  const read = async (): Promise<ScrapeConfigOutcome> => {
    if (settings.scrapeConfig === "") return NO_CONFIG;
    const outcome = await scraper.read().catch(refusalOf);
    telemetry.set("thalweg_scrape_reload_successful", {}, outcome.kind === "jobs" ? 1 : 0);
    if (outcome.kind === "refused") return outcome;
    for (const warning of outcome.warnings) log.warn({ warning }, "the scrape configuration was read in part");
    parts.translate(outcome.translation);
    parts.label(outcome.externalLabels);
    return outcome;
  };
  const run = (jobs: readonly ScrapeJob[]) => {
    scraper.run(jobs);
    if (settings.scrapeConfig !== "") log.info({ jobs: jobs.length }, "the scrape configuration is loaded");
  };
  let opened: readonly ScrapeJob[] = [];
  return {
    open: async () => {
      const outcome = await read();
      if (outcome.kind === "refused") {
        throw new ThalwegError("scrape_config_invalid", { reason: outcome.reasons.join("; ") });
      }
      opened = outcome.jobs;
    },
    start: () => {
      run(opened);
      telemetry.onRender(() => telemetry.set("thalweg_scrape_targets", {}, scraper.active().length));
    },
    reload: async () => {
      const outcome = await read();
      if (outcome.kind === "jobs") {
        run(outcome.jobs);
        return undefined;
      }
      for (const reason of outcome.reasons) log.error({ reason }, "the scrape configuration could not be loaded");
      return `error loading the scrape configuration, the one before goes on: ${outcome.reasons.join("; ")}`;
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

function refusalOf(error: unknown): ScrapeConfigOutcome {
  return { kind: "refused", reasons: [error instanceof Error ? error.message : String(error)] };
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
