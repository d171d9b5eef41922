/**
 * Prometheus' configuration file, as far as scraping and OTLP go: YAML to jobs and a translation, with everything that is wrong and where.
 *
 * @see https://prometheus.io/docs/prometheus/latest/configuration/configuration/#scrape_config
 */

import { createHash } from "node:crypto";
import { dirname, isAbsolute, join } from "node:path";
import type { Node } from "yaml";
import { quoteGo } from "../../grammar/promql-error.ts";
import { printDurationMs } from "../model/duration.ts";
import { EXPONENTIAL_SCHEMA_MAX, EXPONENTIAL_SCHEMA_MIN } from "../model/histogram.ts";
import type { Labels } from "../model/series.ts";
import { type Fields, YamlFields } from "../rules/yaml-fields.ts";
import type { ExpositionFormat } from "../wire/exposition.ts";
import type { OtlpTranslation } from "../wire/otlp-translation.ts";
import { HTTP_KEYS, readHttpSettings, shownOf } from "./http-settings.ts";
import { readOtlpSection } from "./otlp-config.ts";
import { readRelabelRules } from "./relabel-config.ts";
import type { Discovery, ScrapeJob, ScrapeLimits } from "./scrape-job.ts";
import { readTargetGroup } from "./target-groups.ts";

/** Bytes of the largest configuration file. */
export const SCRAPE_CONFIG_BYTES_MAX = 8 * 2 ** 20;

/** What a file sets, or what is wrong with it. */
export type ScrapeConfigOutcome = ReadConfig | { readonly kind: "refused"; readonly reasons: readonly string[] };

interface ReadConfig {
  readonly kind: "jobs";
  readonly jobs: readonly ScrapeJob[];
  readonly translation: OtlpTranslation;
  /** As they are written. */
  readonly externalLabels: Labels;
  readonly warnings: readonly string[];
}

/** Sections that are read here or elsewhere. */
const SECTIONS = ["global", "scrape_configs", "scrape_config_files", "remote_write", "otlp"];
/** Sections of Prometheus' file that other settings of this program stand for. */
const OTHER_SECTIONS: ReadonlyMap<string, string> = new Map([
  ["rule_files", "rules come from --rule-files"],
  ["alerting", "Alertmanagers come from --alertmanager"],
  ["remote_read", "other servers are not asked"],
  ["storage", "--retention and --out-of-order-window set it"],
  ["tracing", "the server traces itself"],
  ["runtime", "it is for Go programs"],
]);
/** Every section of Prometheus' file. */
export const CONFIG_SECTIONS: readonly string[] = [...SECTIONS, ...OTHER_SECTIONS.keys()];
const LIMIT_KEYS = [
  "body_size_limit",
  "sample_limit",
  "target_limit",
  "label_limit",
  "label_name_length_limit",
  "label_value_length_limit",
  "keep_dropped_targets",
];
const SHARED_KEYS = [
  "scrape_interval",
  "scrape_timeout",
  "scrape_protocols",
  "scrape_native_histograms",
  "always_scrape_classic_histograms",
  "convert_classic_histograms_to_nhcb",
  "extra_scrape_metrics",
  "scrape_failure_log_file",
  "metric_name_validation_scheme",
  "metric_name_escaping_scheme",
  ...LIMIT_KEYS,
];
/** Limits of queries in the section `global`. */
const QUERY_LIMIT_KEYS = ["query_max_series", "query_max_samples_read", "query_max_duration"];
/** Keys of the section `global`. */
const GLOBAL_KEYS: readonly string[] = [
  ...SHARED_KEYS,
  "evaluation_interval",
  "rule_query_offset",
  "query_log_file",
  "external_labels",
  ...QUERY_LIMIT_KEYS,
];
const DISCOVERY_KEYS = ["static_configs", "file_sd_configs", "dns_sd_configs", "http_sd_configs"];
const JOB_KEYS = [
  ...SHARED_KEYS,
  ...DISCOVERY_KEYS,
  ...HTTP_KEYS,
  "job_name",
  "honor_labels",
  "honor_timestamps",
  "track_timestamps_staleness",
  "params",
  "fallback_scrape_protocol",
  "metrics_path",
  "scheme",
  "enable_compression",
  "native_histogram_bucket_limit",
  "native_histogram_min_bucket_factor",
  "relabel_configs",
  "metric_relabel_configs",
];
/** Discoveries of Prometheus that are not here. */
const OTHER_DISCOVERY_KEYS = [
  ...["aws", "azure", "consul", "digitalocean", "docker", "dockerswarm", "ec2", "elasticache", "eureka", "gce"],
  ...["hetzner", "ionos", "kubernetes", "kuma", "lightsail", "linode", "marathon", "msk", "nerve", "nomad", "oci"],
  ...[
    "openstack",
    "outscale",
    "ovhcloud",
    "puppetdb",
    "rds",
    "scaleway",
    "serverset",
    "stackit",
    "triton",
    "uyuni",
    "vultr",
  ],
].map((name) => `${name}_sd_configs`);
/** Keys that are taken and change nothing here. */
const UNREAD_KEYS = ["scrape_failure_log_file", "metric_name_validation_scheme", "metric_name_escaping_scheme"];
const DNS_TYPES = ["SRV", "A", "AAAA", "MX", "NS"] as const;

const PROTOCOLS: ReadonlyMap<string, readonly [header: string, format: ExpositionFormat]> = new Map([
  [
    "PrometheusProto",
    ["application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited", "protobuf"],
  ],
  ["OpenMetricsText1.0.0", ["application/openmetrics-text;version=1.0.0;escaping=allow-utf-8", "openmetrics"]],
  ["OpenMetricsText0.0.1", ["application/openmetrics-text;version=0.0.1", "openmetrics"]],
  ["PrometheusText1.0.0", ["text/plain;version=1.0.0;escaping=allow-utf-8", "text"]],
  ["PrometheusText0.0.4", ["text/plain;version=0.0.4", "text"]],
]);
const TEXT_PROTOCOLS = ["OpenMetricsText1.0.0", "OpenMetricsText0.0.1", "PrometheusText1.0.0", "PrometheusText0.0.4"];

/**
 * Reads a configuration file.
 *
 * @param file Its name; relative names in it are seen from its directory.
 */
export function readScrapeConfig(file: string, text: string): ScrapeConfigOutcome {
  const yaml = new YamlFields();
  const read = new ConfigReader(yaml, dirname(file)).read(text);
  if (yaml.faults.length > 0) return { kind: "refused", reasons: yaml.faults.map((fault) => `${file}: ${fault}`) };
  return { kind: "jobs", ...read, warnings: yaml.warnings.map((warning) => `${file}: ${warning}`) };
}

class ConfigReader {
  readonly #yaml: YamlFields;
  readonly #directory: string;

  constructor(yaml: YamlFields, directory: string) {
    this.#yaml = yaml;
    this.#directory = directory;
  }

  read(text: string): Pick<ReadConfig, "jobs" | "translation" | "externalLabels"> {
    const yaml = this.#yaml;
    const root = yaml.read(text);
    const fields = yaml.fields(root, CONFIG_SECTIONS, "config");
    for (const [name, instead] of OTHER_SECTIONS) {
      if (fields.has(name)) yaml.warnings.push(`${name} is passed over: ${instead}`);
    }
    if (fields.has("scrape_config_files")) {
      yaml.fault(fields.get("scrape_config_files"), "scrape_config_files is not read; put the jobs into this file");
    }
    const global = yaml.fields(fields.get("global"), GLOBAL_KEYS, "global");
    for (const name of QUERY_LIMIT_KEYS) {
      if (global.has(name))
        yaml.warnings.push(`${name} is passed over: --query-samples-max and --query-timeout limit queries`);
    }
    const isLegacy = yaml.text(global, "metric_name_validation_scheme") === "legacy";
    const names = new Set<string>();
    const jobs = yaml.items(fields.get("scrape_configs"), "scrape_configs").flatMap((node) => {
      const job = this.#job(node, global);
      if (job === undefined) return [];
      if (names.has(job.name)) yaml.fault(node, `found multiple scrape configs with job name ${quoteGo(job.name)}`);
      names.add(job.name);
      return [job];
    });
    const externalLabels = [...yaml.texts(global, "external_labels")];
    return { jobs, translation: readOtlpSection(yaml, fields.get("otlp"), isLegacy), externalLabels };
  }

  #job(node: Node, global: Fields): ScrapeJob | undefined {
    const yaml = this.#yaml;
    const fields = yaml.fields(node, [...JOB_KEYS, ...OTHER_DISCOVERY_KEYS], "scrape_config");
    for (const each of OTHER_DISCOVERY_KEYS) {
      if (fields.has(each)) yaml.fault(fields.get(each), `${each} is not read; have ${DISCOVERY_KEYS.join(", ")}`);
    }
    const name = yaml.text(fields, "job_name");
    if (name === "") {
      yaml.fault(node, "job_name is empty");
      return undefined;
    }
    const intervalMs =
      yaml.durationMs(fields, "scrape_interval") || yaml.durationMs(global, "scrape_interval") || 60_000;
    const timeoutMs = this.#timeoutMs(fields, global, { name, intervalMs });
    const flag = (key: string) => yaml.flag(fields, key, yaml.flag(global, key, false));
    const histograms = {
      native: flag("scrape_native_histograms"),
      alwaysClassic: flag("always_scrape_classic_histograms"),
      convertClassic: flag("convert_classic_histograms_to_nhcb"),
    };
    const scheme = yaml.text(fields, "scheme") || "http";
    if (scheme !== "http" && scheme !== "https")
      yaml.fault(fields.get("scheme"), `scheme ${quoteGo(scheme)} is not http or https`);
    const fallback = yaml.text(fields, "fallback_scrape_protocol");
    if (fallback !== "" && !PROTOCOLS.has(fallback))
      yaml.fault(fields.get("fallback_scrape_protocol"), unknownProtocol(fallback));
    const job = {
      name,
      intervalMs,
      timeoutMs,
      scheme,
      metricsPath: yaml.text(fields, "metrics_path") || "/metrics",
      params: this.#params(fields),
      honorLabels: yaml.flag(fields, "honor_labels", false),
      honorTimestamps: yaml.flag(fields, "honor_timestamps", true),
      trackTimestampsStaleness: yaml.flag(fields, "track_timestamps_staleness", false),
      enableCompression: yaml.flag(fields, "enable_compression", true),
      accept: this.#accept(fields, global, histograms.native),
      fallback: PROTOCOLS.get(fallback)?.[1],
      histograms,
      extraMetrics: flag("extra_scrape_metrics"),
      limits: this.#limits(fields, global),
      http: readHttpSettings(yaml, fields, this.#directory),
      discovery: this.#discovery(fields, name),
      relabel: readRelabelRules(yaml, fields, "relabel_configs"),
      metricRelabel: readRelabelRules(yaml, fields, "metric_relabel_configs"),
    };
    for (const each of UNREAD_KEYS) {
      if (fields.has(each) || global.has(each)) yaml.warnings.push(`${each} of job ${quoteGo(name)} is passed over`);
    }
    const text = JSON.stringify(job, (_, value) => (value instanceof Map ? [...value] : printable(value)));
    const shown = {
      job_name: name,
      scrape_interval: printDurationMs(intervalMs),
      scrape_timeout: printDurationMs(timeoutMs),
      scrape_native_histograms: histograms.native,
      always_scrape_classic_histograms: histograms.alwaysClassic,
      convert_classic_histograms_to_nhcb: histograms.convertClassic,
      metrics_path: job.metricsPath,
      scheme,
    };
    return {
      ...job,
      identity: createHash("sha256").update(text).digest("hex"),
      print: () => yaml.print(node, shown, shownOf),
    };
  }

  #timeoutMs(fields: Fields, global: Fields, job: { readonly name: string; readonly intervalMs: number }): number {
    const yaml = this.#yaml;
    const own = yaml.durationMs(fields, "scrape_timeout");
    if (own !== undefined && own > job.intervalMs) {
      yaml.fault(
        fields.get("scrape_timeout"),
        `scrape timeout greater than scrape interval for scrape config with job name ${quoteGo(job.name)}`,
      );
    }
    return own || Math.min(yaml.durationMs(global, "scrape_timeout") || 10_000, job.intervalMs);
  }

  #accept(fields: Fields, global: Fields, nativeHistograms: boolean): string {
    const yaml = this.#yaml;
    const given = fields.get("scrape_protocols") ?? global.get("scrape_protocols");
    const names =
      given === undefined
        ? [...(nativeHistograms ? ["PrometheusProto"] : []), ...TEXT_PROTOCOLS]
        : yaml.items(given, "scrape_protocols").map((each) => yaml.textOf(each));
    if (names.length === 0) yaml.fault(given, "scrape_protocols cannot be empty");
    if (new Set(names).size < names.length) yaml.fault(given, "duplicated protocol in scrape_protocols");
    let weight = 6 + 1;
    const parts = names.flatMap((name) => {
      const known = PROTOCOLS.get(name);
      if (known === undefined) yaml.fault(given, unknownProtocol(name));
      return known === undefined ? [] : [`${known[0]};q=0.${weight--}`];
    });
    return [...parts, `*/*;q=0.${weight}`].join(",");
  }

  #params(fields: Fields): ReadonlyMap<string, readonly string[]> {
    const yaml = this.#yaml;
    const entries = yaml.entries(fields.get("params"), "params");
    return new Map(entries.map(([key, value]) => [key, yaml.items(value, "params").map((each) => yaml.textOf(each))]));
  }

  #limits(fields: Fields, global: Fields): ScrapeLimits {
    const yaml = this.#yaml;
    const limit = (name: string) => yaml.integer(fields, name) || yaml.integer(global, name);
    return {
      bodyBytes: this.#bytes(fields, "body_size_limit") || this.#bytes(global, "body_size_limit"),
      samples: limit("sample_limit"),
      targets: limit("target_limit"),
      labels: limit("label_limit"),
      labelNameBytes: limit("label_name_length_limit"),
      labelValueBytes: limit("label_value_length_limit"),
      keepDropped: limit("keep_dropped_targets"),
      buckets: yaml.integer(fields, "native_histogram_bucket_limit"),
      histogramSchema: schemaOf(yaml.number(fields, "native_histogram_min_bucket_factor")),
    };
  }

  /** Such as `10MB`, in powers of two. */
  #bytes(fields: Fields, name: string): number {
    const text = this.#yaml.text(fields, name);
    const found = /^(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?$/i.exec(text);
    if (found !== null) return Number(found[1]) * 1024 ** " KMGT".indexOf((found[2] || " ").toUpperCase());
    if (text !== "") this.#yaml.fault(fields.get(name), `${name}: ${quoteGo(text)} is no size such as 10MB`);
    return 0;
  }

  #discovery(fields: Fields, job: string): Discovery[] {
    const yaml = this.#yaml;
    const found: Discovery[] = [];
    const lists = (name: string) => yaml.items(fields.get(name), name);
    for (const [index, node] of lists("static_configs").entries()) {
      const group = readTargetGroup(yaml, node, `${job}/${index}`);
      for (const target of group.targets) {
        const address = target.get("__address__") ?? "";
        if (address.includes("/")) yaml.fault(node, `${quoteGo(address)} is not a valid hostname`);
      }
      found.push({ kind: "static", group });
    }
    for (const node of lists("file_sd_configs")) {
      const sd = yaml.fields(node, ["files", "refresh_interval"], "file_sd_config");
      const patterns = yaml.items(sd.get("files"), "files").map((each) => this.#path(yaml.textOf(each)));
      if (patterns.length === 0) yaml.fault(node, "file service discovery config must contain at least one path name");
      found.push({ kind: "file", patterns, refreshMs: yaml.durationMs(sd, "refresh_interval") || 300_000 });
    }
    for (const node of lists("dns_sd_configs")) found.push(this.#dns(node));
    for (const node of lists("http_sd_configs")) {
      const sd = yaml.fields(node, ["url", "refresh_interval", ...HTTP_KEYS], "http_sd_config");
      const url = yaml.text(sd, "url");
      if (!/^https?:\/\/[^/]/.test(url))
        yaml.fault(node, `http_sd_config: url ${quoteGo(url)} is no http or https URL`);
      const http = readHttpSettings(yaml, sd, this.#directory);
      found.push({ kind: "http", url, refreshMs: yaml.durationMs(sd, "refresh_interval") || 60_000, http });
    }
    return found;
  }

  #dns(node: Node): Discovery {
    const yaml = this.#yaml;
    const sd = yaml.fields(node, ["names", "type", "port", "refresh_interval"], "dns_sd_config");
    const names = yaml.items(sd.get("names"), "names").map((each) => yaml.textOf(each));
    if (names.length === 0) yaml.fault(node, "DNS-SD config must contain at least one SRV record name");
    const text = (yaml.text(sd, "type") || "SRV").toUpperCase();
    const type = DNS_TYPES.find((each) => each === text);
    if (type === undefined) yaml.fault(node, `invalid DNS-SD records type ${text}`);
    const port = yaml.integer(sd, "port");
    if (type !== "SRV" && port === 0)
      yaml.fault(node, "a port is required in DNS-SD configs for all record types except SRV");
    return {
      kind: "dns",
      names,
      type: type ?? "SRV",
      port,
      refreshMs: yaml.durationMs(sd, "refresh_interval") || 30_000,
    };
  }

  #path(name: string): string {
    return isAbsolute(name) ? name : join(this.#directory, name);
  }
}

/** Finest schema whose buckets grow by at least a factor; as Prometheus picks it. */
function schemaOf(factor: number): number {
  if (!(factor > 1)) return EXPONENTIAL_SCHEMA_MAX;
  const schema = Math.floor(-Math.log2(Math.log2(factor)));
  return Math.min(Math.max(schema, EXPONENTIAL_SCHEMA_MIN), EXPONENTIAL_SCHEMA_MAX);
}

function unknownProtocol(name: string): string {
  return `unknown scrape protocol ${name}, supported: ${[...PROTOCOLS.keys()].sort().join(", ")}`;
}

/** JSON has no 64-bit integers. */
function printable(value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}
