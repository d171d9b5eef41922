/**
 * OTLP over HTTP: `/v1/traces`, `/v1/logs`, `/v1/metrics`, and an honest refusal of profiles.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#otlphttp
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { OtlpEncoding, OtlpSignal } from "../ingest/decode-request.ts";
import {
  encodeExportResponse,
  encodeExportResponseJson,
  encodeRpcStatus,
  encodeRpcStatusJson,
  GRPC_INVALID_ARGUMENT,
  GRPC_RESOURCE_EXHAUSTED,
  GRPC_UNAVAILABLE,
  GRPC_UNIMPLEMENTED,
} from "../wire/otlp-responses.ts";
import type { ApiDeps } from "./api-deps.ts";
import { exportRequest, RETRY_AFTER_SECONDS } from "./otlp-export.ts";
import type { BodyLimits, BodyOutcome } from "./request-body.ts";
import { readBody } from "./request-body.ts";

const SIGNAL_PATHS: readonly (readonly [path: string, signal: OtlpSignal])[] = [
  ["/v1/traces", "traces"],
  ["/v1/logs", "logs"],
  ["/v1/metrics", "metrics"],
  // Where Prometheus takes them.
  ["/api/v1/otlp/v1/metrics", "metrics"],
];
const PROFILES_PATH = "/v1development/profiles";
const OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"];
const CONTENT_TYPES: Readonly<Record<OtlpEncoding, string>> = {
  protobuf: "application/x-protobuf",
  json: "application/json",
};

/** Adds the OTLP routes to `app`, whose content-type parser must leave the body unread. */
export function addOtlpRoutes(app: FastifyInstance, deps: ApiDeps, limits: BodyLimits): void {
  for (const [path, signal] of SIGNAL_PATHS) {
    app.post(path, async (request, reply) => answerExport(deps, limits, { signal, request, reply }));
  }
  app.post(PROFILES_PATH, async (request, reply) => {
    const encoding = encodingOf(request.headers["content-type"]);
    const message = `${PROFILES_PATH} is not served here: this program takes traces, logs and metrics.`;
    return sendStatus(reply, encoding ?? "json", 404, { code: GRPC_UNIMPLEMENTED, message });
  });
  for (const path of [...SIGNAL_PATHS.map(([path]) => path), PROFILES_PATH]) {
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

async function answerExport(
  deps: ApiDeps,
  limits: BodyLimits,
  { signal, request, reply }: { signal: OtlpSignal; request: FastifyRequest; reply: FastifyReply },
): Promise<FastifyReply> {
  const encoding = encodingOf(request.headers["content-type"]);
  if (encoding === undefined) {
    const text = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
    return reply.code(415).type("text/plain").send(text);
  }
  const body = await readBody(request.raw, limits);
  if (body.kind === "refused") return refuseBody(reply, encoding, body);
  const exported = exportRequest(deps, { signal, body: body.bytes, encoding, transport: "http" });
  const outcome = await exported.finally(body.release);
  if (outcome.kind === "failed") {
    const { grpcCode: code, message, retryAfterSeconds } = outcome;
    const status = code === GRPC_INVALID_ARGUMENT ? 400 : 503;
    return sendStatus(reply, encoding, status, { code, message, retryAfterSeconds });
  }
  reply.code(200).type(CONTENT_TYPES[encoding]);
  return reply.send(
    encoding === "json"
      ? plainJson(encodeExportResponseJson(signal, outcome.partial))
      : Buffer.from(encodeExportResponse(outcome.partial)),
  );
}

/** Encoding that a Content-Type names; undefined where it is none of OTLP's. */
function encodingOf(contentType: string | undefined): OtlpEncoding | undefined {
  const [type = ""] = (contentType ?? "").split(";", 1);
  const name = type.trim().toLowerCase();
  if (name === CONTENT_TYPES.protobuf) return "protobuf";
  return name === CONTENT_TYPES.json ? "json" : undefined;
}

function refuseBody(
  reply: FastifyReply,
  encoding: OtlpEncoding,
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
  encoding: OtlpEncoding,
  httpStatus: number,
  status: StatusToSend,
): FastifyReply {
  if (status.retryAfterSeconds !== undefined) reply.header("retry-after", String(status.retryAfterSeconds));
  reply.code(httpStatus).type(CONTENT_TYPES[encoding]);
  return reply.send(
    encoding === "json"
      ? plainJson(encodeRpcStatusJson(status.code, status.message))
      : Buffer.from(encodeRpcStatus(status.code, status.message)),
  );
}

/** As bytes: to a text Fastify would add a charset, which OTLP's type of JSON has not. */
function plainJson(text: string): Buffer {
  return Buffer.from(text, "utf8");
}
