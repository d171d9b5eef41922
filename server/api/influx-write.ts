/**
 * InfluxDB's way in, versions 1 and 2, for what Telegraf and others send as line protocol.
 *
 * @see https://docs.influxdata.com/influxdb/v2/api/v2/#operation/PostWrite
 */

import { setImmediate } from "node:timers/promises";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { InfluxDecoder, type InfluxPrecision, lineText } from "../wire/influx-line.ts";
import type { RemoteWrite } from "../wire/remote-write.ts";
import type { ApiDeps } from "./api-deps.ts";
import { LARGE_FROM_BYTES } from "./byte-budget.ts";
import { hasMorePairs } from "./form-values.ts";
import { type BodyLimits, readBody } from "./request-body.ts";

const PRECISIONS: ReadonlyMap<string, InfluxPrecision> = new Map([
  ["", "ns"],
  ["n", "ns"],
  ["ns", "ns"],
  ["u", "us"],
  ["us", "us"],
  ["µ", "us"],
  ["ms", "ms"],
  ["s", "s"],
  ["m", "m"],
  ["h", "h"],
]);
const RETRY_AFTER_SECONDS = 5;
/** Largest body, before and after decompression: Telegraf sends some hundred KiB, InfluxDB takes 25 MB. */
const BYTES_MAX = 32 * 2 ** 20;
const QUERY_BYTES_MAX = 2 ** 20;
/** Sentences of one answer, those of all portions together. */
const FAULTS_TOLD_MAX = 20;
/** How long decoding may hold the loop. */
const TURN_MS = 3;
/** Told to clients, which choose by it how to speak. */
const VERSION = "1.8.10";

/** Adds the routes to `app`, whose content-type parser must leave the body unread. */
export function addInfluxRoutes(app: FastifyInstance, deps: ApiDeps, all: BodyLimits): void {
  const limits = { ...all, bytesMax: BYTES_MAX };
  const decoder = new InfluxDecoder();
  const large = { isUnderWay: false };
  for (const path of ["/write", "/api/v2/write"]) {
    app.post(path, async (request, reply) => answerWrite(deps, { request, reply, limits, decoder, large }));
  }
  const ping = async (_request: FastifyRequest, reply: FastifyReply) =>
    reply.code(204).header("x-influxdb-version", VERSION).header("x-influxdb-build", "Thalweg").send();
  app.get("/ping", ping);
  // Telegraf makes its database at its start: there is one, whatever it is called.
  app.post("/query", async (request, reply) => {
    const body = await readBody(request.raw, { ...all, bytesMax: QUERY_BYTES_MAX });
    if (body.kind === "refused") return tell(reply, body.status, body.reason);
    const text = body.bytes.toString();
    body.release();
    if (hasMorePairs(text)) return tell(reply, 400, "the form has too many parameters");
    const form = new URLSearchParams(text);
    const query = new URL(request.url, "http://localhost").searchParams.get("q") ?? form.get("q") ?? "";
    if (/^\s*create\s+database\s/i.test(query)) return { results: [{ statement_id: 0 }] };
    return tell(reply, 400, "InfluxQL is not answered here: ask in PromQL at /api/v1/query or in SQL at /api/v1/sql");
  });
}

interface Write {
  readonly request: FastifyRequest;
  readonly reply: FastifyReply;
  readonly limits: BodyLimits;
  readonly decoder: InfluxDecoder;
  /** Large bodies are stored one at a time: many of them at once would each take as long as all one after another. */
  readonly large: { isUnderWay: boolean };
}

async function answerWrite(deps: ApiDeps, { request, reply, limits, decoder, large }: Write): Promise<FastifyReply> {
  const asked = new URL(request.url, "http://localhost").searchParams.get("precision") ?? "";
  const precision = PRECISIONS.get(asked);
  if (precision === undefined) {
    return tell(reply, 400, `precision "${asked.slice(0, 20)}" is not one of ns, us, ms, s, m, h`);
  }
  const body = await readBody(request.raw, limits);
  if (body.kind === "refused") {
    if (body.status === 503) reply.header("retry-after", String(RETRY_AFTER_SECONDS));
    return tell(reply, body.status, body.reason);
  }
  const isLarge = body.bytes.length > LARGE_FROM_BYTES;
  if (isLarge && large.isUnderWay) {
    body.release();
    limits.onRefused?.("no_room");
    const why = `another body of more than ${LARGE_FROM_BYTES} bytes is being stored; send this one again, or in parts`;
    return tell(reply.header("retry-after", String(RETRY_AFTER_SECONDS)), 503, why);
  }
  if (isLarge) large.isUnderWay = true;
  try {
    const faults = new Set<string>();
    const portions = decoder.decodeInPortions(lineText(body.bytes), precision, deps.clock.nowMs());
    for (let isLast = false; !isLast; ) {
      const step = await nextPortion(portions);
      isLast = step.isLast;
      const outcome = await deps.acceptSeries(step.write, "influx");
      // Portions before it are stored. Sent again, lines with a time change nothing; those without get the time of then.
      if (outcome.kind === "refused") {
        return tell(reply.header("retry-after", String(outcome.retryAfterSeconds)), 503, outcome.reason);
      }
      for (const fault of outcome.faults) if (faults.size < FAULTS_TOLD_MAX) faults.add(fault);
    }
    if (faults.size === 0) return reply.code(204).send();
    return tell(reply, 400, `partial write: ${[...faults].join("; ")}`);
  } catch (error) {
    deps.log.error({ err: error }, "points could not be stored");
    const again = reply.header("retry-after", String(RETRY_AFTER_SECONDS));
    return tell(again, 503, "The points could not be stored. Send them again.");
  } finally {
    if (isLarge) large.isUnderWay = false;
    body.release();
  }
}

/** Runs to the next portion, and lets others have a turn every few milliseconds. */
async function nextPortion(
  work: Generator<RemoteWrite | undefined, RemoteWrite>,
): Promise<{ readonly write: RemoteWrite; readonly isLast: boolean }> {
  for (let sinceMs = performance.now(); ; ) {
    const { value: write, done = false } = work.next();
    if (write !== undefined) return { write, isLast: done };
    if (performance.now() - sinceMs < TURN_MS) continue;
    await setImmediate();
    sinceMs = performance.now();
  }
}

/** An error in the forms of both versions. */
function tell(reply: FastifyReply, status: number, message: string): FastifyReply {
  const code = status === 413 ? "request too large" : status === 503 ? "unavailable" : "invalid";
  return reply
    .code(status)
    .header("x-influxdb-error", message.replace(/[^\x20-\x7e]/g, " ").slice(0, 500))
    .send({
      code,
      message,
      error: message,
    });
}
