/**
 * Every setting of the program, once: its flag, its environment variable, its default, what it takes.
 *
 * A flag wins over the environment, the environment over the default. `--otlp-grpc` is `THALWEG_OTLP_GRPC`.
 */

import { ThalwegError } from "../model/errors.ts";
import type { Labels } from "../model/series.ts";
import {
  type Address,
  type CaptureMode,
  type CoresMax,
  type ProcessChoice,
  parseAddress,
  parseBytes,
  parseCapture,
  parseCores,
  parseLabels,
  parseProcesses,
  parseRingBytes,
  parseUrl,
  readDurationMs,
  readWindowMs,
} from "./values.ts";

/** Settings of a running server. */
export interface Settings {
  readonly dataDirectory: string;
  /** True where the person named the directory; only the default one may be replaced when it cannot be written. */
  readonly dataDirectoryGiven: boolean;
  readonly listen: Address;
  readonly otlpGrpc: Address;
  readonly otlpHttp: Address;
  /** Where StatsD's datagrams are taken; undefined where they are not. */
  readonly statsd: Address | undefined;
  readonly capture: CaptureMode;
  /** What capture may cost before it tells less of the dearest processes. */
  readonly captureCpu: CoresMax;
  readonly tls: ProcessChoice;
  /** Node processes that may be asked whom their calls are made for. */
  readonly injectNode: ProcessChoice;
  /** `own`: only traffic of the network namespace that the program runs in. */
  readonly networkNamespace: "all" | "own";
  /** Bytes of the buffer between the hooks and the agent. */
  readonly captureRingBytes: number;
  readonly allowRemote: boolean;
  /** Lower-case names beside its addresses under which the server may be asked. */
  readonly allowHosts: readonly string[];
  /** `interval` acknowledges samples up to a second before they are on the disk. */
  readonly durability: "always" | "interval";
  /** How much older than the newest sample of all a late one may be; 0 takes none. */
  readonly outOfOrderWindowMs: number;
  /** Prometheus' names, known or not. */
  readonly enableFeatures: readonly string[];
  readonly redaction: "on" | "off";
  readonly retentionMs: number;
  /** Bytes of all metric blocks; undefined where age alone decides. */
  readonly retentionBytesMax: number | undefined;
  /** How long windows of a minute and of an hour are kept; undefined where there are none. */
  readonly minuteRetentionMs: number | undefined;
  readonly hourRetentionMs: number | undefined;
  readonly memoryBytesMax: number;
  readonly querySamplesMax: number;
  readonly queryTimeoutMs: number;
  /** Queries that are evaluated at the same time; 0 leaves it to the number of processors. */
  readonly queryConcurrency: number;
  /** Queries that took longer are logged. */
  readonly querySlowMs: number;
  readonly queryLookbackMs: number;
  /** Labels that what leaves this server gets, in order of name. */
  readonly externalLabels: Labels;
  /** Names of rule files, with wildcards. */
  readonly ruleFiles: readonly string[];
  /** Name of a file with `scrape_configs`; empty where nothing is scraped. */
  readonly scrapeConfig: string;
  /** Addresses that all samples are sent on to. */
  readonly remoteWriteUrls: readonly string[];
  readonly remoteWriteVersion: 1 | 2;
  /** Bytes of samples that wait on the disk to be sent on. */
  readonly remoteWriteSpoolBytesMax: number;
  readonly evaluationIntervalMs: number;
  /** Addresses of Alertmanagers, without a slash at the end. */
  readonly alertmanagers: readonly string[];
  /** Empty where the address that the server listens on will do. */
  readonly externalUrl: string;
  readonly enableLifecycle: boolean;
  /** Whether series may be deleted and snapshots made over HTTP. */
  readonly enableAdminApi: boolean;
  /** RE2 expression of origins of other sites that may ask; empty for none. */
  readonly corsOrigin: string;
  readonly logLevel: "debug" | "info" | "warn" | "error";
  /** Every setting as text, by its flag without the dashes in front. */
  readonly flags: Readonly<Record<string, string>>;
}

const MEMORY_BYTES_MIN = 256 * 2 ** 20;

/** One setting of a table. */
export interface SettingEntry {
  readonly flag: string;
  /** What stands for the value in the help text; empty for a switch. */
  readonly takes: string;
  readonly fallback: string;
  readonly help: string;
}

/** The table that help, environment and flags are read from. */
export const SETTINGS: readonly SettingEntry[] = [
  {
    flag: "--data",
    takes: "DIR",
    fallback: "",
    help: "where everything is kept; data in a clone, else ~/.local/share/thalweg",
  },
  { flag: "--listen", takes: "HOST:PORT", fallback: "127.0.0.1:8425", help: "page, Prometheus API, SQL, traces" },
  { flag: "--otlp-grpc", takes: "HOST:PORT", fallback: "127.0.0.1:4317", help: "OTLP over gRPC" },
  { flag: "--otlp-http", takes: "HOST:PORT", fallback: "127.0.0.1:4318", help: "OTLP over HTTP" },
  { flag: "--statsd", takes: "HOST:PORT", fallback: "", help: "take StatsD's datagrams there, such as 127.0.0.1:8125" },
  {
    flag: "--capture",
    takes: "MODE",
    fallback: "auto",
    help: "auto, off, socket, packet or replay:FILE",
  },
  {
    flag: "--capture-cpu",
    takes: "CORES",
    fallback: "auto",
    help: "what capture may cost before it tells less; auto is 15 % of the processors, none no limit",
  },
  {
    flag: "--tls",
    takes: "WHICH",
    fallback: "off",
    help: "read inside of OpenSSL: off, auto, or programs as nginx,node",
  },
  {
    flag: "--inject-node",
    takes: "WHICH",
    fallback: "off",
    help: "Node processes whose calls have no sure parent may be asked through their inspector: off, auto, or scripts and pids",
  },
  {
    flag: "--network-namespace",
    takes: "all|own",
    fallback: "all",
    help: "own captures nothing of other network namespaces, as beside one container",
  },
  {
    flag: "--capture-ring",
    takes: "BYTES",
    fallback: "16MiB",
    help: "buffer between the hooks and the agent, a power of two; what finds no room is lost, and counted",
  },
  { flag: "--retention", takes: "AGE", fallback: "15d", help: "how long spans and metrics are kept" },
  {
    flag: "--retention-size",
    takes: "BYTES",
    fallback: "none",
    help: "size of all metric blocks; beyond it the oldest go",
  },
  {
    flag: "--retention.resolution-1m",
    takes: "AGE",
    fallback: "none",
    help: "how long samples by windows of a minute are kept, as 90d",
  },
  {
    flag: "--retention.resolution-1h",
    takes: "AGE",
    fallback: "none",
    help: "how long samples by windows of an hour are kept, as 5y",
  },
  { flag: "--redaction", takes: "on|off", fallback: "on", help: "off keeps query values and secrets in paths" },
  {
    flag: "--durability",
    takes: "always|interval",
    fallback: "always",
    help: "interval syncs samples each second; spans always",
  },
  {
    flag: "--out-of-order-window",
    takes: "AGE",
    fallback: "0s",
    help: "how late a sample may come; 0s takes them in order only",
  },
  { flag: "--memory", takes: "BYTES", fallback: "auto", help: "memory to plan for; auto reads the cgroup" },
  {
    flag: "--query-samples-max",
    takes: "N",
    fallback: "50000000",
    help: "values a PromQL query may hold, as far as --memory allows",
  },
  { flag: "--query-timeout", takes: "AGE", fallback: "2m", help: "longest that a PromQL query may take" },
  { flag: "--query-concurrency", takes: "N", fallback: "auto", help: "PromQL queries evaluated at the same time" },
  { flag: "--query-slow", takes: "AGE", fallback: "10s", help: "PromQL queries that take longer are logged" },
  { flag: "--query-lookback", takes: "AGE", fallback: "5m", help: "how long a sample stays the value of its series" },
  { flag: "--enable-feature", takes: "A,B", fallback: "", help: "Prometheus' own feature names" },
  { flag: "--allow-remote", takes: "", fallback: "", help: "accept addresses that other machines reach" },
  { flag: "--allow-host", takes: "A,B", fallback: "", help: "names such as a proxy's that a Host header may carry" },
  {
    flag: "--external-labels",
    takes: "A=B,C=D",
    fallback: "",
    help: "labels for what others read here, and for alerts",
  },
  {
    flag: "--rule-files",
    takes: "A,B",
    fallback: "",
    help: "files of rules in Prometheus' format; * matches in names",
  },
  {
    flag: "--scrape.config",
    takes: "FILE",
    fallback: "",
    help: "Prometheus' file: scrape_configs to scrape by, and otlp",
  },
  {
    flag: "--remote-write",
    takes: "URL,URL",
    fallback: "",
    help: "send all samples on to these; --scrape.config's remote_write says more",
  },
  {
    flag: "--remote-write.protobuf-message",
    takes: "NAME",
    fallback: "prometheus.WriteRequest",
    help: "what --remote-write sends: version 1, or io.prometheus.write.v2.Request",
  },
  {
    flag: "--remote-write.queue-size",
    takes: "BYTES",
    fallback: "2GiB",
    help: "disk for samples that wait to be sent on; beyond it the oldest go",
  },
  { flag: "--evaluation-interval", takes: "AGE", fallback: "1m", help: "how often rules run whose group does not say" },
  { flag: "--alertmanager", takes: "URL,URL", fallback: "", help: "where alerts are sent, as http://host:9093" },
  { flag: "--external-url", takes: "URL", fallback: "", help: "where this server is reached, for links in alerts" },
  {
    flag: "--enable-lifecycle",
    takes: "",
    fallback: "",
    help: "POST /-/reload loads rules and scrape jobs again, as SIGHUP does",
  },
  {
    flag: "--web.enable-admin-api",
    takes: "",
    fallback: "",
    help: "series may be deleted and snapshots made over HTTP",
  },
  {
    flag: "--cors-origin",
    takes: "REGEX",
    fallback: "",
    help: "origins of pages that may ask and send OTLP, anchored RE2",
  },
  { flag: "--log-level", takes: "LEVEL", fallback: "info", help: "debug, info, warn or error" },
];

/**
 * Reads flags and environment.
 *
 * @param args Words after the verb.
 * @param env Environment; only `THALWEG_…` of the table is read.
 * @param defaults Directory and memory that depend on how and where the program runs.
 * @throws ThalwegError `flag_invalid`, naming the word and the nearest flag.
 */
export function readSettings(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
  defaults: { readonly dataDirectory: string; readonly memoryBytesMax: number },
): Settings {
  const given = readFlags(args, SETTINGS);
  const text = (flag: string): string =>
    given.get(flag) ?? env[environmentName(flag)] ?? SETTINGS.find((entry) => entry.flag === flag)?.fallback ?? "";
  const data = text("--data");
  if (given.get("--data") === "")
    throw new ThalwegError("flag_invalid", { flag: "--data", value: "", why: "it takes DIR" });
  const settings: Settings = {
    dataDirectory: data === "" ? defaults.dataDirectory : data,
    dataDirectoryGiven: data !== "",
    listen: parseAddress("--listen", text("--listen")),
    otlpGrpc: parseAddress("--otlp-grpc", text("--otlp-grpc")),
    otlpHttp: parseAddress("--otlp-http", text("--otlp-http")),
    statsd: text("--statsd") === "" ? undefined : parseAddress("--statsd", text("--statsd")),
    capture: parseCapture(text("--capture")),
    captureCpu: parseCores("--capture-cpu", text("--capture-cpu")),
    tls: parseProcesses("--tls", text("--tls")),
    injectNode: parseProcesses("--inject-node", text("--inject-node")),
    networkNamespace: oneOf("--network-namespace", text("--network-namespace"), ["all", "own"]),
    captureRingBytes: parseRingBytes("--capture-ring", text("--capture-ring")),
    allowRemote: readSwitch("--allow-remote", text("--allow-remote")),
    durability: oneOf("--durability", text("--durability"), ["always", "interval"]),
    outOfOrderWindowMs: readWindowMs("--out-of-order-window", text("--out-of-order-window")),
    allowHosts: words(text("--allow-host").toLowerCase()),
    enableFeatures: words(text("--enable-feature")),
    redaction: oneOf("--redaction", text("--redaction"), ["on", "off"]),
    retentionMs: readDurationMs("--retention", text("--retention")),
    retentionBytesMax: readBytesOrNone("--retention-size", text("--retention-size")),
    minuteRetentionMs: readDurationOrNone("--retention.resolution-1m", text("--retention.resolution-1m")),
    hourRetentionMs: readDurationOrNone("--retention.resolution-1h", text("--retention.resolution-1h")),
    memoryBytesMax: text("--memory") === "auto" ? defaults.memoryBytesMax : readMemory(text("--memory")),
    querySamplesMax: parseCount("--query-samples-max", text("--query-samples-max")),
    queryTimeoutMs: readDurationMs("--query-timeout", text("--query-timeout")),
    queryConcurrency:
      text("--query-concurrency") === "auto" ? 0 : parseCount("--query-concurrency", text("--query-concurrency")),
    querySlowMs: readDurationMs("--query-slow", text("--query-slow")),
    queryLookbackMs: readDurationMs("--query-lookback", text("--query-lookback")),
    externalLabels: parseLabels("--external-labels", text("--external-labels")),
    ruleFiles: words(text("--rule-files")),
    scrapeConfig: text("--scrape.config"),
    remoteWriteUrls: words(text("--remote-write")).map((url) => parseUrl("--remote-write", url)),
    remoteWriteVersion: readMessage("--remote-write.protobuf-message", text("--remote-write.protobuf-message")),
    remoteWriteSpoolBytesMax: parseBytes("--remote-write.queue-size", text("--remote-write.queue-size")),
    evaluationIntervalMs: readDurationMs("--evaluation-interval", text("--evaluation-interval")),
    alertmanagers: words(text("--alertmanager")).map((url) => parseUrl("--alertmanager", url)),
    externalUrl: text("--external-url") === "" ? "" : parseUrl("--external-url", text("--external-url")),
    enableLifecycle: readSwitch("--enable-lifecycle", text("--enable-lifecycle")),
    enableAdminApi: readSwitch("--web.enable-admin-api", text("--web.enable-admin-api")),
    corsOrigin: text("--cors-origin"),
    logLevel: oneOf("--log-level", text("--log-level"), ["debug", "info", "warn", "error"]),
    flags: Object.fromEntries(SETTINGS.map(({ flag }) => [flag.slice(2), text(flag)])),
  };
  for (const [flag, address] of [
    ["--listen", settings.listen],
    ["--otlp-grpc", settings.otlpGrpc],
    ["--otlp-http", settings.otlpHttp],
    ["--statsd", settings.statsd ?? settings.listen],
  ] as const) {
    if (!settings.allowRemote && !isLoopback(address.host)) {
      throw new ThalwegError("address_not_loopback", { flag, address: `${address.host}:${address.port}` });
    }
  }
  return settings;
}

/** `--otlp-grpc` → `THALWEG_OTLP_GRPC`. */
export function environmentName(flag: string): string {
  return `THALWEG_${flag.slice(2).replaceAll(/[-.]/g, "_").toUpperCase()}`;
}

function words(list: string): string[] {
  return list
    .split(",")
    .map((word) => word.trim())
    .filter((word) => word !== "");
}

/** True for addresses that only this machine reaches. */
export function isLoopback(host: string): boolean {
  return host === "localhost" || host === "::1" || /^127\.\d+\.\d+\.\d+$/.test(host);
}

/**
 * Flags and their values; a switch is `true`.
 *
 * @throws ThalwegError `flag_unknown` for what is not in the table, `flag_invalid` where a value is missing.
 */
export function readFlags(args: readonly string[], table: readonly SettingEntry[]): Map<string, string> {
  const given = new Map<string, string>();
  for (let at = 0; at < args.length; at++) {
    const word = args[at] ?? "";
    const equals = word.indexOf("=");
    const flag = equals < 0 ? word : word.slice(0, equals);
    const entry = table.find((candidate) => candidate.flag === flag);
    if (entry === undefined) {
      throw new ThalwegError("flag_unknown", { flag: `'${word}'`, nearest: nearest(flag, table) });
    }
    if (entry.takes === "") given.set(flag, equals < 0 ? "true" : word.slice(equals + 1));
    else if (equals >= 0) given.set(flag, word.slice(equals + 1));
    else {
      const value = args[at + 1];
      if (value === undefined) {
        throw new ThalwegError("flag_invalid", { flag, value: "", why: `it takes ${entry.takes}, which is missing` });
      }
      given.set(flag, value);
      at++;
    }
  }
  return given;
}

function nearest(flag: string, table: readonly SettingEntry[]): string {
  const close = table.find((entry) => entry.flag.startsWith(flag.slice(0, 5)) || editDistance(entry.flag, flag) <= 2);
  return close === undefined ? "" : `; did you mean ${close.flag}?`;
}

function editDistance(left: string, right: string): number {
  let row = Array.from({ length: right.length + 1 }, (_, index) => index);
  for (let i = 1; i <= left.length; i++) {
    const next = [i];
    for (let j = 1; j <= right.length; j++) {
      const same = left[i - 1] === right[j - 1] ? 0 : 1;
      next.push(Math.min((row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1, (row[j - 1] ?? 0) + same));
    }
    row = next;
  }
  return row[right.length] ?? 0;
}

/** One of a few words, else `flag_invalid`. */
export function oneOf<const T extends string>(flag: string, value: string, allowed: readonly T[]): T {
  const found = allowed.find((candidate) => candidate === value);
  if (found === undefined)
    throw new ThalwegError("flag_invalid", { flag, value, why: `it takes ${allowed.join(", ")}` });
  return found;
}

function readMessage(flag: string, value: string): 1 | 2 {
  const known = oneOf(flag, value, ["prometheus.WriteRequest", "io.prometheus.write.v2.Request"]);
  return known === "prometheus.WriteRequest" ? 1 : 2;
}

function readSwitch(flag: string, value: string): boolean {
  return oneOf(flag, value || "false", ["true", "false"]) === "true";
}

function readDurationOrNone(flag: string, value: string): number | undefined {
  return value === "none" ? undefined : readDurationMs(flag, value);
}

function readBytesOrNone(flag: string, value: string): number | undefined {
  return value === "none" ? undefined : parseBytes(flag, value);
}

function readMemory(value: string): number {
  const bytes = parseBytes("--memory", value);
  if (bytes < MEMORY_BYTES_MIN) {
    throw new ThalwegError("flag_invalid", { flag: "--memory", value, why: "the program needs 256MiB at least" });
  }
  return bytes;
}

function parseCount(flag: string, value: string): number {
  const count = Number(value);
  if (!Number.isSafeInteger(count) || count <= 0) {
    throw new ThalwegError("flag_invalid", { flag, value, why: "it takes a whole number above 0" });
  }
  return count;
}
