/** What comes without being asked, or is asked for by us: floods of StatsD's datagrams, and targets that answer with bombs. */

import { createSocket } from "node:dgram";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type Server, type ServerResponse } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { metricLedgerFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { GoodTraffic, MemoryPeak, p99, settle } from "./watch.ts";

const MIB = 2 ** 20;
const MORE_BYTES_MAX = 64 * MIB;
/** A program that may use so much gives all answers of targets together a 24th of it. */
const PROGRAM_BYTES = 2 ** 31;
const ANSWERS_BYTES_MAX = PROGRAM_BYTES / 24;
/** What good traffic alone adds in as long as a flood takes is not the flood's. */
const QUIET_MS = 12_000;
const GOOD_MS_FLOOR = 50;
const DATAGRAMS = 60_000;
const STATSD_SERIES_MAX = 20_000;
const SCRAPE_MS_MAX = 30_000;
const TEXT = "text/plain; version=0.0.4";
const PROTOBUF = "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited";

/** What a target answers, by its job. */
const TARGETS: Readonly<Record<string, (answer: ServerResponse) => void>> = {
  endless: (answer) => pour(answer, Buffer.from("a 1\n".repeat(16_384))),
  "endless-line": (answer) => pour(answer, Buffer.alloc(65_536, "a")),
  "endless-comment": (answer) => pour(answer, Buffer.from("# HELP a b\n".repeat(6_000))),
  drip: (answer) => {
    answer.writeHead(200, { "content-type": TEXT });
    const timer = setInterval(() => answer.write("a"), 100);
    answer.on("close", () => clearInterval(timer));
  },
  silent: () => {},
  gzip: (answer) => {
    answer.writeHead(200, { "content-type": TEXT, "content-encoding": "gzip" }).end(GZIP_BOMB);
  },
  "wide-line": (answer) => answer.writeHead(200, { "content-type": TEXT }).end(`a{${'b="c",'.repeat(MIB)}} 1\n`),
  "long-value": (answer) => answer.writeHead(200, { "content-type": TEXT }).end(`a{b="${"c".repeat(20 * MIB)}"} 1\n`),
  "long-number": (answer) => answer.writeHead(200, { "content-type": TEXT }).end(`a ${"1".repeat(MIB / 2)}! 1\n`),
  crumbs: (answer) => {
    answer.writeHead(200, { "content-type": TEXT }).flushHeaders();
    answer.socket?.end(Buffer.from("2\r\n# \r\n".repeat(2_000_000)));
  },
  "many-pairs": (answer) =>
    answer
      .writeHead(200, { "content-type": PROTOBUF })
      .end(familyOf(delimited(34, Buffer.alloc(PAIRS_BYTES, Buffer.from([10, 0]))))),
  "long-length": (answer) =>
    answer.writeHead(200, { "content-type": PROTOBUF }).end(Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 1])),
  "empty-families": (answer) => answer.writeHead(200, { "content-type": PROTOBUF }).end(Buffer.alloc(8 * MIB)),
  redirects: (answer) => answer.writeHead(302, { location: "/redirects" }).end(),
  garbage: (answer) =>
    answer.writeHead(200, { "content-type": TEXT }).end(crypto.getRandomValues(Buffer.alloc(60_000))),
};
/** Of pairs that a metric repeats. */
const PAIRS_BYTES = 2 * MIB;
const GZIP_BOMB = gzipSync(Buffer.alloc(256 * MIB, "a 1\n"));
/** Their answers are empty where nothing is wrong with them. */
const MAY_BE_UP = new Set(["empty-families"]);

/** Runs both against a program of their own. */
export async function pushedFloods(report: SuiteReport, slack: number): Promise<void> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-pushed-"));
  const targets = await startTargets();
  const file = join(directory, "scrape.yml");
  writeFileSync(file, "scrape_configs: []\n");
  const flags = [
    "--capture",
    "off",
    "--statsd",
    "127.0.0.1:0",
    "--scrape.config",
    file,
    "--enable-lifecycle",
    "--memory",
    String(PROGRAM_BYTES),
  ];
  const program = await Program.start(flags, join(directory, "data"));
  const { http, otlpHttp, otlpGrpc } = program;
  const traffic = new GoodTraffic({ http, otlpHttp, otlpGrpc, isLight: true });
  try {
    await sleep(2_000);
    await traffic.take();
    const memory = new MemoryPeak(program.pid);
    const before = memory.reset();
    await sleep(QUIET_MS);
    const quietBytes = memory.peak() - before;
    const { writesMs, queriesMs } = await traffic.take();
    const allowedMs = slack * Math.max(GOOD_MS_FLOOR, 2 * p99([...writesMs, ...queriesMs]));
    const judge = { program, traffic, allowedMs, quietBytes };
    await flood(report, judge, directory);
    writeFileSync(file, configOf(targets.port));
    const reloaded = await fetch(`${http}/-/reload`, { method: "POST" });
    report.add("targets of bombs are loaded", reloaded.ok ? "" : `${reloaded.status}: ${await reloaded.text()}`);
    await scrapes(report, judge);
    report.add("pushed: received = stored + rejected + lost", await metricLedgerFault(program));
  } finally {
    await traffic.stop();
    await program.discard();
    targets.server.closeAllConnections();
    targets.server.close();
    rmSync(directory, { recursive: true, force: true });
  }
}

interface Judge {
  readonly program: Program;
  readonly traffic: GoodTraffic;
  /** For the hundredth that took longest of good requests. */
  readonly allowedMs: number;
  readonly quietBytes: number;
}

/** Watches memory and good traffic while `work` runs. */
async function watched(
  report: SuiteReport,
  { program, traffic, allowedMs, quietBytes }: Judge,
  { name, bytesMax, work }: { name: string; bytesMax: number; work: () => Promise<void> },
): Promise<void> {
  await settle();
  await traffic.take();
  const memory = new MemoryPeak(program.pid);
  const before = memory.reset();
  await work();
  const moreBytes = memory.peak() - before;
  const { writesMs, queriesMs, faults } = await traffic.take();
  const goodMs = p99([...writesMs, ...queriesMs]);
  const figures = `${Math.round(moreBytes / MIB)} MiB more, p99 of good requests ${Math.round(goodMs)} ms`;
  const slow = goodMs > allowedMs ? `good requests may take ${Math.round(allowedMs)} ms` : "";
  const large = moreBytes > bytesMax + quietBytes ? `more than ${bytesMax / MIB} and ${quietBytes / MIB} MiB` : "";
  report.add(`${name} (${figures})`, [slow, large, ...faults.slice(0, 3)].filter((one) => one !== "").join("\n"));
}

async function flood(report: SuiteReport, judge: Judge, directory: string): Promise<void> {
  const { program } = judge;
  const addresses: { statsd: string } = JSON.parse(readFileSync(join(directory, "data", "addresses.json"), "utf8"));
  const port = Number(addresses.statsd.slice(addresses.statsd.lastIndexOf(":") + 1));
  const socket = createSocket("udp4");
  const send = (text: string) => new Promise<void>((resolve) => socket.send(text, port, "127.0.0.1", () => resolve()));
  const values = `${"1:".repeat(900)}1`;
  const shapes: ((at: number) => string)[] = [
    (at) => `flood.metric_${at}:1|c`,
    (at) => `flood,tag=${at}:${at}|g`,
    (at) => `users:member-${at}|s`,
    (at) => `wait:${values}|ms|#at:${at % 7}`,
    () => "\u0000:".repeat(700),
    () => `${"a".repeat(1_400)}:1|c`,
    () => "a:1|c\n".repeat(230),
  ];
  await watched(report, judge, {
    name: `StatsD: ${DATAGRAMS} datagrams`,
    bytesMax: MORE_BYTES_MAX,
    work: async () => {
      for (let at = 0; at < DATAGRAMS; at++) {
        await send(shapes[at % shapes.length]?.(at) ?? "");
        // What the socket has no room for is lost in the kernel, and floods nobody.
        if (at % 400 === 0) await sleep(5);
      }
      await sleep(11_000); // series are written every ten seconds
    },
  });
  socket.close();
  const series = await program.counter("thalweg_statsd_series");
  report.add(
    `StatsD: ${series} metrics are remembered`,
    series <= STATSD_SERIES_MAX ? "" : `${STATSD_SERIES_MAX} may be`,
  );
  const over = await program.counter("thalweg_statsd_rejected_total", "malformed");
  report.add(`StatsD: ${over} lines are counted as malformed`, over > 0 ? "" : "none is");
}

async function scrapes(report: SuiteReport, judge: Judge): Promise<void> {
  const { program } = judge;
  let left: string[] = [];
  await watched(report, judge, {
    name: `targets that answer with ${Object.keys(TARGETS).length} bombs`,
    bytesMax: MORE_BYTES_MAX + ANSWERS_BYTES_MAX,
    work: async () => {
      const isDone = async () => {
        const scraped = new Map(
          (await program.promql('up{job!=""}')).map(({ metric, value }) => [metric["job"], value]),
        );
        left = Object.keys(TARGETS).filter((job) => scraped.get(job) === undefined);
        return left.length === 0 ? true : undefined;
      };
      await until(isDone, SCRAPE_MS_MAX);
      await sleep(5_000);
    },
  });
  report.add("targets of bombs are all scraped", left.join(", "));
  const up = (await program.promql('max_over_time(up{job!=""}[1m]) == 1')).map(({ metric }) => metric["job"] ?? "");
  report.add("targets of bombs are down", up.filter((job) => !MAY_BE_UP.has(job)).join(", "));
}

function configOf(port: number): string {
  const jobs = Object.keys(TARGETS).map(
    (job) => `
  - job_name: ${job}
    metrics_path: /${job}
    static_configs: [{targets: ["127.0.0.1:${port}"]}]`,
  );
  return `global: {scrape_interval: 3s, scrape_timeout: 2s}\nscrape_configs:${jobs.join("")}\n`;
}

async function startTargets(): Promise<{ readonly server: Server; readonly port: number }> {
  const server = createServer((request, answer) => {
    answer.on("error", () => {});
    TARGETS[request.url?.slice(1).split("?")[0] ?? ""]?.(answer);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP listener has no port");
  return { server, port: address.port };
}

/** A field of bytes. */
function delimited(tag: number, bytes: Uint8Array): Buffer {
  return Buffer.concat([Buffer.from([tag]), lengthOf(bytes), bytes]);
}

function lengthOf({ length }: Uint8Array): Buffer {
  const bytes: number[] = [];
  let rest = length;
  for (; rest > 127; rest >>>= 7) bytes.push((rest & 127) | 128);
  return Buffer.from([...bytes, rest]);
}

/** A family of protobuf that holds a part. */
function familyOf(part: Buffer): Buffer {
  const family = Buffer.concat([Buffer.from([10, 1, 97]), part]);
  return Buffer.concat([lengthOf(family), family]);
}

function pour(answer: ServerResponse, piece: Buffer): void {
  answer.writeHead(200, { "content-type": TEXT });
  const more = () => {
    while (!answer.destroyed && answer.write(piece));
  };
  answer.on("drain", more);
  more();
}
