/**
 * Keeps web pages of other sites away from a server that asks nobody for a password.
 *
 * A page may send requests to a loopback address, or make its own name resolve to one (DNS rebinding). Its requests carry
 * that name in `Host`, or its own in `Origin`; browsers let no page change either.
 */

import type { IncomingMessage } from "node:http";
import { isIP } from "node:net";

/** What a listener accepts as its own name. */
export interface HostRule {
  /** Address the listener is bound to. */
  readonly bound: string;
  readonly allowed: readonly string[];
}

/** Why a request is refused, in words for the person who sent it; undefined where it is not. */
export type Refusal = string | undefined;

/** Checks the head of a request. */
export type RequestGuard = (request: Pick<IncomingMessage, "method" | "headers">) => Refusal;

/** Checks a `Host` header. An absent one passes: browsers always send it. */
export function refuseHost(host: string | undefined, rule: HostRule): Refusal {
  if (host === undefined || host === "") return undefined;
  const name = hostName(host);
  if (name === undefined) return `Host ${JSON.stringify(host.slice(0, 100))} is not a host with an optional port.`;
  if (isLoopbackName(name) || name === rule.bound || rule.allowed.includes(name)) return undefined;
  // A name can be made to point here by anyone, an address cannot.
  if (!isLoopbackName(rule.bound) && isIP(name) !== 0) return undefined;
  return `Host ${JSON.stringify(name.slice(0, 100))} is not a name of this server. Use its address, such as http://127.0.0.1:8425/.`;
}

/**
 * Checks that a request which changes or costs something was not sent by a page of another site, save those that `cors`
 * allows. OPTIONS passes: it changes nothing and tells a browser what it may ask.
 */
export function refuseOrigin(
  method: string,
  headers: Readonly<Record<string, string | string[] | undefined>>,
  cors: { allows(origin: string): boolean },
): Refusal {
  const { origin, host } = headers;
  if (method === "OPTIONS" || (typeof origin === "string" && cors.allows(origin))) return undefined;
  if (headers["sec-fetch-site"] === "cross-site" && headers["sec-fetch-mode"] !== "navigate") {
    return "The request was made by a page of another site.";
  }
  if (method === "GET" || method === "HEAD" || origin === undefined) return undefined;
  if (typeof origin === "string" && URL.canParse(origin) && new URL(origin).host === hostWithoutDefaultPort(host)) {
    return undefined;
  }
  return "Origin and Host differ: the request was made by a page of another site.";
}

/** True for names and addresses that only this machine reaches. */
export function isLoopbackName(name: string): boolean {
  if (name === "localhost" || name === "::1" || name.endsWith(".localhost")) return true;
  return isIP(name) === 4 && name.startsWith("127.");
}

/** Host of `host:port`, lower-case, without brackets; undefined where it is none. */
function hostName(host: string): string | undefined {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::\d{1,5})?$/.exec(host);
  return (match?.[1] ?? match?.[2])?.toLowerCase().replace(/\.$/, "");
}

function hostWithoutDefaultPort(host: string | string[] | undefined): string | undefined {
  return typeof host === "string" && URL.canParse(`http://${host}`) ? new URL(`http://${host}`).host : undefined;
}
