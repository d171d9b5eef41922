/**
 * The suite `line-senders`: InfluxDB's line protocol over HTTP and StatsD over UDP, written as Telegraf and StatsD's clients
 * write them, become exactly the series that were sent, over a restart too.
 */

import { createSocket } from "node:dgram";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { metricLedgerFault } from "../one-truth.ts";
import { Program, sleep, until } from "../program.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";

const FLAGS = ["--capture", "off", "--statsd", "127.0.0.1:0"];
const POINTS = 40;
const SENDERS = 8;
const REQUESTS = 25;
const STATSD_MS_MAX = 25_000;
const COUNTS = 5_000;

/** Runs it. */
export async function runLineSenders(): Promise<SuiteOutcome> {
  const report = new SuiteReport();
  let program = await Program.start(FLAGS);
  try {
    const sent = await writePoints(program);
    await checkPoints(report, program, sent);
    await checkStatsd(report, program);
    await checkLedger(report, program);
    const directory = program.dataDirectory;
    await program.stop();
    program = await Program.start(FLAGS, directory);
    await checkPoints(report, program, sent);
  } catch (error) {
    report.add("line-senders", error instanceof Error ? (error.stack ?? error.message) : String(error));
  } finally {
    await program.discard();
  }
  return report.outcome;
}

/** Points that many senders wrote at once, each with series of its own. */
async function writePoints(program: Program): Promise<{ readonly points: number; readonly sum: number }> {
  const startMs = Date.now() - REQUESTS * 1000;
  let points = 0;
  let sum = 0;
  const send = async (sender: number) => {
    for (let request = 0; request < REQUESTS; request++) {
      const lines: string[] = [];
      for (let point = 0; point < POINTS; point++) {
        const value = sender * 1000 + request * POINTS + point;
        lines.push(
          `disk,host=h${sender},path=/dev/p${point} free=${value}i,name="text" ${startMs + request * 1000}000000`,
        );
        points++;
        sum += value;
      }
      const isZipped = sender % 2 === 0;
      const body = isZipped ? gzipSync(`${lines.join("\n")}\n`) : Buffer.from(lines.join("\n"));
      const answer = await fetch(
        `${program.http}${sender % 3 === 0 ? "/api/v2/write?bucket=b" : "/write?db=telegraf"}`,
        {
          method: "POST",
          body: new Uint8Array(body),
          headers: isZipped ? { "content-encoding": "gzip" } : {},
        },
      );
      if (answer.status !== 204) throw new Error(`a write was answered ${answer.status}: ${await answer.text()}`);
    }
  };
  await Promise.all(Array.from({ length: SENDERS }, (_, sender) => send(sender)));
  return { points, sum };
}

async function checkPoints(
  report: SuiteReport,
  program: Program,
  sent: { readonly points: number; readonly sum: number },
): Promise<void> {
  const ask = async (query: string) => (await program.promql(query))[0]?.value ?? NaN;
  const points = await ask("sum(count_over_time(disk_free[5m]))");
  const sum = await ask("sum(sum_over_time(disk_free[5m]))");
  const series = await ask("count(last_over_time(disk_free[5m]))");
  const wanted = { points: sent.points, sum: sent.sum, series: SENDERS * POINTS };
  const got = JSON.stringify({ points, sum, series });
  report.add(
    "every point is there once",
    got === JSON.stringify(wanted) ? "" : `${got} is not ${JSON.stringify(wanted)}`,
  );
}

async function checkStatsd(report: SuiteReport, program: Program): Promise<void> {
  const addresses: { statsd: string } = JSON.parse(readFileSync(join(program.dataDirectory, "addresses.json"), "utf8"));
  const port = Number(addresses.statsd.slice(addresses.statsd.lastIndexOf(":") + 1));
  const socket = createSocket("udp4");
  const send = (text: string) =>
    new Promise<void>((resolve, reject) =>
      socket.send(text, port, "127.0.0.1", (error) => (error ? reject(error) : resolve())),
    );
  for (let count = 0; count < COUNTS; count++) {
    await send(`web.hits:1|c|#code:${count % 2 === 0 ? 200 : 500}`);
    // A burst longer than the socket's buffer would be lost in the kernel.
    if (count % 200 === 0) await sleep(5);
  }
  await send("web.hits:3|c|@0.1|#code:200\nqueue,host=a:10|g\nqueue,host=a:-3|g");
  await send("wait:30|ms\nwait:700:9000|ms\nusers:ann|s\nusers:bob|s\nusers:ann|s\nbroken\nalso:x|c\n_e{1,1}:a|b");
  socket.close();
  const wanted: [string, number][] = [
    ['web_hits{code="200"}', COUNTS / 2 + 30],
    ['web_hits{code="500"}', COUNTS / 2],
    ['queue{host="a"}', 7],
    ['wait_seconds_bucket{le="0.05"}', 1],
    ['wait_seconds_bucket{le="1.0"}', 2],
    ['wait_seconds_bucket{le="+Inf"}', 3],
    ["wait_seconds_sum", 9.73],
  ];
  for (const [query, value] of wanted) {
    const ask = async () => (await program.promql(query))[0]?.value;
    const found = await until(async () => ((await ask()) === value ? value : undefined), STATSD_MS_MAX);
    report.add(query, found === value ? "" : `it is ${await ask()}, not ${value}`);
  }
  const told = (await program.promql("max_over_time(users[1m])"))[0]?.value;
  report.add("a set counts its members", told === 2 ? "" : `it is ${told}, not 2`);
  const broken = await program.counter("thalweg_statsd_rejected_total", "malformed");
  report.add("lines that are wrong are counted", broken === 2 ? "" : `${broken} are counted, not 2`);
}

async function checkLedger(report: SuiteReport, program: Program): Promise<void> {
  report.add("received = stored + rejected + lost", await metricLedgerFault(program));
  const texts = await program.counter("thalweg_ingest_rejected_total", 'reason="text_value"');
  const sent = SENDERS * REQUESTS * POINTS;
  report.add("texts are counted as left out", texts === sent ? "" : `${texts} are not ${sent}`);
}
