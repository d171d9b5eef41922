/**
 * The HTTP face of an agent that sends its spans elsewhere: health, metrics, what it captures.
 */

import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { ThalwegError } from "../model/errors.ts";
import { refuseHost } from "./request-guard.ts";

/** Connections at one time; a probe or a scrape needs one. */
const CONNECTIONS_MAX = 64;
const REQUEST_MS_MAX = 5_000;

/** What the face tells. */
export interface AgentFaceDeps {
  readonly listen: { readonly host: string; readonly port: number };
  readonly ready: () => { readonly ready: boolean; readonly reasons: readonly string[] };
  readonly metricsText: () => string;
  readonly captureStatus: () => object;
}

/** A listening face. */
export interface AgentFace {
  readonly address: { readonly host: string; readonly port: number };
  close(): Promise<void>;
}

/** @throws ThalwegError `address_in_use` where the address is taken. */
export async function openAgentFace(deps: AgentFaceDeps): Promise<AgentFace> {
  const { host, port } = deps.listen;
  const server = createServer({ requestTimeout: REQUEST_MS_MAX }, (request, response) =>
    answer(deps, request, response),
  );
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, reject) => {
    server.once("error", (error: NodeJS.ErrnoException) => {
      const isTaken = error.code === "EADDRINUSE";
      reject(
        isTaken
          ? new ThalwegError("address_in_use", { address: `${host}:${port}`, holder: "", flag: "--listen" })
          : error,
      );
    });
    server.listen({ host, port }, resolve);
  });
  // A server that listens on TCP has such an address.
  const bound = server.address() as AddressInfo;
  return {
    address: { host, port: bound.port },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

function answer(deps: AgentFaceDeps, request: IncomingMessage, response: ServerResponse): void {
  const refusal = refuseHost(request.headers.host, { bound: deps.listen.host, allowed: [] });
  if (refusal !== undefined) {
    sendJson(response, 403, { error: { code: "host_refused", message: refusal, hint: "" } });
    return;
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    sendJson(response, 405, { error: { code: "method_not_allowed", message: "Only GET is answered here.", hint: "" } });
    return;
  }
  switch (request.url?.split("?")[0]) {
    case "/livez":
      sendJson(response, 200, { alive: true });
      return;
    case "/readyz": {
      const state = deps.ready();
      sendJson(response, state.ready ? 200 : 503, state);
      return;
    }
    case "/metrics":
      response.setHeader("content-type", "text/plain; version=0.0.4; charset=utf-8");
      response.end(deps.metricsText());
      return;
    case "/api/v1/capture":
      sendJson(response, 200, deps.captureStatus());
      return;
    default: {
      const hint =
        "/livez, /readyz, /metrics and /api/v1/capture are. The page is at the server that this agent sends to.";
      sendJson(response, 404, { error: { code: "not_found", message: "There is no such route here.", hint } });
    }
  }
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { "content-type": "application/json; charset=utf-8" });
  response.end(JSON.stringify(body));
}
