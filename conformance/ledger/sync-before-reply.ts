/** The order of system calls of one export: its bytes are read, a file is synced, the reply is written. */

import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { oracleEncode } from "../../server/wire/trace-oracle.ts";
import { Program, sleep } from "../program.ts";
import type { SuiteReport } from "../suite.ts";

const TRACED = "read,recvfrom,recvmsg,readv,write,writev,sendto,sendmsg,fsync,fdatasync";
/** Text inside the request and the reply, to find them in the trace. */
const REQUEST_MARK = "sync-before-reply-mark";
const TAIL_MARK = "sync-before-reply-tail";

/** Sends one slow request to a traced program. */
export async function syncBeforeReply(report: SuiteReport): Promise<void> {
  const works = spawnSync("strace", ["-f", "-o", "/dev/null", "true"], { encoding: "utf8" });
  const name = "a file is synced between the last byte read and the reply";
  if (works.status !== 0)
    return report.skip(name, `strace does not run: ${works.error?.message ?? works.stderr}`, "servers");
  const work = mkdtempSync(join(tmpdir(), "thalweg-strace-"));
  const out = join(work, "calls");
  const data = join(work, "data");
  const before = ["strace", "-f", "-tt", "-s", "4096", "-e", `trace=${TRACED}`, "-o", out];
  let program: Program | undefined;
  try {
    program = await Program.start(["--capture", "off"], data, { before });
    await sendSlowly(program);
    await sleep(300);
  } finally {
    // A tracer that is ended lets go of the program, so the program is ended, and the tracer with it.
    if (program !== undefined) process.kill(Number.parseInt(readFileSync(join(data, "lock"), "utf8"), 10), "SIGKILL");
    await program?.ended();
  }
  report.add(name, orderFault(readFileSync(out, "latin1").split("\n")));
  rmSync(work, { recursive: true, force: true });
}

async function sendSlowly(program: Program): Promise<void> {
  const now = String(BigInt(Date.now()) * 1_000_000n);
  const body = Buffer.from(
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
  const half = Math.floor(body.length / 2);
  async function* parts() {
    yield new Uint8Array(body.subarray(0, half));
    await sleep(400);
    yield new Uint8Array(body.subarray(half));
  }
  const answer = await fetch(`${program.otlpHttp}/v1/traces`, {
    method: "POST",
    headers: { "content-type": "application/x-protobuf" },
    body: ReadableStream.from(parts()),
    duplex: "half",
  });
  if (!answer.ok) throw new Error(`the export answered ${answer.status}: ${await answer.text()}`);
  await answer.arrayBuffer();
}

/** Looks for read, sync, reply, each behind the one before, in the lines of a trace. */
function orderFault(lines: readonly string[]): string {
  const readAt = lines.findLastIndex((line) => line.includes(TAIL_MARK) && /(read|recv)\w*\(|resumed/.test(line));
  if (readAt < 0) return "no call that reads the request was seen";
  const replyAt = lines.findIndex(
    (line, at) => at > readAt && /(write|writev|sendto|sendmsg)\(/.test(line) && line.includes("HTTP/1.1 200"),
  );
  if (replyAt < 0) return "no call that writes the reply was seen";
  const between = lines.slice(readAt + 1, replyAt);
  const synced = between.some((line) => /(fsync|fdatasync)(\(\d+\)| resumed>\))\s+= 0/.test(line));
  return synced ? "" : `no sync ended between them:\n${between.slice(0, 20).join("\n").slice(0, 2000)}`;
}
