/**
 * `POST /api/v1/read`: Prometheus' remote read, as samples or as a stream of chunks.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/
 */

import { Readable } from "node:stream";
import type { FastifyInstance, FastifyReply } from "fastify";
import { ThalwegError } from "../model/errors.ts";
import { decodeReadRequest, type ReadRequest } from "../wire/remote-read.ts";
import { labelsFrame, seriesFrames } from "../wire/remote-read-encode.ts";
import type { ApiDeps } from "./api-deps.ts";
import { type BodyWords, readSnappyBody, sendPlain, sendRefusedBody, sendRetry } from "./remote-body.ts";
import { GatheredResults } from "./remote-results.ts";
import { mergeLabels, type PlannedRead, planReads, selectSeries } from "./remote-selection.ts";
import type { BodyLimits } from "./request-body.ts";

const PATH = "/api/v1/read";
const OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE"];
/** Reads that run at the same time; Prometheus' own limit. */
const READS_MAX = 10;
/** Reads that wait for one of those to end. */
const WAITING_MAX = 100;
const RETRY_AFTER_SECONDS = 5;
/** Numbers of `ReadRequest.ResponseType`. */
const SAMPLES = 0;
const STREAMED_XOR_CHUNKS = 1;
const TYPE_NAMES: ReadonlyMap<number, string> = new Map([
  [SAMPLES, "SAMPLES"],
  [STREAMED_XOR_CHUNKS, "STREAMED_XOR_CHUNKS"],
]);
const SAMPLES_TYPE = "application/x-protobuf";
/** Content-Type of the streamed form. */
export const REMOTE_READ_STREAM_TYPE = "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse";
/** Work is laid down for others after so long. */
const TURN_MS_MAX = 20;
/** Bytes of an answer that are made ahead of its reader. */
const STREAM_BYTES = 1 << 20;
const WORDS: BodyWords = {
  corrupt: "snappy: corrupt input",
  tooLarge: (decodedBytes, bytesMax) => `snappy: decoded length ${decodedBytes} exceeds limit ${bytesMax}`,
};

/** Adds the route to `app`, whose content-type parser must leave the body unread. */
export function addRemoteReadRoute(app: FastifyInstance, deps: ApiDeps, limits: BodyLimits): void {
  const gate = new Gate();
  app.post(PATH, async (request, reply) => {
    const body = await readSnappyBody(request, limits, WORDS);
    if (body.kind === "refused") return sendRefusedBody(reply, body);
    const decoded = body.use(decodeReadRequest);
    body.release();
    if (decoded === undefined) return sendPlain(reply, 400, WORDS.corrupt);
    if (decoded.kind === "malformed") {
      const { reason, offset } = decoded;
      return sendPlain(reply, 400, `the body is not a prometheus.ReadRequest: ${reason} at byte ${offset}`);
    }
    if (!(await gate.enter())) return sendRetry(reply, `${WAITING_MAX} reads wait already`, RETRY_AFTER_SECONDS);
    // The gate is left once the answer is sent to its end, or its reader has gone.
    if (reply.raw.closed) {
      gate.leave();
      return sendPlain(reply, 499, "the client has gone");
    }
    reply.raw.once("close", () => gate.leave());
    return answer({ deps, limits, reply }, decoded.request);
  });
  app.route({
    method: OTHER_METHODS,
    url: PATH,
    exposeHeadRoute: false,
    handler: async (_request, reply) => sendPlain(reply.header("allow", "OPTIONS, POST"), 405, "Method Not Allowed"),
  });
}

/** Lets so many in at a time; others wait in line, and more than that are sent away. */
class Gate {
  readonly #waiting: (() => void)[] = [];
  #inside = 0;

  /** Resolves with true once inside, or with false where the line is full. */
  async enter(): Promise<boolean> {
    if (this.#inside < READS_MAX) {
      this.#inside++;
      return true;
    }
    if (this.#waiting.length >= WAITING_MAX) return false;
    await new Promise<void>((resolve) => this.#waiting.push(resolve));
    return true;
  }

  leave(): void {
    const next = this.#waiting.shift();
    if (next === undefined) this.#inside--;
    else next();
  }
}

interface Answering {
  readonly deps: ApiDeps;
  readonly limits: BodyLimits;
  readonly reply: FastifyReply;
}

async function answer(answering: Answering, { queries, responseTypes }: ReadRequest): Promise<FastifyReply> {
  const { deps, reply } = answering;
  const type = responseTypes.length === 0 ? SAMPLES : responseTypes.find((each) => TYPE_NAMES.has(each));
  if (type === undefined) {
    const supported = [...TYPE_NAMES.values()].map((name) => `${name}:{}`).join(" ");
    const asked = responseTypes.join(" ");
    const why = `server does not support any of the requested response types: [${asked}]; supported: map[${supported}]`;
    return sendPlain(reply, 400, why);
  }
  const planned = planReads(queries, deps.remoteRead.externalLabels);
  if (planned.kind === "refused") return sendPlain(reply, 400, planned.reason);
  if (type === SAMPLES) return answerSamples(answering, planned.reads);
  const frames = Readable.from(inTurns(framesOf(deps, planned.reads)), {
    objectMode: false,
    highWaterMark: STREAM_BYTES,
  });
  frames.once("error", (error) => deps.log.error({ err: error }, "a remote read broke off"));
  return reply.code(200).type(REMOTE_READ_STREAM_TYPE).send(frames);
}

async function* framesOf(deps: ApiDeps, reads: readonly PlannedRead[]): AsyncGenerator<Uint8Array> {
  const { externalLabels } = deps.remoteRead;
  for (const [index, read] of reads.entries()) {
    for await (const series of selectSeries(deps.reader, read, Number.POSITIVE_INFINITY)) {
      const labels = mergeLabels(series.labels, externalLabels);
      if (read.labelsOnly) yield labelsFrame(labels, index);
      else yield* seriesFrames({ ...series, labels }, index);
    }
  }
}

/** Lets other work of the process go on between pieces. */
async function* inTurns(pieces: AsyncGenerator<Uint8Array>): AsyncGenerator<Uint8Array> {
  let startedMs = performance.now();
  for await (const piece of pieces) {
    yield piece;
    if (performance.now() - startedMs < TURN_MS_MAX) continue;
    await new Promise((resolve) => setImmediate(resolve));
    startedMs = performance.now();
  }
}

/** One message with all results, which has to be in memory whole, since a block starts with its length. */
async function answerSamples(answering: Answering, reads: readonly PlannedRead[]): Promise<FastifyReply> {
  const { deps, limits, reply } = answering;
  const { samplesMax, externalLabels } = deps.remoteRead;
  const gathered = new GatheredResults(limits.budget);
  reply.raw.once("close", () => gathered.release());
  const isFull = () =>
    sendRetry(reply, "other requests fill the memory kept for bodies; try again", RETRY_AFTER_SECONDS);
  try {
    for (const read of reads) {
      let samples = 0;
      for await (const series of selectSeries(deps.reader, read, samplesMax)) {
        samples += series.timestampsMs.length;
        if (samples > samplesMax) return sendPlain(reply, 400, `exceeded sample limit (${samplesMax})`);
        if (!gathered.add({ ...series, labels: mergeLabels(series.labels, externalLabels) })) return isFull();
      }
      if (!gathered.closeResult()) return isFull();
    }
  } catch (error) {
    if (!(error instanceof ThalwegError) || error.code !== "query_samples_max") throw error;
    return sendPlain(reply, 400, `exceeded sample limit (${samplesMax})`);
  }
  const body = Readable.from(inTurns(gathered.block()), { objectMode: false, highWaterMark: STREAM_BYTES });
  return reply.code(200).type(SAMPLES_TYPE).header("content-encoding", "snappy").send(body);
}
