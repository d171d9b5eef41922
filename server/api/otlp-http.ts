/**
 * OTLP over HTTP: `/v1/traces`, and honest refusals for the signals that are not taken.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#otlphttp
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import {
  encodeExportTraceResponse,
  encodeExportTraceResponseJson,
  encodeRpcStatus,
  encodeRpcStatusJson,
  GRPC_INVALID_ARGUMENT,
  GRPC_RESOURCE_EXHAUSTED,
  GRPC_UNAVAILABLE,
  GRPC_UNIMPLEMENTED,
} from "../wire/otlp-responses.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { TraceEncoding } from "./otlp-export.ts";
import { exportTraces, RETRY_AFTER_SECONDS } from "./otlp-export.ts";
import type { BodyLimits, BodyOutcome } from "./request-body.ts";
import { readBody } from "./request-body.ts";

const TRACES_PATH = "/v1/traces";
const OTHER_SIGNALS = ["/v1/logs", "/v1/metrics", "/v1development/profiles"];
const OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"];
const CONTENT_TYPES: Readonly<Record<TraceEncoding, string>> = {
  protobuf: "application/x-protobuf",
  json: "application/json",
};

/** Adds the OTLP routes to `app`, whose content-type parser must leave the body unread. */
export function addOtlpRoutes(app: FastifyInstance, deps: ApiDeps, limits: BodyLimits): void {
  app.post(TRACES_PATH, async (request, reply) => answerTraces(deps, limits, request, reply));
  for (const path of OTHER_SIGNALS) {
    app.post(path, async (request, reply) => {
      const encoding = encodingOf(request.headers["content-type"]);
      const message = `${path} is not served here: this program takes traces at ${TRACES_PATH}.`;
      return sendStatus(reply, encoding ?? "json", 404, { code: GRPC_UNIMPLEMENTED, message });
    });
  }
  for (const path of [TRACES_PATH, ...OTHER_SIGNALS]) {
    app.route({
      method: OTHER_METHODS,
      url: path,
      handler: async (_request, reply) => {
        return reply
          .code(405)
          .header("allow", "POST")
          .type("text/plain")
          .send("405 method not allowed, supported: [POST]");
      },
    });
  }
}

async function answerTraces(
  deps: ApiDeps,
  limits: BodyLimits,
  request: FastifyRequest,
  reply: FastifyReply,
): Promise<FastifyReply> {
  const encoding = encodingOf(request.headers["content-type"]);
  if (encoding === undefined) {
    const text = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
    return reply.code(415).type("text/plain").send(text);
  }
  const body = await readBody(request.raw, limits);
  if (body.kind === "refused") return refuseBody(reply, encoding, body);
  const outcome = await exportTraces(deps, body.bytes, encoding, "http").finally(body.release);
  if (outcome.kind === "failed") {
    const { grpcCode: code, message, retryAfterSeconds } = outcome;
    return sendStatus(reply, encoding, code === GRPC_INVALID_ARGUMENT ? 400 : 503, {
      code,
      message,
      retryAfterSeconds,
    });
  }
  reply.code(200).type(CONTENT_TYPES[encoding]);
  if (encoding === "json") return reply.send(encodeExportTraceResponseJson(outcome.partial));
  return reply.send(Buffer.from(encodeExportTraceResponse(outcome.partial)));
}

/** Encoding that a Content-Type names; undefined where it is none of OTLP's. */
function encodingOf(contentType: string | undefined): TraceEncoding | undefined {
  const [type = ""] = (contentType ?? "").split(";", 1);
  const name = type.trim().toLowerCase();
  if (name === CONTENT_TYPES.protobuf) return "protobuf";
  return name === CONTENT_TYPES.json ? "json" : undefined;
}

function refuseBody(
  reply: FastifyReply,
  encoding: TraceEncoding,
  { status, reason: message }: Extract<BodyOutcome, { kind: "refused" }>,
): FastifyReply {
  if (status === 503) {
    return sendStatus(reply, encoding, 503, {
      code: GRPC_UNAVAILABLE,
      message,
      retryAfterSeconds: RETRY_AFTER_SECONDS,
    });
  }
  const code = status === 413 ? GRPC_RESOURCE_EXHAUSTED : GRPC_INVALID_ARGUMENT;
  return sendStatus(reply, encoding, status, { code, message });
}

interface StatusToSend {
  readonly code: number;
  readonly message: string;
  readonly retryAfterSeconds?: number | undefined;
}

function sendStatus(
  reply: FastifyReply,
  encoding: TraceEncoding,
  httpStatus: number,
  status: StatusToSend,
): FastifyReply {
  if (status.retryAfterSeconds !== undefined) reply.header("retry-after", String(status.retryAfterSeconds));
  reply.code(httpStatus).type(CONTENT_TYPES[encoding]);
  if (encoding === "json") return reply.send(encodeRpcStatusJson(status.code, status.message));
  return reply.send(Buffer.from(encodeRpcStatus(status.code, status.message)));
}
