/**
 * `POST /api/v1/write`: Prometheus' remote write, 1.0 and 2.0, answered as Prometheus 3.16 answers.
 *
 * @see https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { SeriesOutcome } from "../ingest/accept-series.ts";
import type { Labels } from "../model/series.ts";
import { type RemoteWrite, type RemoteWriteOutcome, releaseRows } from "../wire/remote-write.ts";
import { RemoteWriteDecoder1 } from "../wire/remote-write-1.ts";
import { RemoteWriteDecoder2 } from "../wire/remote-write-2.ts";
import type { ApiDeps } from "./api-deps.ts";
import { passOver } from "./pass-over.ts";
import { type BodyWords, readSnappyBody, sendPlain, sendRefusedBody, sendRetry } from "./remote-body.ts";
import type { BodyLimits } from "./request-body.ts";

const PATH = "/api/v1/write";
const OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE"];
const MEDIA_TYPE = "application/x-protobuf";
const MESSAGE_1 = "prometheus.WriteRequest";
const MESSAGE_2 = "io.prometheus.write.v2.Request";
const WORDS: BodyWords = {
  corrupt: "s2: corrupt input",
  tooLarge: (_decodedBytes, bytesMax) => `decoded size exceeds the ${bytesMax} bytes limit`,
};
const RETRY_AFTER_SECONDS = 5;
/** Series whose labels are known by their bytes from request to request. */
const KNOWN_SERIES_MAX = 2 ** 20 + 2 ** 16;
const KNOWN_SERIES_MIN = 262_144;
const MEMORY_BYTES_OF_KNOWN = 16 * 1024;
/** How the sentence about the limit of series starts. */
const SERIES_LIMIT = "the limit of ";
/** What a sentence of version 2 has after those of version 1. */
const SERIES_PART = / for series \{.*$/s;

/** One for each 16 KiB of the memory; a series that is read anew each time costs ten times as much. */
function knownSeriesMax(memoryBytes: number): number {
  return Math.min(KNOWN_SERIES_MAX, Math.max(KNOWN_SERIES_MIN, Math.floor(memoryBytes / MEMORY_BYTES_OF_KNOWN)));
}

/** Adds the route to `app`, whose content-type parser must leave the body unread. */
export function addRemoteWriteRoute(app: FastifyInstance, deps: ApiDeps, limits: BodyLimits): void {
  const gate = {
    rememberedMax: knownSeriesMax(deps.prometheus.runtime.memoryBytes),
    refusalOf: (labels: Labels) => deps.seriesRefusal(labels),
  };
  const decoders = { 1: new RemoteWriteDecoder1(gate), 2: new RemoteWriteDecoder2(gate) } as const;
  app.post(PATH, async (request, reply) => {
    const encoding = request.headers["content-encoding"] ?? "";
    if (encoding !== "" && encoding !== "snappy") {
      const why = `${encoding} encoding (compression) is not accepted by this server; only snappy is acceptable`;
      passOver(request.raw);
      return sendPlain(reply, 415, why);
    }
    const body = await readSnappyBody(request, limits, WORDS);
    if (body.kind === "refused") return sendRefusedBody(reply, body);
    const version = versionOf(request);
    try {
      // The type is looked at once the block is decoded, as in Prometheus.
      const decoded = body.use((bytes) => (typeof version === "string" ? version : decoders[version].decode(bytes)));
      if (decoded === undefined) {
        deps.countRefused("broken");
        return sendPlain(reply, 400, WORDS.corrupt);
      }
      if (typeof version === "string" || typeof decoded === "string") return sendPlain(reply, 415, String(version));
      return await answer(deps, reply, { version, decoded });
    } finally {
      body.release();
    }
  });
  app.route({
    method: OTHER_METHODS,
    url: PATH,
    exposeHeadRoute: false,
    handler: async (_request, reply) => sendPlain(reply.header("allow", "OPTIONS, POST"), 405, "Method Not Allowed"),
  });
}

interface Decoded {
  readonly version: 1 | 2;
  readonly decoded: RemoteWriteOutcome;
}

async function answer(deps: ApiDeps, reply: FastifyReply, { version, decoded }: Decoded): Promise<FastifyReply> {
  if (decoded.kind === "malformed") {
    deps.countRefused("malformed");
    setWritten(reply, version, NOTHING);
    const message = version === 1 ? MESSAGE_1 : MESSAGE_2;
    return sendPlain(reply, 400, `the body is not a ${message}: ${decoded.reason} at byte ${decoded.offset}`);
  }
  const outcome = await accept(deps, decoded.write);
  releaseRows(decoded.write);
  if (outcome.kind === "refused") {
    setWritten(reply, version, NOTHING);
    return sendRetry(reply, outcome.reason, outcome.retryAfterSeconds);
  }
  setWritten(reply, version, outcome);
  tellLeftOut(deps, decoded.write, outcome);
  if (outcome.faults.length === 0) return reply.code(204).send();
  // Version 1 of Prometheus stops at the first fault and says only what kind it was.
  const text = version === 2 ? outcome.faults.join("\n") : (outcome.faults[0] ?? "").replace(SERIES_PART, "");
  return sendPlain(reply, 400, text);
}

async function accept(deps: ApiDeps, write: RemoteWrite): Promise<SeriesOutcome> {
  try {
    return await deps.acceptSeries(write);
  } catch (error) {
    deps.log.error({ err: error }, "samples could not be stored");
    const reason = "The samples could not be stored. Send them again.";
    return { kind: "refused", reason, retryAfterSeconds: RETRY_AFTER_SECONDS };
  }
}

/** Reasons and counts go to the log, not the labels, which are the sender's; of a limit also what fills it. */
function tellLeftOut(deps: ApiDeps, write: RemoteWrite, { faults }: { readonly faults: readonly string[] }): void {
  if (write.rejected.size === 0 && faults.length === 0) return;
  const limit = faults.find((fault) => fault.startsWith(SERIES_LIMIT))?.replace(SERIES_PART, "");
  const rejected = [...write.rejected].map(([reason, count]) => `${reason}: ${count}`).join(", ");
  const told = { version: write.version, rejected, faults: faults.length, ...(limit === undefined ? {} : { limit }) };
  deps.log.warn(told, "a remote write was not stored whole");
}

const NOTHING = { samples: 0, histograms: 0, exemplars: 0 };

/** What was written, in headers; version 1 has none. */
function setWritten(reply: FastifyReply, version: 1 | 2, written: typeof NOTHING): void {
  if (version === 1) return;
  reply.header("x-prometheus-remote-write-samples-written", String(written.samples));
  reply.header("x-prometheus-remote-write-histograms-written", String(written.histograms));
  reply.header("x-prometheus-remote-write-exemplars-written", String(written.exemplars));
}

/** The version that the Content-Type names, or what is wrong with it. Without one it is version 1. */
function versionOf(request: FastifyRequest): 1 | 2 | string {
  const type = (request.headers["content-type"] ?? MEDIA_TYPE).trim() || MEDIA_TYPE;
  const [media, ...parameters] = type.split(";");
  if (media !== MEDIA_TYPE) return `expected ${MEDIA_TYPE} as the first (media) part, got ${type} content-type`;
  for (const parameter of parameters) {
    const [name, value, ...more] = parameter.split("=");
    if (value === undefined || more.length > 0) {
      return `as per https://www.rfc-editor.org/rfc/rfc9110#parameter expected parameters to be key-values, got ${parameter} in ${type} content-type`;
    }
    if (name !== "proto") continue;
    if (value === MESSAGE_1) return 1;
    if (value === MESSAGE_2) return 2;
    return `got ${type} content type; unknown type for remote write protobuf message ${value}, supported: ${MESSAGE_1}, ${MESSAGE_2}`;
  }
  return 1;
}
