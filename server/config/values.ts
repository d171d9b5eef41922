/** Readers of setting values: addresses, durations, sizes, capture modes. All throw `flag_invalid`. */

import { ThalwegError } from "../model/errors.ts";

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

const DURATION_UNITS_MS: Readonly<Record<string, number>> = {
  ms: 1,
  s: 1_000,
  m: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
  y: 31_536_000_000,
};

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

/** Reads durations such as `15d` or `1h30m`, units from large to small. */
export function parseDurationMs(flag: string, value: string): number {
  let total = 0;
  let rest = value;
  let last = Number.POSITIVE_INFINITY;
  while (rest !== "") {
    const match = /^(\d+)(ms|[smhdwy])/.exec(rest);
    const unit = DURATION_UNITS_MS[match?.[2] ?? ""];
    if (match === null || unit === undefined || unit >= last) {
      throw new ThalwegError("flag_invalid", { flag, value, why: "it takes a duration such as 15d or 1h30m" });
    }
    total += Number(match[1]) * unit;
    last = unit;
    rest = rest.slice(match[0].length);
  }
  if (total === 0) throw new ThalwegError("flag_invalid", { flag, value, why: "it must be longer than 0" });
  return total;
}

/** Writes milliseconds as `parseDurationMs` reads them, in days at the most: `15d`, `1h30m`. */
export function printDurationMs(ms: number): string {
  let rest = ms;
  let text = "";
  for (const [unit, unitMs] of Object.entries(DURATION_UNITS_MS).reverse()) {
    if (unit === "y" || unit === "w" || rest < unitMs) continue;
    text += `${Math.floor(rest / unitMs)}${unit}`;
    rest %= unitMs;
  }
  return text;
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
