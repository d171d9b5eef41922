/** What the services in Node have in common: with SERVICE_TLS=CERTIFICATE,KEY they speak TLS, to who calls and to what is called. */

import { readFileSync } from "node:fs";
import { Agent, createServer, get, type RequestListener, type Server } from "node:http";
import { createServer as createTlsServer, get as getByTls, Agent as TlsAgent } from "node:https";

/** Files with a certificate and its key; empty for clear text. */
const [certFile = "", keyFile = ""] = (process.env["SERVICE_TLS"] ?? "").split(",");

/** Whether the services speak TLS. */
export const isTls = certFile !== "";

/** A server that does not listen yet. */
export function createListener(answer: RequestListener): Server {
  const settings = { keepAliveTimeout: 60_000 };
  if (!isTls) return createServer(settings, answer);
  return createTlsServer({ ...settings, cert: readFileSync(certFile), key: readFileSync(keyFile) }, answer);
}

/** Connections that are kept, at most `socketsMax`. */
export function createAgent(socketsMax: number): Agent {
  const settings = { keepAlive: true, maxSockets: socketsMax };
  return isTls ? new TlsAgent(settings) : new Agent(settings);
}

/** As `get` of `node:http`. The certificate is nobody's, and is not asked for. */
export const getFrom: typeof get = isTls ? getByTls : get;
