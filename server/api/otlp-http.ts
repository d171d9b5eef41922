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
  GRPC_PERMISSION_DENIED,
  GRPC_RESOURCE_EXHAUSTED,
  GRPC_UNAVAILABLE,
  GRPC_UNIMPLEMENTED,
  GRPC_UNKNOWN,
} from "../wire/otlp-responses.ts";
import type { ApiDeps } from "./api-deps.ts";
import { exportRequest, RETRY_AFTER_SECONDS } from "./otlp-export.ts";
import type { CorsRule } from "./prometheus-answer.ts";
import type { BodyLimits, BodyOutcome } from "./request-body.ts";
import { readBody } from "./request-body.ts";

/** Where OTLP is taken over HTTP. */
export const SIGNAL_PATHS: readonly (readonly [path: string, signal: OtlpSignal])[] = [
  ["/v1/traces", "traces"],
  ["/v1/logs", "logs"],
  ["/v1/metrics", "metrics"],
  // Where Prometheus takes them.
  ["/api/v1/otlp/v1/metrics", "metrics"],
];
const PROFILES_PATH = "/v1development/profiles";
const OTHER_METHODS = ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"];
/** How long a browser may remember that it may send: two hours, the longest that all of them take. */
const PREFLIGHT_SECONDS = 7_200;
/** Status codes of answers that are given before a body is looked at. */
const CODES: Readonly<Record<number, number>> = {
  400: GRPC_INVALID_ARGUMENT,
  403: GRPC_PERMISSION_DENIED,
  404: GRPC_UNIMPLEMENTED,
};
/** Media types of requests and their answers. */
export const CONTENT_TYPES: Readonly<Record<OtlpEncoding, string>> = {
  protobuf: "application/x-protobuf",
  json: "application/json",
};

/** What the routes of a listener share. */
interface OtlpFace {
  readonly deps: ApiDeps;
  readonly limits: BodyLimits;
  readonly cors: CorsRule;
}

/** Adds the OTLP routes to `app`, whose content-type parser must leave the body unread. */
export function addOtlpRoutes(app: FastifyInstance, face: OtlpFace): void {
  const config = { otlp: true };
  for (const [path, signal] of SIGNAL_PATHS) {
    app.post(path, { config }, async (request, reply) => {
      setCors(face.cors, request, reply);
      return answerExport(face, { signal, request, reply });
    });
  }
  app.post(PROFILES_PATH, { config }, async (request, reply) => {
    setCors(face.cors, request, reply);
    return sendOtlpError(request, reply, 404, `${PROFILES_PATH} is not served here: send traces, logs and metrics.`);
  });
  for (const url of [...SIGNAL_PATHS.map(([path]) => path), PROFILES_PATH]) {
    app.route({
      method: OTHER_METHODS,
      url,
      config,
      handler: async (request, reply) => {
        if (request.method === "OPTIONS" && setPreflight(face.cors, request, reply)) return reply.code(204).send();
        return reply
          .code(405)
          .header("allow", "POST")
          .type("text/plain")
          .send("405 method not allowed, supported: [POST]");
      },
    });
  }
}

/** Whether a request came to a route of OTLP, whose errors have a shape of their own. */
export function isOtlpRoute(request: FastifyRequest): boolean {
  return "otlp" in request.routeOptions.config;
}

/** Refuses a request as a Status in its encoding, in JSON where it has none. */
export function sendOtlpError(
  request: FastifyRequest,
  reply: FastifyReply,
  httpStatus: number,
  message: string,
): FastifyReply {
  if (httpStatus === 415) return refuseType(reply);
  const encoding = encodingOf(request.headers["content-type"]) ?? "json";
  return sendStatus(reply, encoding, httpStatus, { code: CODES[httpStatus] ?? GRPC_UNKNOWN, message });
}

/** Lets a page of an allowed origin read the answer, with the credentials it sent. */
function setCors(cors: CorsRule, request: FastifyRequest, reply: FastifyReply): boolean {
  const { origin } = request.headers;
  if (origin === undefined || origin === "" || !cors.allows(origin)) return false;
  reply.header("access-control-allow-origin", origin).header("access-control-allow-credentials", "true");
  reply.header("access-control-expose-headers", "Retry-After").header("vary", "Origin");
  return true;
}

/** Answers a browser that asks whether a page of another origin may send; false where that is no such question. */
function setPreflight(cors: CorsRule, request: FastifyRequest, reply: FastifyReply): boolean {
  const asked = request.headers["access-control-request-headers"];
  if (request.headers["access-control-request-method"] !== "POST" || !setCors(cors, request, reply)) return false;
  // Exporters add headers of their own, such as tokens for a proxy before us; what is not known here is not read.
  if (asked !== undefined) reply.header("access-control-allow-headers", asked);
  reply.header("access-control-allow-methods", "POST").header("access-control-max-age", String(PREFLIGHT_SECONDS));
  reply.header("vary", "Origin, Access-Control-Request-Method, Access-Control-Request-Headers");
  return true;
}

async function answerExport(
  { deps, limits }: OtlpFace,
  { signal, request, reply }: { signal: OtlpSignal; request: FastifyRequest; reply: FastifyReply },
): Promise<FastifyReply> {
  const encoding = encodingOf(request.headers["content-type"]);
  if (encoding === undefined) {
    return refuseType(reply);
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

/** Plain text as from the Collector, since there is no encoding of the request; a Status for those who look for one. */
function refuseType(reply: FastifyReply): FastifyReply {
  const message = "415 unsupported media type, supported: [application/json, application/x-protobuf]";
  return reply.code(415).type("text/plain").send(encodeRpcStatusJson(GRPC_INVALID_ARGUMENT, message));
}

/** Encoding that a Content-Type names; undefined where it is none of OTLP's. */
export function encodingOf(contentType: string | undefined): OtlpEncoding | undefined {
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
