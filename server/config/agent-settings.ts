/**
 * Settings of `thalweg agent`, each once; those that `serve` has too mean the same.
 */

import { ThalwegError } from "../model/errors.ts";
import { environmentName, isLoopback, oneOf, readFlags, SETTINGS, type SettingEntry } from "./settings.ts";
import {
  type Address,
  type CaptureMode,
  type CoresMax,
  type ProcessChoice,
  parseAddress,
  parseBytes,
  parseCapture,
  parseCores,
  parseProcesses,
  parseRingBytes,
} from "./values.ts";

/** Where spans go: OTLP over HTTP, or over gRPC. */
interface ExportTarget {
  readonly transport: "http" | "grpc";
  /** With the path of the signal for HTTP; a user name and password in it are sent, and shown nowhere. */
  readonly url: URL;
}

/** Settings of a running agent. */
export interface AgentSettings {
  readonly to: ExportTarget;
  readonly listen: Address;
  readonly capture: CaptureMode;
  readonly captureCpu: CoresMax;
  readonly tls: ProcessChoice;
  /** Node processes that may be asked whom their calls are made for. */
  readonly injectNode: ProcessChoice;
  readonly captureRingBytes: number;
  readonly redaction: "on" | "off";
  /** `own`: only traffic of the network namespace that the agent runs in. */
  readonly networkNamespace: "all" | "own";
  readonly queueBytesMax: number;
  readonly allowRemote: boolean;
  readonly logLevel: "debug" | "info" | "warn" | "error";
}

const QUEUE_BYTES_MIN = 64 * 1024;
const GRPC_PORT = "4317";
const TRACES_PATH = "/v1/traces";

/** Those that `serve` has too. */
const SHARED = [
  "--capture",
  "--network-namespace",
  "--capture-cpu",
  "--capture-ring",
  "--tls",
  "--inject-node",
  "--redaction",
  "--allow-remote",
  "--log-level",
];

/** The table that help, environment and flags are read from. */
export const AGENT_SETTINGS: readonly SettingEntry[] = [
  {
    flag: "--to",
    takes: "URL",
    fallback: "",
    help: "receiver of OTLP: http://host:4318, or grpc://host:4317 (grpcs:// and https:// by TLS)",
  },
  { flag: "--listen", takes: "HOST:PORT", fallback: "127.0.0.1:8426", help: "its own metrics and state" },
  { flag: "--queue", takes: "BYTES", fallback: "32MiB", help: "spans that wait while the receiver does not take them" },
  ...SETTINGS.filter(({ flag }) => SHARED.includes(flag)),
];

/**
 * Reads flags and environment, as `readSettings`.
 *
 * @throws ThalwegError `flag_unknown`, `flag_invalid` or `address_not_loopback`.
 */
export function readAgentSettings(
  args: readonly string[],
  env: Readonly<Record<string, string | undefined>>,
): AgentSettings {
  const given = readFlags(args, AGENT_SETTINGS);
  const text = (flag: string): string =>
    given.get(flag) ??
    env[environmentName(flag)] ??
    AGENT_SETTINGS.find((entry) => entry.flag === flag)?.fallback ??
    "";
  const settings: AgentSettings = {
    to: parseTarget(text("--to")),
    listen: parseAddress("--listen", text("--listen")),
    capture: parseCapture(text("--capture")),
    captureCpu: parseCores("--capture-cpu", text("--capture-cpu")),
    tls: parseProcesses("--tls", text("--tls")),
    injectNode: parseProcesses("--inject-node", text("--inject-node")),
    captureRingBytes: parseRingBytes("--capture-ring", text("--capture-ring")),
    redaction: oneOf("--redaction", text("--redaction"), ["on", "off"]),
    networkNamespace: oneOf("--network-namespace", text("--network-namespace"), ["all", "own"]),
    queueBytesMax: parseBytes("--queue", text("--queue")),
    allowRemote: oneOf("--allow-remote", text("--allow-remote") || "false", ["true", "false"]) === "true",
    logLevel: oneOf("--log-level", text("--log-level"), ["debug", "info", "warn", "error"]),
  };
  if (settings.queueBytesMax < QUEUE_BYTES_MIN) {
    throw new ThalwegError("flag_invalid", { flag: "--queue", value: text("--queue"), why: "it takes 64KiB at least" });
  }
  const { host, port } = settings.listen;
  if (!settings.allowRemote && !isLoopback(host)) {
    throw new ThalwegError("address_not_loopback", { flag: "--listen", address: `${host}:${port}` });
  }
  return settings;
}

/** `grpc:` and `grpcs:` say gRPC, and so does OTLP's port for it; a path for HTTP gets the signal's own behind it. */
function parseTarget(value: string): ExportTarget {
  const parts = /^(https?|grpcs?):\/\/(.+)$/i.exec(value);
  const scheme = parts?.[1]?.toLowerCase() ?? "";
  const web = `${scheme.endsWith("s") ? "https" : "http"}://${parts?.[2] ?? ""}`;
  if (parts === null || !URL.canParse(web)) {
    // What was given may hold a password.
    const why = value === "" ? "it is needed" : "it takes an address";
    throw new ThalwegError("flag_invalid", {
      flag: "--to",
      value: "",
      why: `${why}, such as http://host:4318 or grpc://host:4317`,
    });
  }
  const url = new URL(web);
  url.hash = "";
  if (scheme.startsWith("grpc") || url.port === GRPC_PORT) return { transport: "grpc", url };
  const path = url.pathname.replace(/\/+$/, "");
  url.pathname = path.endsWith(TRACES_PATH) ? path : `${path}${TRACES_PATH}`;
  return { transport: "http", url };
}
