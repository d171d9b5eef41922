/**
 * Refuses OTLP bodies for which there is no room before anything else is done for them.
 *
 * A server that is sent five times what it takes refuses four requests of five: what these cost is taken from the one
 * that it takes. The answer is the one that the route gives, without the way there.
 */

import type { Server as HttpServer, IncomingMessage, RequestListener, ServerResponse } from "node:http";
import { encodeRpcStatus, encodeRpcStatusJson, GRPC_UNAVAILABLE } from "../wire/otlp-responses.ts";
import type { ApiDeps } from "./api-deps.ts";
import { largeBytesOf } from "./byte-budget.ts";
import { RETRY_AFTER_SECONDS } from "./otlp-export.ts";
import { CONTENT_TYPES, encodingOf, SIGNAL_PATHS } from "./otlp-http.ts";
import { endGently, passOver } from "./pass-over.ts";
import { type BodyLimits, bodyFault, isEncodingKnown } from "./request-body.ts";
import type { RequestGuard } from "./request-guard.ts";

const PATHS: ReadonlySet<string> = new Set(SIGNAL_PATHS.map(([path]) => path));
/** Those of all routes, see `api.ts`. */
const HEADERS = { "x-content-type-options": "nosniff", "referrer-policy": "same-origin" };

/** What the routes of a listener share. */
interface Shared {
  readonly deps: ApiDeps;
  readonly limits: BodyLimits;
  readonly guard: RequestGuard;
}

/** Looks at requests to `server` before its routes do. */
export function shedLoad(server: HttpServer, { deps, limits, guard }: Shared): void {
  // The listener is the one that Fastify made for this server.
  const routes = server.listeners("request") as RequestListener[];
  const message = bodyFault("no_room", limits.bytesMax, limits.budget);
  const bodies = {
    protobuf: Buffer.from(encodeRpcStatus(GRPC_UNAVAILABLE, message)),
    json: Buffer.from(encodeRpcStatusJson(GRPC_UNAVAILABLE, message), "utf8"),
  };
  const refuse = (request: IncomingMessage, response: ServerResponse): boolean => {
    const { method, url = "", headers } = request;
    if (method !== "POST" || !PATHS.has(url)) return false;
    const encoding = encodingOf(headers["content-type"]);
    // Browsers are told by the route whether their page may read the answer.
    if (encoding === undefined || headers.origin !== undefined) return false;
    // For what the route refuses anyway nobody shall give way.
    if (!isEncodingKnown(headers) || guard(request) !== undefined) return false;
    if (hasRoom(headers["content-length"], limits)) return false;
    const body = bodies[encoding];
    response.writeHead(503, {
      ...HEADERS,
      "retry-after": String(RETRY_AFTER_SECONDS),
      "content-type": CONTENT_TYPES[encoding],
      "content-length": body.length,
    });
    response.end(body);
    limits.onRefused?.("no_room");
    deps.countAnswer(url, 503);
    passOver(request);
    return true;
  };
  server.removeAllListeners("request");
  server.on("request", (request, response) => {
    endGently(request);
    if (refuse(request, response)) return;
    for (const route of routes) route.call(server, request, response);
  });
}

/** Whether the body may find room, or is refused for something else. */
function hasRoom(contentLength: string | undefined, { budget, bytesMax }: BodyLimits): boolean {
  const bytes = Number(contentLength ?? 0);
  return !(bytes <= bytesMax) || budget.hasRoom(bytes, largeBytesOf(bytes));
}
