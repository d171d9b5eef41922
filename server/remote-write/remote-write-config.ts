/**
 * The section `remote_write` of Prometheus' configuration file, with everything that is wrong and where.
 *
 * @see https://prometheus.io/docs/prometheus/latest/configuration/configuration/#remote_write
 */

import { createHash } from "node:crypto";
import { dirname } from "node:path";
import type { Node } from "yaml";
import { quoteGo } from "../../grammar/promql-error.ts";
import type { Labels } from "../model/series.ts";
import { type Fields, YamlFields } from "../rules/yaml-fields.ts";
import { HTTP_KEYS, readHttpSettings } from "../scrape/http-settings.ts";
import type { RelabelRule } from "../scrape/relabel.ts";
import { readRelabelRules } from "../scrape/relabel-config.ts";
import { CONFIG_SECTIONS } from "../scrape/scrape-config.ts";
import type { HttpSettings } from "../scrape/scrape-job.ts";

/** Where samples go, and how. */
export interface RemoteWriteTarget {
  /** Told in metrics and logs. */
  readonly name: string;
  readonly url: string;
  readonly version: 1 | 2;
  readonly timeoutMs: number;
  readonly http: HttpSettings;
  /** Headers of every request, beside those of `http`. */
  readonly headers: readonly (readonly [name: string, value: string])[];
  readonly relabel: readonly RelabelRule[];
  readonly sendExemplars: boolean;
  readonly sendNativeHistograms: boolean;
  readonly queue: RemoteQueueSettings;
  /** Version 1 sends metadata so often; undefined where it does not. */
  readonly metadataEveryMs: number | undefined;
  readonly metadataPerSend: number;
  /** Labels that series get which do not have them. */
  readonly externalLabels: Labels;
  /** Equal where nothing of a target changed. */
  readonly identity: string;
}

/** How samples are batched and tried again, in Prometheus' terms. */
interface RemoteQueueSettings {
  readonly shardsMin: number;
  readonly shardsMax: number;
  readonly samplesPerSend: number;
  readonly batchDeadlineMs: number;
  readonly backoffMinMs: number;
  readonly backoffMaxMs: number;
  readonly retryOn429: boolean;
  /** Older samples are dropped; 0 for none. */
  readonly sampleAgeMaxMs: number;
}

/** Targets of a file, or what is wrong with it. */
export type RemoteWriteConfigOutcome =
  | { readonly kind: "targets"; readonly targets: readonly RemoteWriteTarget[] }
  | { readonly kind: "refused"; readonly reasons: readonly string[] };

const MESSAGES: ReadonlyMap<string, 1 | 2> = new Map([
  ["prometheus.WriteRequest", 1],
  ["io.prometheus.write.v2.Request", 2],
]);
const TARGET_KEYS = [
  ...HTTP_KEYS,
  "url",
  "name",
  "remote_timeout",
  "headers",
  "write_relabel_configs",
  "send_exemplars",
  "send_native_histograms",
  "round_robin_dns",
  "protobuf_message",
  "queue_config",
  "metadata_config",
];
const QUEUE_KEYS = [
  "capacity",
  "max_shards",
  "min_shards",
  "max_samples_per_send",
  "batch_send_deadline",
  "min_backoff",
  "max_backoff",
  "retry_on_http_429",
  "sample_age_limit",
];
/** Headers that the protocol itself sets. */
const RESERVED_HEADERS =
  /^(authorization|host|content-encoding|content-length|content-type|user-agent|connection|keep-alive|proxy-.*|www-authenticate|accept-encoding|x-prometheus-remote-write-version)$/i;
const SAMPLES_PER_SEND_MAX = 50_000;
const SHARDS_MAX = 200;

/** Reads the section; relative names in it are seen from the file's directory. */
export function readRemoteWriteConfig(file: string, text: string, externalLabels: Labels): RemoteWriteConfigOutcome {
  const yaml = new YamlFields();
  const fields = yaml.fields(yaml.read(text), CONFIG_SECTIONS, "config");
  const names = new Set<string>();
  const targets = yaml.items(fields.get("remote_write"), "remote_write").map((node) => {
    const target = readTarget(yaml, node, { directory: dirname(file), externalLabels });
    if (names.has(target.name))
      yaml.fault(node, `found multiple remote write configs with job name ${quoteGo(target.name)}`);
    names.add(target.name);
    return target;
  });
  if (yaml.faults.length > 0) return { kind: "refused", reasons: yaml.faults.map((fault) => `${file}: ${fault}`) };
  return { kind: "targets", targets };
}

/** A target of which only the address is said. */
export function plainTarget(url: string, version: 1 | 2, externalLabels: Labels): RemoteWriteTarget {
  const yaml = new YamlFields();
  const fields: Fields = new Map();
  return finish({ ...commonOf(yaml, fields, ""), url, version, externalLabels }, "");
}

interface Around {
  readonly directory: string;
  readonly externalLabels: Labels;
}

function readTarget(yaml: YamlFields, node: Node, { directory, externalLabels }: Around): RemoteWriteTarget {
  const fields = yaml.fields(node, TARGET_KEYS, "remote_write");
  const url = yaml.text(fields, "url");
  if (url === "") yaml.fault(node, "url for remote_write is empty");
  else if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
    yaml.fault(fields.get("url"), `url ${quoteGo(withoutPassword(url))} is no http or https URL`);
  }
  const message = yaml.text(fields, "protobuf_message") || "prometheus.WriteRequest";
  const version = MESSAGES.get(message);
  if (version === undefined) {
    yaml.fault(
      fields.get("protobuf_message"),
      `invalid protobuf_message value: unknown type for remote write protobuf message ${message}, supported: ${[...MESSAGES.keys()].join(", ")}`,
    );
  }
  if (yaml.flag(fields, "round_robin_dns", false))
    yaml.fault(fields.get("round_robin_dns"), "round_robin_dns is not supported");
  return finish(
    { ...commonOf(yaml, fields, directory), url, version: version ?? 1, externalLabels },
    yaml.text(fields, "name"),
  );
}

type Unnamed = Omit<RemoteWriteTarget, "name" | "identity">;

function commonOf(
  yaml: YamlFields,
  fields: Fields,
  directory: string,
): Omit<Unnamed, "url" | "version" | "externalLabels"> {
  const headers = [...yaml.texts(fields, "headers")];
  for (const [name] of headers) {
    if (RESERVED_HEADERS.test(name))
      yaml.fault(fields.get("headers"), `${name} is a reserved header. It must not be changed`);
  }
  const metadata = yaml.fields(
    fields.get("metadata_config"),
    ["send", "send_interval", "max_samples_per_send"],
    "metadata_config",
  );
  return {
    timeoutMs: yaml.durationMs(fields, "remote_timeout") || 30_000,
    http: readHttpSettings(yaml, fields, directory),
    headers,
    relabel: readRelabelRules(yaml, fields, "write_relabel_configs"),
    sendExemplars: yaml.flag(fields, "send_exemplars", false),
    sendNativeHistograms: yaml.flag(fields, "send_native_histograms", false),
    queue: readQueue(yaml, fields.get("queue_config")),
    metadataEveryMs: yaml.flag(metadata, "send", true)
      ? yaml.durationMs(metadata, "send_interval") || 60_000
      : undefined,
    metadataPerSend: yaml.integer(metadata, "max_samples_per_send") || 2000,
  };
}

/** Version 2 always carries native histograms, as in Prometheus. */
function finish(target: Unnamed, given: string): RemoteWriteTarget {
  const all = { ...target, sendNativeHistograms: target.sendNativeHistograms || target.version === 2 };
  const text = JSON.stringify(all, (_, value) => (typeof value === "bigint" ? String(value) : value));
  const identity = createHash("sha256").update(text).digest("hex");
  const name = given === "" ? createHash("sha256").update(target.url).digest("hex").slice(0, 6) : given;
  return { ...all, name, identity };
}

function readQueue(yaml: YamlFields, node: Node | undefined): RemoteQueueSettings {
  const fields = yaml.fields(node, QUEUE_KEYS, "queue_config");
  const whole = (key: string, fallback: number, max: number) => {
    if (!fields.has(key)) return fallback;
    const value = yaml.integer(fields, key);
    if (value <= 0) yaml.fault(fields.get(key), `remote write queue ${key} must be positive`);
    else if (value > max) yaml.fault(fields.get(key), `remote write queue ${key} must not exceed ${max}`);
    return value;
  };
  const shardsMin = whole("min_shards", 1, SHARDS_MAX);
  const shardsMax = whole("max_shards", 50, SHARDS_MAX);
  if (shardsMin > shardsMax) yaml.fault(node, "remote write queue min_shards must not be greater than max_shards");
  whole("capacity", 10_000, Number.MAX_SAFE_INTEGER);
  const backoffMinMs = yaml.durationMs(fields, "min_backoff") || 30;
  const backoffMaxMs = yaml.durationMs(fields, "max_backoff") || 5000;
  if (backoffMaxMs < backoffMinMs) yaml.fault(node, "remote write queue max_backoff must not be less than min_backoff");
  return {
    shardsMin,
    shardsMax,
    samplesPerSend: whole("max_samples_per_send", 2000, SAMPLES_PER_SEND_MAX),
    batchDeadlineMs: yaml.durationMs(fields, "batch_send_deadline") || 5000,
    backoffMinMs,
    backoffMaxMs,
    retryOn429: yaml.flag(fields, "retry_on_http_429", false),
    sampleAgeMaxMs: yaml.durationMs(fields, "sample_age_limit") ?? 0,
  };
}

function withoutPassword(url: string): string {
  return url.replace(/\/\/[^@/]*@/, "//");
}
