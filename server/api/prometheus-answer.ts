/**
 * What all routes of Prometheus' HTTP API share: parameters, envelope, errors, compression, CORS, methods.
 */

import { promisify } from "node:util";
import { deflate, gzip } from "node:zlib";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { ThalwegError } from "../model/errors.ts";
import { isSharedBytes, releaseSharedBytes } from "../model/shared-bytes.ts";
import type { RenderedAnswer } from "../query/doors.ts";
import { anchoredTest } from "../query/promql-texts.ts";
import { type FormValues, joinFormValues, parseFormValues, partValues, watchPairs } from "./form-values.ts";
import { ERROR_STATUS, PrometheusError, type PrometheusErrorType } from "./prometheus-parameters.ts";
import type { BodyLimits, IsEnough } from "./request-body.ts";
import { readBody } from "./request-body.ts";

/** Largest form of a POST. */
const FORM_BYTES_MAX = 4 * 2 ** 20;
/** Parts of a form; Go's limit. */
const PARTS_MAX = 1_000;
const FORM_TYPE = "application/x-www-form-urlencoded";
const PARTS_TYPE = "multipart/form-data";
const METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"] as const;
const COMPRESSION_LEVEL = 1;
const compressors = { gzip: promisify(gzip), deflate: promisify(deflate) };

type Method = (typeof METHODS)[number];

/** A request as handlers see it. */
export interface PrometheusRequest {
  /** Values of the body, then those of the address. */
  readonly form: FormValues;
  /** The one part of the path that is a parameter; empty where there is none. */
  readonly name: string;
  readonly headers: FastifyRequest["headers"];
  /** Aborted when the client leaves before it has its answer. */
  readonly signal: AbortSignal;
}

/** What a handler answers. */
export type PrometheusAnswer =
  | { readonly data: unknown; readonly warnings?: readonly string[]; readonly infos?: readonly string[] }
  /** An answer rendered elsewhere. */
  | RenderedAnswer
  /** 200 with a text of another type. */
  | { readonly text: string; readonly type: string }
  /** 204. */
  | "empty";

/** Answers a request. @throws PrometheusError for what the client is told. */
type PrometheusHandler = (request: PrometheusRequest) => PrometheusAnswer | Promise<PrometheusAnswer>;

/** Adds a route under `/api/v1/`; other methods than those given are answered with 405. */
export type AddRoute = (path: string, methods: readonly Method[], handler: PrometheusHandler) => void;

/** Makes the way in which files of this room add their routes. */
export function routeAdder(app: FastifyInstance, limits: BodyLimits, cors: CorsRule): AddRoute {
  const formLimits = { ...limits, bytesMax: FORM_BYTES_MAX };
  app.options("/api/v1/*", async (request, reply) => {
    setCors(cors, request, reply);
    return reply.code(204).send();
  });
  return (path, methods, handler) => {
    const url = `/api/v1/${path}`;
    const config = { prometheus: true };
    app.route({
      method: [...methods],
      url,
      config,
      exposeHeadRoute: false,
      handler: async (request, reply) => {
        setCors(cors, request, reply);
        return answer(request, reply, formLimits, handler);
      },
    });
    const others = METHODS.filter((method) => !methods.includes(method));
    const allow = [...methods, "OPTIONS"].sort().join(", ");
    app.route({
      method: others,
      url,
      config,
      exposeHeadRoute: false,
      handler: async (_request, reply) =>
        reply.code(405).header("allow", allow).type("text/plain; charset=utf-8").send("Method Not Allowed\n"),
    });
  };
}

/** Which origins of other sites may read answers. */
export interface CorsRule {
  allows(origin: string): boolean;
}

/**
 * The rule of an anchored regular expression; an empty one allows no other site.
 *
 * @throws ThalwegError `flag_invalid` where it is no regular expression.
 */
export function corsRule(pattern: string): CorsRule {
  if (pattern === "") return { allows: () => false };
  try {
    return { allows: anchoredTest(pattern) };
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ThalwegError("flag_invalid", { flag: "--cors-origin", value: pattern, why }, error);
  }
}

/** Prometheus' headers; an origin that is not allowed gets no `Access-Control-Allow-Origin`. */
function setCors(cors: CorsRule, request: FastifyRequest, reply: FastifyReply): void {
  reply.header("vary", "Origin, Accept-Encoding");
  const { origin } = request.headers;
  if (origin === undefined || origin === "") return;
  reply.header("access-control-allow-headers", "Accept, Authorization, Content-Type, Origin");
  reply.header("access-control-allow-methods", "GET, POST, OPTIONS");
  reply.header("access-control-expose-headers", "Date");
  if (cors.allows(origin)) reply.header("access-control-allow-origin", origin);
}

async function answer(
  request: FastifyRequest,
  reply: FastifyReply,
  limits: BodyLimits,
  handler: PrometheusHandler,
): Promise<FastifyReply> {
  try {
    const form = await readForm(request, reply, limits);
    if (form === undefined) return reply;
    // Routes here have at most one parameter, called `name`.
    const { name = "" } = request.params as { name?: string };
    const result = await handler({ form, name, headers: request.headers, signal: untilLeft(reply) });
    if (result === "empty") return reply.code(204).send();
    if ("text" in result) return reply.type(result.type).send(result.text);
    if ("body" in result) return await send(request, reply, result.status, result.body);
    return await send(request, reply, 200, JSON.stringify({ status: "success", ...result }));
  } catch (error) {
    if (!(error instanceof PrometheusError)) throw error;
    const { errorType, message } = error;
    return await send(request, reply, ERROR_STATUS[errorType], errorBody(errorType, message));
  }
}

/** Aborted when the connection ends before the answer is written. */
export function untilLeft(reply: FastifyReply): AbortSignal {
  const left = new AbortController();
  const response = reply.raw;
  response.once("close", () => {
    if (!response.writableFinished) left.abort();
  });
  return left.signal;
}

/** Compresses whatever its size, as Prometheus does. */
async function send(
  request: FastifyRequest,
  reply: FastifyReply,
  status: number,
  body: string | Uint8Array,
): Promise<FastifyReply> {
  reply.code(status).type("application/json");
  const encoding = contentEncoding(request.headers["accept-encoding"]);
  const bytes = typeof body === "string" ? Buffer.from(body) : viewOf(body);
  if (encoding === undefined) {
    if (!isSharedBytes(bytes)) return reply.send(bytes);
    if (reply.raw.destroyed) releaseSharedBytes(bytes);
    else reply.raw.once("close", () => releaseSharedBytes(bytes));
    // Fastify takes bytes that threads share for an object, which it asks for the bytes to send.
    return reply.serializer(asTheyAre).send(bytes);
  }
  reply.header("content-encoding", encoding);
  const compressed = await compressors[encoding](bytes, { level: COMPRESSION_LEVEL });
  releaseSharedBytes(bytes);
  return reply.send(compressed);
}

/** Bytes of an answer are what is sent of it; Fastify's types know texts only. */
function asTheyAre(bytes: unknown): string {
  return bytes as string;
}

function viewOf(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** The first of the two that the client names; weights are not read. */
function contentEncoding(header: string | string[] | undefined): "gzip" | "deflate" | undefined {
  for (const word of String(header ?? "").split(",")) {
    const encoding = word.trim();
    if (encoding === "gzip" || encoding === "deflate") return encoding;
  }
  return undefined;
}

/** Answers in Prometheus' error shape. */
export function sendError(reply: FastifyReply, status: number, errorType: string, error: string): FastifyReply {
  return reply.code(status).type("application/json").send(errorBody(errorType, error));
}

function errorBody(errorType: PrometheusErrorType | string, error: string): string {
  return JSON.stringify({ status: "error", errorType, error });
}

/** Values of a request's address. */
export function addressValues(request: FastifyRequest): FormValues {
  const at = request.url.indexOf("?");
  return parseFormValues(at < 0 ? "" : request.url.slice(at + 1));
}

/** Values of the body and the address together; undefined where the body was refused and answered. */
async function readForm(
  request: FastifyRequest,
  reply: FastifyReply,
  limits: BodyLimits,
): Promise<FormValues | undefined> {
  const address = addressValues(request);
  if (request.method !== "POST" && request.method !== "PUT") return address;
  const contentType = request.headers["content-type"] ?? "";
  const body = await readBody(request.raw, limits, watchForm(contentType));
  if (body.kind === "refused") {
    sendError(reply, body.status, body.status === 503 ? "unavailable" : "bad_data", body.reason);
    return undefined;
  }
  const form = await formOf(contentType, body.bytes);
  body.release();
  if (form?.refusal !== undefined) throw new PrometheusError("bad_data", form.refusal);
  return form === undefined ? address : joinFormValues(form, address);
}

/** Of a form that is refused for how much it holds no more is read than shows it. */
function watchForm(contentType: string): IsEnough | undefined {
  const type = mediaType(contentType);
  if (type === FORM_TYPE) return watchPairs();
  return type === PARTS_TYPE ? watchParts() : undefined;
}

function mediaType(contentType: string): string {
  return contentType.split(";", 1)[0]?.trim().toLowerCase() ?? "";
}

/** True once there are more parts than are read. Each starts with a line of its own that begins so. */
function watchParts(): IsEnough {
  let count = 0;
  return (chunk) => {
    for (let at = chunk.indexOf("\r\n--"); at >= 0 && count <= PARTS_MAX; at = chunk.indexOf("\r\n--", at + 4)) count++;
    return count > PARTS_MAX;
  };
}

async function formOf(contentType: string, bytes: Buffer): Promise<FormValues | undefined> {
  const type = mediaType(contentType);
  if (type === FORM_TYPE) return parseFormValues(bytes.toString("utf8"));
  if (type !== PARTS_TYPE || watchParts()(bytes)) return undefined;
  try {
    const form = await new Response(new Uint8Array(bytes), { headers: { "content-type": contentType } }).formData();
    return partValues([...form].filter((pair): pair is [string, string] => typeof pair[1] === "string"));
  } catch {
    // What is no form brings no values; what the request lacks is then told by name.
    return undefined;
  }
}
