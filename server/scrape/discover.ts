/** Finds the targets of a job, at first and again and again: in the configuration, in files, in DNS, over HTTP. */

import { HttpGetter } from "../platform/http-get.ts";
import { readPatternFiles } from "../platform/pattern-files.ts";
import { resolveNames } from "../platform/resolve-names.ts";
import { httpTls, requestHeaders } from "./http-client.ts";
import type { Discovery, ScrapeJob, TargetGroup } from "./scrape-job.ts";
import { readTargetGroups } from "./target-groups.ts";

/** Bytes of one file or answer with targets. */
const GROUPS_BYTES_MAX = 32 * 2 ** 20;
/** Files are looked at for changes this often, whatever their refresh interval. */
const FILE_POLL_MS = 5_000;
const HTTP_TIMEOUT_MS = 30_000;

/** Runs the discoveries of one job until it is stopped. */
export class JobDiscovery {
  readonly #job: ScrapeJob;
  /** By the place of the discovery in the job: what it found last. */
  readonly #found: (readonly TargetGroup[])[];
  readonly #onGroups: (groups: readonly TargetGroup[]) => void;
  readonly #onFailure: (why: string) => void;
  readonly #timers = new Set<NodeJS.Timeout>();
  readonly #stopping = new AbortController();

  /**
   * @param onGroups Called with all groups, first when every discovery has answered once, then when one changed.
   * @param onFailure Called where a place could not be asked; what it told before stays.
   */
  constructor(job: ScrapeJob, onGroups: (groups: readonly TargetGroup[]) => void, onFailure: (why: string) => void) {
    this.#job = job;
    this.#found = job.discovery.map(() => []);
    this.#onGroups = onGroups;
    this.#onFailure = onFailure;
  }

  async start(): Promise<void> {
    const { discovery } = this.#job;
    await Promise.all(discovery.map((each, index) => this.#look(each, index)));
    if (this.#stopping.signal.aborted) return;
    this.#onGroups(this.#found.flat());
    for (const [index, each] of discovery.entries()) {
      if (each.kind === "static") continue;
      const everyMs = each.kind === "file" ? Math.min(FILE_POLL_MS, each.refreshMs) : each.refreshMs;
      let isLooking = false;
      const timer = setInterval(async () => {
        if (isLooking) return;
        isLooking = true;
        const before = this.#found[index];
        await this.#look(each, index);
        isLooking = false;
        if (!this.#stopping.signal.aborted && !equal(before, this.#found[index])) this.#onGroups(this.#found.flat());
      }, everyMs);
      timer.unref();
      this.#timers.add(timer);
    }
  }

  stop(): void {
    this.#stopping.abort();
    for (const timer of this.#timers) clearInterval(timer);
  }

  async #look(discovery: Discovery, index: number): Promise<void> {
    try {
      this.#found[index] = await groupsOf(discovery, this.#stopping.signal, this.#onFailure);
    } catch (error) {
      if (!this.#stopping.signal.aborted) this.#onFailure(error instanceof Error ? error.message : String(error));
    }
  }
}

async function groupsOf(
  discovery: Discovery,
  signal: AbortSignal,
  onFailure: (why: string) => void,
): Promise<readonly TargetGroup[]> {
  switch (discovery.kind) {
    case "static":
      return [discovery.group];
    case "file": {
      const files = await readPatternFiles(discovery.patterns, GROUPS_BYTES_MAX);
      return files.flatMap(({ name, text }) => {
        try {
          return readTargetGroups(text, name, new Map([["__meta_filepath", name]]));
        } catch (error) {
          throw new Error(`${name}: ${error instanceof Error ? error.message : String(error)}`, { cause: error });
        }
      });
    }
    case "dns": {
      const groups = await Promise.allSettled(discovery.names.map((name) => dnsGroup(discovery, name)));
      const found = groups.flatMap((each) => (each.status === "fulfilled" ? [each.value] : []));
      const failed = groups.flatMap((each) => (each.status === "rejected" ? [String(each.reason)] : []));
      if (found.length === 0 && failed.length > 0) throw new Error(failed.join("; "));
      for (const why of failed) onFailure(why);
      return found;
    }
    case "http":
      return httpGroups(discovery, signal);
  }
}

async function dnsGroup({ type, port }: Extract<Discovery, { kind: "dns" }>, name: string): Promise<TargetGroup> {
  const records = await resolveNames(name, type);
  return {
    source: name,
    labels: new Map(),
    targets: records.map((record) => {
      const labels = new Map([
        ["__address__", `${record.host}:${record.port ?? port}`],
        ["__meta_dns_name", name],
      ]);
      if (type === "SRV") {
        labels.set("__meta_dns_srv_record_target", `${record.host}.`);
        labels.set("__meta_dns_srv_record_port", String(record.port));
      } else if (type === "MX") labels.set("__meta_dns_mx_record_target", `${record.host}.`);
      else if (type === "NS") labels.set("__meta_dns_ns_record_target", `${record.host}.`);
      return labels;
    }),
  };
}

async function httpGroups(
  { url, http, refreshMs }: Extract<Discovery, { kind: "http" }>,
  signal: AbortSignal,
): Promise<TargetGroup[]> {
  const getter = new HttpGetter(await httpTls(http.tls));
  try {
    const { body } = await getter.get({
      url,
      headers: {
        ...(await requestHeaders(http)),
        accept: "application/json",
        "x-prometheus-refresh-interval-seconds": String(refreshMs / 1000),
      },
      followRedirects: http.followRedirects,
      bodyBytesMax: GROUPS_BYTES_MAX,
      signal: AbortSignal.any([signal, AbortSignal.timeout(HTTP_TIMEOUT_MS)]),
    });
    return readTargetGroups(Buffer.from(body.join()).toString(), url, new Map([["__meta_url", url]]));
  } finally {
    getter.close();
  }
}

function equal(left: readonly TargetGroup[] | undefined, right: readonly TargetGroup[] | undefined): boolean {
  const text = (groups: readonly TargetGroup[] | undefined) =>
    JSON.stringify(groups, (_, value) => (value instanceof Map ? [...value] : value));
  return left === right || text(left) === text(right);
}
