/** StatsD's datagrams as the server takes them: a socket, a timer, counters. */

import { createSocket, type Socket } from "node:dgram";
import type { Settings } from "../config/settings.ts";
import { acceptSeries } from "../ingest/accept-series.ts";
import type { Clock } from "../model/clock.ts";
import { ThalwegError } from "../model/errors.ts";
import { readStatsdLine } from "../statsd/statsd-line.ts";
import { StatsdMetrics } from "../statsd/statsd-metrics.ts";
import type { Store } from "../store/store.ts";
import type { Log } from "../telemetry/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";

/** How often series are written. */
const EVERY_MS = 10_000;
/** Bytes the kernel keeps of datagrams that were not read yet. */
const RECEIVE_BUFFER_BYTES = 4 * 2 ** 20;

/** What listening is made from. */
export interface StatsdParts {
  readonly settings: Settings;
  readonly store: Store;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly log: Log;
}

/** A listener that runs. */
export interface RunningStatsd {
  /** Where it is bound, as `HOST:PORT`; undefined where nobody asked for it. */
  readonly address: string | undefined;
  /** Writes what it was told so far, and ends. */
  stop(): Promise<void>;
}

/** Listens where the settings say so. @throws ThalwegError `address_in_use` */
export async function startStatsd(parts: StatsdParts): Promise<RunningStatsd> {
  const { settings, telemetry, log, clock, store } = parts;
  if (settings.statsd === undefined) return { address: undefined, stop: async () => {} };
  const metrics = new StatsdMetrics();
  const socket = await bound(settings.statsd);
  socket.on("message", (datagram) => takeDatagram(datagram, { metrics, telemetry, nowMs: clock.nowMs() }));
  socket.on("error", (error) => log.warn({ why: error.message }, "the StatsD socket had an error"));
  telemetry.onRender(() => telemetry.set("thalweg_statsd_series", {}, metrics.size));
  let writing = Promise.resolve();
  const write = () => {
    writing = writing.then(async () => {
      const collected = metrics.collect(clock.nowMs());
      if (collected.series.length === 0) return;
      try {
        await acceptSeries({ writer: store.writer, telemetry, clock }, collected, "statsd");
      } catch (error) {
        log.error({ err: error }, "series of StatsD could not be stored");
      }
    });
    return writing;
  };
  const timer = setInterval(write, EVERY_MS);
  timer.unref();
  const { address, port } = socket.address();
  return {
    address: `${address}:${port}`,
    stop: async () => {
      clearInterval(timer);
      await new Promise<void>((resolve) => socket.close(() => resolve()));
      await write();
    },
  };
}

interface Taking {
  readonly metrics: StatsdMetrics;
  readonly telemetry: Telemetry;
  readonly nowMs: number;
}

function takeDatagram(datagram: Buffer, { metrics, telemetry, nowMs }: Taking): void {
  for (const line of datagram.toString().split("\n")) {
    if (line.trim() === "") continue;
    telemetry.count("thalweg_statsd_lines_total", {}, 1);
    const samples = readStatsdLine(line.trimEnd());
    if (samples === undefined) {
      telemetry.count("thalweg_statsd_rejected_total", { reason: "malformed" }, 1);
      continue;
    }
    for (const sample of samples) {
      const refusal = metrics.add(sample, nowMs);
      if (refusal !== undefined) telemetry.count("thalweg_statsd_rejected_total", { reason: refusal }, 1);
    }
  }
}

function bound({ host, port }: { readonly host: string; readonly port: number }): Promise<Socket> {
  const socket = createSocket({ type: host.includes(":") ? "udp6" : "udp4", recvBufferSize: RECEIVE_BUFFER_BYTES });
  return new Promise((resolve, reject) => {
    socket.once("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EADDRINUSE") reject(error);
      else {
        const values = { address: `${host}:${port}`, holder: "", flag: "--statsd" };
        reject(new ThalwegError("address_in_use", values, error));
      }
    });
    socket.bind(port, host, () => {
      socket.removeAllListeners("error");
      resolve(socket);
    });
  });
}
