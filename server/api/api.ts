/**
 * Starts the faces: HTTP, OTLP over HTTP and OTLP over gRPC, and stops them.
 */

import type { Socket } from "node:net";
import { constants, createGzip, gzip, gzipSync } from "node:zlib";
import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import { fastify } from "fastify";
import { ThalwegError } from "../model/errors.ts";
import type { SpanBatch } from "../model/span-batch.ts";
import type { ApiDeps, ListenAddress } from "./api-deps.ts";
import { acceptsGzip, addAssetRoutes } from "./asset-routes.ts";
import { ByteBudget } from "./byte-budget.ts";
import { addFederateRoute } from "./federate.ts";
import { addInfluxRoutes } from "./influx-write.ts";
import { LiveFeed } from "./live-feed.ts";
import { startOtlpGrpc } from "./otlp-grpc.ts";
import { addOtlpRoutes, isOtlpRoute, sendOtlpError } from "./otlp-http.ts";
import { sendOwnError } from "./own-errors.ts";
import { isLast, passOver } from "./pass-over.ts";
import { type CorsRule, corsRule, sendError } from "./prometheus-answer.ts";
import { addPrometheusRoutes } from "./prometheus-routes.ts";
import { addRemoteReadRoute, REMOTE_READ_STREAM_TYPE } from "./remote-read.ts";
import { addRemoteWriteRoute } from "./remote-write.ts";
import type { BodyLimits } from "./request-body.ts";
import { BODIES_BYTES_MAX, BODY_BYTES_MAX } from "./request-body.ts";
import { isLoopbackName, type RequestGuard, refuseHost, refuseOrigin } from "./request-guard.ts";
import { shedLoad } from "./shed-load.ts";
import { addSqlRoutes } from "./sql-routes.ts";
import { addStatusRoutes } from "./status-routes.ts";
import { addTraceRoutes } from "./trace-routes.ts";

/** Longer than what common clients and proxies keep, so that they are the ones who close. */
const KEEP_ALIVE_MS = 75_000;
/** How long what follows a broken request is let pass. */
const BROKEN_MS_MAX = 2_000;
const HEADERS_MS_MAX = 10_000;
/** How often connections are checked against the limits of time. */
const CHECK_EVERY_MS = 5_000;
/** Time that running requests get when the faces stop. */
const STOP_MS = 5_000;
/** For head and body together. */
const REQUEST_MS_MAX = 60_000;
const HEADER_BYTES_MAX = 16 * 1024;
const CONNECTIONS_MAX = 10_000;
/** Answers below this are not worth compressing. */
const COMPRESS_BYTES_MIN = 1400;
const GZIP_LEVEL = 1;
/** Answers up to this are compressed at once, in 0.1 ms: to have a thread do it takes as long again. */
const COMPRESS_AT_ONCE_BYTES_MAX = 32 * 1024;

/** The running faces. */
export interface Api {
  /** Where the listeners really are. */
  readonly addresses: {
    readonly http: ListenAddress;
    readonly otlpHttp: ListenAddress;
    readonly otlpGrpc: ListenAddress;
  };
  /** Shows the requests of a stored batch to live views. */
  publishLive(batch: SpanBatch): void;
  /** Rows that slow live views missed so far. */
  liveRowsDropped(): number;
  /** Finishes running requests, then closes all listeners. */
  close(): Promise<void>;
}

/** Starts all listeners, or none. @throws ThalwegError `address_in_use`. */
export async function startApi(deps: ApiDeps): Promise<Api> {
  const limits: BodyLimits = {
    bytesMax: BODY_BYTES_MAX,
    budget: bodiesBudget(deps.bodiesBytesMax ?? BODIES_BYTES_MAX),
    onRefused: (reason) => deps.countRefused(reason),
  };
  const feed = new LiveFeed();
  const cors = corsRule(deps.prometheus.corsOrigin);
  const httpGuard = guardOf(deps, deps.listen.http.host, true, cors);
  const http = makeApp(deps, httpGuard);
  addOtlpRoutes(http, { deps, limits, cors });
  addPrometheusRoutes(http, deps, limits, cors);
  addRemoteWriteRoute(http, deps, limits);
  addInfluxRoutes(http, deps, limits);
  addRemoteReadRoute(http, deps, limits);
  addSqlRoutes(http, deps, limits);
  addTraceRoutes(http, deps);
  addStatusRoutes(http, deps, feed);
  addFederateRoute(http, deps);
  addAssetRoutes(http, deps.assets);
  http.setNotFoundHandler(answerNotFound);
  const { host: otlpHost } = deps.listen.otlpHttp;
  const otlpGuard = guardOf(deps, otlpHost, isLoopbackName(otlpHost), cors);
  const otlpHttp = makeApp(deps, otlpGuard);
  addOtlpRoutes(otlpHttp, { deps, limits, cors });
  shedLoad(http.server, { deps, limits, guard: httpGuard });
  shedLoad(otlpHttp.server, { deps, limits, guard: otlpGuard });
  otlpHttp.setNotFoundHandler((request, reply) => sendOtlpError(request, reply, 404, notFoundText(request)));
  const close: (() => Promise<void>)[] = [];
  const stop = async () => {
    feed.close();
    await Promise.all(close.map((each) => each()));
  };
  try {
    const httpAddress = await listen(http, deps.listen.http, "--listen");
    close.push(() => stopListening(http));
    const otlpHttpAddress = await listen(otlpHttp, deps.listen.otlpHttp, "--otlp-http");
    close.push(() => stopListening(otlpHttp));
    const grpc = await startOtlpGrpc(deps, limits);
    close.push(() => grpc.close());
    return {
      addresses: { http: httpAddress, otlpHttp: otlpHttpAddress, otlpGrpc: grpc.address },
      publishLive: (batch) => feed.publish(batch),
      liveRowsDropped: () => feed.droppedTotal,
      close: stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}

/** Room for one of the largest bodies, and the rest for those that are small. */
function bodiesBudget(bytesMax: number): ByteBudget {
  const smallBytesMax = bytesMax > BODY_BYTES_MAX ? bytesMax - BODY_BYTES_MAX : bytesMax;
  return new ByteBudget(bytesMax, BODY_BYTES_MAX, smallBytesMax);
}

/** What keeps pages of other sites away from a listener. */
function guardOf(deps: ApiDeps, bound: string, checkHost: boolean, cors: CorsRule): RequestGuard {
  const rule = { bound, allowed: deps.allowedHosts };
  return ({ method = "", headers }) =>
    (checkHost ? refuseHost(headers.host, rule) : undefined) ?? refuseOrigin(method, headers, cors);
}

/** An app whose bodies stay unread, with the guards, limits and headers that all routes share. */
function makeApp(deps: ApiDeps, guard: RequestGuard): FastifyInstance {
  const app = fastify({
    logger: false,
    keepAliveTimeout: KEEP_ALIVE_MS,
    requestTimeout: REQUEST_MS_MAX,
    http: {
      headersTimeout: HEADERS_MS_MAX,
      connectionsCheckingInterval: CHECK_EVERY_MS,
      maxHeaderSize: HEADER_BYTES_MAX,
    },
    forceCloseConnections: "idle",
    // Values of an address are read by `addressValues`, where they are wanted.
    routerOptions: { maxParamLength: 1000, querystringParser: noValues },
    // Routes here have no schemas; without these two, Fastify loads its validator at every start, a fifth of it.
    schemaController: { compilersFactory: { buildValidator: noSchemas, buildSerializer: noSchemas } },
    clientErrorHandler: (error, socket) => {
      // What comes behind it is broken as well.
      if (socket.writableEnded) return;
      deps.countRefused("http");
      answerBrokenRequest(error, socket);
    },
    frameworkErrors: (error, request, reply) => {
      // Such as a label name in the path whose escaped bytes are no text.
      if (request.url.startsWith("/api/v1/label/")) sendError(reply, 400, "bad_data", "invalid label name");
      else sendOwnError(reply, { status: 400, code: "bad_request", message: error.message, hint: "" });
    },
  });
  app.server.maxConnections = CONNECTIONS_MAX;
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, payload, done) => done(null, payload));
  // Not done before a turn of promises: by then the parser has seen whether the bytes that came with the head are HTTP.
  app.addHook("onRequest", async (request, reply) => {
    reply.header("x-content-type-options", "nosniff").header("referrer-policy", "same-origin");
    const refusal = guard(request.raw);
    if (refusal === undefined) return undefined;
    passOver(request.raw);
    if (isOtlpRoute(request)) return sendOtlpError(request, reply, 403, refusal);
    return sendOwnError(reply, { status: 403, code: "request_refused", message: refusal, hint: "" });
  });
  app.addHook<unknown>("onSend", finishAnswer);
  app.addHook("onResponse", (request, reply, done) => {
    deps.countAnswer(request.routeOptions.url ?? "unknown", reply.statusCode);
    done();
  });
  app.setErrorHandler((error, request, reply) => answerError(deps, error, request, reply));
  return app;
}

const BROKEN_STATUSES: Readonly<Record<string, string>> = {
  HPE_HEADER_OVERFLOW: "431 Request Header Fields Too Large",
  HPE_CHUNK_EXTENSIONS_OVERFLOW: "413 Payload Too Large",
  ERR_HTTP_REQUEST_TIMEOUT: "408 Request Timeout",
};

/** Answers bytes that are no request. The rest is let pass for a moment: an answer is lost where its connection breaks. */
function answerBrokenRequest(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === "ECONNRESET" || socket.destroyed || !socket.writable) return void socket.destroy();
  const status = BROKEN_STATUSES[error.code ?? ""] ?? "400 Bad Request";
  const body = JSON.stringify({
    error: { code: "bad_request", message: `The request is not valid HTTP: ${status.slice(4)}.`, hint: "" },
  });
  socket.end(
    `HTTP/1.1 ${status}\r\nConnection: close\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
  );
  socket.resume();
  setTimeout(() => socket.destroy(), BROKEN_MS_MAX).unref();
}

const NO_VALUES = Object.freeze({});

function noValues(): Record<string, unknown> {
  return NO_VALUES;
}

function noSchemas(): never {
  throw new Error("a route has a schema, and no compiler for it");
}

/** Compresses an answer, and says so where it is the connection's last. */
function finishAnswer(request: FastifyRequest, reply: FastifyReply, payload: unknown, done: SendDone): void {
  if (isLast(request.raw)) reply.header("connection", "close");
  if (!mayCompress(request, reply)) done(null, payload);
  else if (typeof payload === "string" || Buffer.isBuffer(payload)) compressBytes(reply, payload, done);
  else if (isReadable(payload)) done(null, compressStream(reply, payload));
  else done(null, payload);
}

/** Told of what is sent in place of the payload. */
type SendDone = (error: Error | null, payload?: unknown) => void;

function mayCompress(request: FastifyRequest, reply: FastifyReply): boolean {
  if (reply.hasHeader("content-encoding") || request.method === "HEAD") return false;
  // Chunks are compressed by themselves.
  if (reply.getHeader("content-type") === REMOTE_READ_STREAM_TYPE) return false;
  return acceptsGzip(request.headers["accept-encoding"]);
}

function compressBytes(reply: FastifyReply, bytes: string | Buffer, done: SendDone): void {
  if (bytes.length < COMPRESS_BYTES_MIN) {
    done(null, bytes);
    return;
  }
  sayCompressed(reply);
  if (bytes.length <= COMPRESS_AT_ONCE_BYTES_MAX) done(null, gzipSync(bytes, { level: GZIP_LEVEL }));
  else gzip(bytes, { level: GZIP_LEVEL }, done);
}

function compressStream(reply: FastifyReply, stream: NodeJS.ReadableStream): NodeJS.ReadableStream {
  sayCompressed(reply);
  const compressor = createGzip({ level: GZIP_LEVEL, flush: constants.Z_NO_FLUSH });
  stream.once("error", (error) => compressor.destroy(error));
  return stream.pipe(compressor);
}

function sayCompressed(reply: FastifyReply): void {
  reply.header("content-encoding", "gzip").header("vary", "accept-encoding").removeHeader("content-length");
}

function isReadable(payload: unknown): payload is NodeJS.ReadableStream {
  return typeof payload === "object" && payload !== null && "pipe" in payload;
}

/** Troubles of the catalogue in their own words; anything else is a bug, logged and told without its details. */
function answerError(deps: ApiDeps, error: unknown, request: FastifyRequest, reply: FastifyReply): FastifyReply {
  const known = error instanceof ThalwegError ? error : undefined;
  if (known === undefined) deps.log.error({ err: error, route: request.routeOptions.url }, "request failed");
  const status = known?.httpStatus ?? clientErrorStatus(error) ?? 500;
  const code = known?.code ?? (status < 500 ? "bad_request" : "internal");
  const message =
    known?.message ??
    (status < 500 ? "The request is not valid HTTP for this route." : "Something went wrong; the log says what.");
  if (isPrometheusRoute(request)) return sendError(reply, status, status < 500 ? "bad_data" : "internal", message);
  if (isOtlpRoute(request)) return sendOtlpError(request, reply, status, message);
  return sendOwnError(reply, { status, code, message, hint: "" });
}

/** Status that Fastify gives a request it cannot read. */
function clientErrorStatus(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("statusCode" in error)) return undefined;
  const { statusCode } = error;
  return typeof statusCode === "number" && statusCode >= 400 && statusCode < 500 ? statusCode : undefined;
}

function isPrometheusRoute(request: FastifyRequest): boolean {
  return "prometheus" in request.routeOptions.config;
}

function answerNotFound(request: FastifyRequest, reply: FastifyReply): FastifyReply {
  return sendOwnError(reply, { status: 404, code: "not_found", message: notFoundText(request), hint: "" });
}

function notFoundText(request: FastifyRequest): string {
  const path = request.url.split("?", 1)[0] ?? "";
  return `There is no ${request.method} ${path.slice(0, 200)} here.`;
}

async function listen(app: FastifyInstance, { host, port }: ListenAddress, flag: string): Promise<ListenAddress> {
  try {
    await app.listen({ host, port });
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error.code !== "EADDRINUSE") throw error;
    throw new ThalwegError("address_in_use", { address: `${host}:${port}`, holder: "", flag }, error);
  }
  const address = app.server.address();
  if (address === null || typeof address === "string") throw new Error("a TCP listener has no port");
  return { host, port: address.port };
}

/** Waits for running requests, but not for ever. */
async function stopListening(app: FastifyInstance): Promise<void> {
  const impatient = setTimeout(() => app.server.closeAllConnections(), STOP_MS);
  await app.close();
  clearTimeout(impatient);
}
