/**
 * The order of system calls of one export of each signal: its bytes are read, a file is synced, the reply is written.
 *
 * With `--durability interval` samples are synced within a second behind the reply, and a kill loses nothing all the same.
 */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { oracleEncode } from "../../server/wire/trace-oracle.ts";
import { Program, sleep } from "../program.ts";
import type { SuiteReport } from "../suite.ts";
import { httpRequest, type Signal, type Transport } from "./send-body.ts";
import { LANE_LABEL, logsBody, SERIES_PER_LANE, samplesBody } from "./signal-bodies.ts";

const TRACED = "read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,fsync,fdatasync";
const SYNC_ENDED = /(fsync|fdatasync)(\(\d+\)| resumed>\))\s+= 0/;
/** Text of the first request, and at its end, to find it in the trace. */
const REQUEST_MARK = "sync-before-reply-mark";
const TAIL_MARK = "sync-before-reply-tail";
/** Numbers that stand in the last bytes of the other requests, and nowhere else. */
const LOG_SERIAL = 0xbeefca;
const POINTS_LANE = 987_654;
const SAMPLES_LANE = 876_543;
const METRIC = "sync_before_reply";
/** Behind a reply, with durability `interval`. */
const INTERVAL_MS_MAX = 2_500;

interface MarkedRequest {
  readonly signal: Signal;
  readonly transport: Transport;
  readonly mark: string;
  readonly bytes: Buffer;
}

function requests(): MarkedRequest[] {
  const timeMs = Date.now();
  const sample = { timeMs, value: 1 };
  return [
    { signal: "traces", transport: "protobuf", mark: TAIL_MARK, bytes: oneSpan() },
    {
      signal: "logs",
      transport: "protobuf",
      mark: LOG_SERIAL.toString(16),
      bytes: logsBody("protobuf", LOG_SERIAL, timeMs),
    },
    {
      signal: "metrics",
      transport: "protobuf",
      mark: String(POINTS_LANE),
      bytes: samplesBody("protobuf", METRIC, POINTS_LANE, sample),
    },
    samplesRequest(),
  ];
}

function samplesRequest(): MarkedRequest {
  const transport = "remote write 1";
  const bytes = samplesBody(transport, METRIC, SAMPLES_LANE, { timeMs: Date.now(), value: 1 });
  return { signal: "samples", transport, mark: String(SAMPLES_LANE), bytes };
}

/** Sends slow requests to traced programs. */
export async function syncBeforeReply(report: SuiteReport): Promise<void> {
  const works = spawnSync("strace", ["-f", "-o", "/dev/null", "true"], { encoding: "utf8" });
  const name = "a file is synced between the last byte read and the reply";
  if (works.status !== 0)
    return report.skip(name, `strace does not run: ${works.error?.message ?? works.stderr}`, "servers");
  const work = mkdtempSync(join(tmpdir(), "thalweg-strace-"));
  try {
    const all = requests();
    const lines = await traced(join(work, "always"), [], all);
    for (const request of all) report.add(`${name}: ${request.signal}`, orderFault(lines, request).fault);
    const interval = samplesRequest();
    const directory = join(work, "interval");
    const later = await traced(directory, ["--durability", "interval"], [interval]);
    const { replyAt } = orderFault(later, interval);
    const synced = replyAt >= 0 && later.slice(replyAt).some((line) => SYNC_ENDED.test(line));
    report.add("durability interval: samples are synced behind the reply", synced ? "" : "no sync was seen");
    const program = await Program.start(["--capture", "off"], join(directory, "data"));
    const kept = await program.promql(`count(last_over_time(${METRIC}{${LANE_LABEL}="${SAMPLES_LANE}"}[10m]))`);
    await program.kill();
    const found = kept[0]?.value ?? 0;
    report.add(
      "durability interval: a kill loses nothing",
      found === SERIES_PER_LANE ? "" : `${found} series are there`,
    );
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Lines of the trace of a program that is sent `all`, and is killed a while after. */
async function traced(work: string, flags: readonly string[], all: readonly MarkedRequest[]): Promise<string[]> {
  const out = `${work}.calls`;
  const data = join(work, "data");
  const before = ["strace", "-f", "-tt", "-s", "8192", "-e", `trace=${TRACED}`, "-o", out];
  let program: Program | undefined;
  try {
    program = await Program.start(["--capture", "off", ...flags], data, { before });
    for (const request of all) await sendSlowly(program, request);
    await sleep(flags.length === 0 ? 300 : INTERVAL_MS_MAX);
  } finally {
    // A tracer that is ended lets go of the program, so the program is ended, and the tracer with it.
    if (program !== undefined) process.kill(Number.parseInt(readFileSync(join(data, "lock"), "utf8"), 10), "SIGKILL");
    await program?.ended();
  }
  return readFileSync(out, "latin1").split("\n");
}

async function sendSlowly(program: Program, { signal, transport, bytes }: MarkedRequest): Promise<void> {
  const half = Math.floor(bytes.length / 2);
  async function* parts() {
    yield new Uint8Array(bytes.subarray(0, half));
    await sleep(400);
    yield new Uint8Array(bytes.subarray(half));
  }
  const { url, headers } = httpRequest(program, signal, transport);
  const answer = await fetch(url, {
    method: "POST",
    headers,
    body: ReadableStream.from(parts()),
    duplex: "half",
  });
  if (!answer.ok) throw new Error(`${signal} were answered ${answer.status}: ${await answer.text()}`);
  await answer.arrayBuffer();
}

function oneSpan(): Buffer {
  const now = String(BigInt(Date.now()) * 1_000_000n);
  return Buffer.from(
    oracleEncode("TracesData", {
      resourceSpans: [
        {
          resource: { attributes: [{ key: "service.name", value: { stringValue: REQUEST_MARK } }] },
          scopeSpans: [
            {
              spans: [
                {
                  traceId: crypto.getRandomValues(Buffer.alloc(16)),
                  spanId: crypto.getRandomValues(Buffer.alloc(8)),
                  name: TAIL_MARK,
                  kind: 2,
                  startTimeUnixNano: now,
                  endTimeUnixNano: now,
                },
              ],
            },
          ],
        },
      ],
    }),
  );
}

/** Looks for read, sync, reply, each behind the one before, in the lines of a trace. */
function orderFault(
  lines: readonly string[],
  { mark }: MarkedRequest,
): { readonly fault: string; readonly replyAt: number } {
  const readAt = lines.findLastIndex((line) => line.includes(mark) && /(read|recv)\w*\(|resumed/.test(line));
  if (readAt < 0) return { fault: "no call that reads the request was seen", replyAt: -1 };
  const replyAt = lines.findIndex(
    (line, at) => at > readAt && /(write|writev|sendto|sendmsg)\(/.test(line) && /HTTP\/1\.1 20[04]/.test(line),
  );
  if (replyAt < 0) return { fault: "no call that writes the reply was seen", replyAt };
  const between = lines.slice(readAt + 1, replyAt);
  const synced = between.some((line) => SYNC_ENDED.test(line));
  const fault = synced ? "" : `no sync ended between them:\n${between.slice(0, 20).join("\n").slice(0, 2000)}`;
  return { fault, replyAt };
}
