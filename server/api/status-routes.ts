/**
 * What the program says of itself and of the moment: graph, capture, newest requests, health, metrics.
 */

import type { FastifyInstance, FastifyReply, FastifyRequest } from "fastify";
import type { ApiDeps } from "./api-deps.ts";
import type { LiveFeed } from "./live-feed.ts";
import { LIVE_CLIENTS_MAX, RING_ROWS_MAX } from "./live-feed.ts";
import { sendOwnError } from "./own-errors.ts";
import { parseSecondsOrDurationMs, parseTimeMs } from "./prometheus-parameters.ts";
import { searchParameters } from "./search-parameters.ts";

const GRAPH_WINDOW_MS = 15 * 60_000;
const REQUESTS_AT_FIRST = 100;

/** Adds graph, capture, live requests, health and `/metrics`. */
export function addStatusRoutes(app: FastifyInstance, deps: ApiDeps, feed: LiveFeed): void {
  app.get("/api/v1/graph", async (request, reply) => answerGraph(deps, request, reply));
  app.get("/api/v1/capture", async () => deps.captureStatus());
  app.get("/api/v1/requests", async (request, reply) => {
    const text = searchParameters(request).get("limit") ?? String(REQUESTS_AT_FIRST);
    if (/^\d{1,9}$/.test(text)) return { requests: feed.newest(Math.min(Number(text), RING_ROWS_MAX)) };
    return badRequest(reply, `"limit" must be a count of at most ${RING_ROWS_MAX}.`);
  });
  app.get("/api/v1/live", async (_request, reply) => openLive(feed, reply));
  app.get("/metrics", async (_request, reply) => {
    return reply.type("text/plain; version=0.0.4; charset=utf-8").send(deps.metricsText());
  });
  app.get("/livez", async () => ({ alive: true }));
  app.get("/readyz", async (_request, reply) => {
    const state = deps.ready();
    return reply.code(state.ready ? 200 : 503).send(state);
  });
  addLifecycleRoutes(app, deps);
}

/** Prometheus' probes, and its ways to reload, where that is switched on, and to quit, which is off. */
function addLifecycleRoutes(app: FastifyInstance, deps: ApiDeps): void {
  const type = "text/plain; charset=utf-8";
  app.get("/-/healthy", async (_request, reply) => reply.type(type).send("Thalweg is Healthy.\n"));
  app.get("/-/ready", async (_request, reply) => {
    const { ready, reasons } = deps.ready();
    reply.code(ready ? 200 : 503).type(type);
    return reply.send(ready ? "Thalweg is Ready.\n" : `Service Unavailable: ${reasons.join("; ")}\n`);
  });
  for (const path of ["/-/reload", "/-/quit"]) {
    app.route({
      method: ["POST", "PUT"],
      url: path,
      handler: async (_request, reply) => {
        const { reloadRules } = deps.prometheus;
        reply.type(type);
        if (path === "/-/quit" || reloadRules === undefined) {
          return reply.code(403).send("Lifecycle API is not enabled.");
        }
        const wrong = await reloadRules();
        return wrong === undefined ? reply.send("") : reply.code(500).send(`failed to reload config: ${wrong}\n`);
      },
    });
    app.get(path, async (_request, reply) => reply.code(405).type(type).send("Only POST or PUT requests allowed"));
  }
}

async function answerGraph(deps: ApiDeps, request: FastifyRequest, reply: FastifyReply): Promise<unknown> {
  const parameters = searchParameters(request);
  const windowMs = parameters.has("window")
    ? parseSecondsOrDurationMs(parameters.get("window") ?? "")
    : GRAPH_WINDOW_MS;
  if (windowMs === undefined || windowMs <= 0) return badRequest(reply, '"window" must be a duration such as 15m.');
  const toMs = parameters.has("to") ? parseTimeMs(parameters.get("to") ?? "") : deps.clock.nowMs();
  if (toMs === undefined) return badRequest(reply, '"to" must be Unix seconds or RFC 3339.');
  const fromMs = parameters.has("from") ? parseTimeMs(parameters.get("from") ?? "") : toMs - windowMs;
  if (fromMs === undefined) return badRequest(reply, '"from" must be Unix seconds or RFC 3339.');
  if (fromMs >= toMs) return badRequest(reply, '"from" must be before "to".');
  return deps.graph(fromMs, toMs);
}

function openLive(feed: LiveFeed, reply: FastifyReply): FastifyReply {
  const response = reply.raw;
  if (!feed.attach(response)) {
    const message = `${LIVE_CLIENTS_MAX} live views are open, which is the most. Close one.`;
    return sendOwnError(reply, { status: 503, code: "live_clients_max", message, hint: "" });
  }
  reply.hijack();
  for (const [name, value] of Object.entries(reply.getHeaders())) {
    if (value !== undefined) response.setHeader(name, value);
  }
  response.writeHead(200, { "content-type": "text/event-stream", "cache-control": "no-store" });
  response.write(": thalweg\n\n");
  return reply;
}

function badRequest(reply: FastifyReply, message: string): FastifyReply {
  return sendOwnError(reply, { status: 400, code: "bad_request", message, hint: "" });
}
