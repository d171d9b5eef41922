/** Readers of setting values: addresses, durations, sizes, capture modes. All throw `flag_invalid`. */

import { parseDurationMs } from "../model/duration.ts";
import { ThalwegError } from "../model/errors.ts";
import type { Labels } from "../model/series.ts";

/** A listening address; port 0 lets the system choose. */
export interface Address {
  readonly host: string;
  readonly port: number;
}

/** What `--capture` takes. `replay` carries the file. */
export type CaptureMode =
  | { readonly kind: "auto" }
  | { readonly kind: "off" }
  | { readonly kind: "rung"; readonly rung: "socket" | "fexit" | "syscall" | "packet" }
  | { readonly kind: "replay"; readonly file: string };

/** Processor cores that something may cost: so many, a share of the machine's, or no limit. */
export type CoresMax = number | "auto" | "none";

const BYTE_UNITS: Readonly<Record<string, number>> = {
  "": 1,
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
};

/** Reads `HOST:PORT`, `[::1]:PORT` or `:PORT`, the last one on loopback. */
export function parseAddress(flag: string, value: string): Address {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:]*)):(\d{1,5})$/.exec(value);
  const port = Number(match?.[3]);
  if (match === null || port > 65_535) {
    throw new ThalwegError("flag_invalid", { flag, value, why: "it takes HOST:PORT with a port from 0 to 65535" });
  }
  const host = match[1] ?? match[2] ?? "";
  return { host: host === "" ? "127.0.0.1" : host, port };
}

/** Reads durations such as `15d` or `1h30m`, longer than 0. */
export function readDurationMs(flag: string, value: string): number {
  const durationMs = readWindowMs(flag, value);
  if (durationMs === 0) throw new ThalwegError("flag_invalid", { flag, value, why: "it must be longer than 0" });
  return durationMs;
}

/** Reads durations such as `15d`, `1h30m` or `0s`. */
export function readWindowMs(flag: string, value: string): number {
  const durationMs = parseDurationMs(value);
  if (durationMs === undefined) {
    throw new ThalwegError("flag_invalid", { flag, value, why: "it takes a duration such as 15d or 1h30m" });
  }
  return durationMs;
}

/** Reads labels such as `cluster=a,replica=b`; the answer is in order of name. */
export function parseLabels(flag: string, value: string): Labels {
  const labels = new Map<string, string>();
  for (const pair of value === "" ? [] : value.split(",")) {
    const match = /^\s*([a-zA-Z_][a-zA-Z0-9_]*)=(.+)$/.exec(pair);
    const [, name = "", content = ""] = match ?? [];
    if (match === null || name === "__name__") {
      throw new ThalwegError("flag_invalid", { flag, value, why: "it takes labels such as cluster=a,replica=b" });
    }
    if (labels.has(name)) throw new ThalwegError("flag_invalid", { flag, value, why: `${name} is there twice` });
    labels.set(name, content);
  }
  return [...labels].sort(([left], [right]) => (left < right ? -1 : 1));
}

/** Reads sizes such as `512MB` or `1GiB`. */
export function parseBytes(flag: string, value: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([a-z]*)$/i.exec(value);
  const unit = BYTE_UNITS[(match?.[2] ?? "?").toLowerCase()];
  if (match === null || unit === undefined) {
    throw new ThalwegError("flag_invalid", { flag, value, why: "it takes a size such as 512MB or 1GiB" });
  }
  return Math.floor(Number(match[1]) * unit);
}

/** Reads a number of cores such as `0.3`, `auto` or `none`. */
export function parseCores(flag: string, value: string): CoresMax {
  if (value === "auto" || value === "none") return value;
  const cores = /^\d+(?:\.\d+)?$/.test(value) ? Number(value) : 0;
  if (cores > 0) return cores;
  throw new ThalwegError("flag_invalid", { flag, value, why: "it takes a number of cores such as 0.3, auto or none" });
}

/** Reads the size of a ring buffer: a power of two from a page to 1 GiB. */
export function parseRingBytes(flag: string, value: string): number {
  const bytes = parseBytes(flag, value);
  if (bytes >= 4096 && bytes <= 2 ** 30 && Number.isInteger(Math.log2(bytes))) return bytes;
  throw new ThalwegError("flag_invalid", { flag, value, why: "it takes a power of two from 4KiB to 1GiB" });
}

/** Reads what `--capture` takes. */
export function parseCapture(value: string): CaptureMode {
  if (value === "auto" || value === "off") return { kind: value };
  if (value === "socket" || value === "fexit" || value === "syscall" || value === "packet") {
    return { kind: "rung", rung: value };
  }
  if (value.startsWith("replay:") && value.length > "replay:".length) {
    return { kind: "replay", file: value.slice("replay:".length) };
  }
  throw new ThalwegError("flag_invalid", {
    flag: "--capture",
    value,
    why: "it takes auto, off, socket, packet or replay:FILE",
  });
}

/** Processes that something is done to: none, all, or those of these program names or process ids. */
export type ProcessChoice =
  | { readonly kind: "off" | "auto" }
  | { readonly kind: "names"; readonly names: readonly string[] };

/** Reads what `--tls` and `--inject-node` take. */
export function parseProcesses(flag: string, value: string): ProcessChoice {
  if (value === "off" || value === "auto") return { kind: value };
  const names = value.split(",").map((name) => name.trim());
  if (names.every((name) => /^[\w.+-]+$/.test(name))) return { kind: "names", names };
  throw new ThalwegError("flag_invalid", {
    flag,
    value,
    why: "it takes off, auto, or names of programs and process ids such as nginx,node,4711",
  });
}

/** Reads an address such as `http://host:9093/prefix`; slashes at its end go. */
export function parseUrl(flag: string, value: string): string {
  const isWeb = URL.canParse(value) && /^https?:$/.test(new URL(value).protocol);
  if (!isWeb)
    throw new ThalwegError("flag_invalid", { flag, value, why: "it takes an address such as http://host:9093" });
  return value.replace(/\/+$/, "");
}
