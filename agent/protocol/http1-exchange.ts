/**
 * Exchanges out of the heads of HTTP/1 messages: names, attributes, status.
 *
 * @see OpenTelemetry semantic conventions for HTTP spans
 */

import type { Exchange, ExchangeStatus, MessageMark } from "./exchange.ts";
import { type AskedFacts, type Head, KNOWN_METHODS } from "./http1-head.ts";
import type { ParserContext } from "./protocol.ts";
import { looksSecret, REDACTED } from "./secrets.ts";
import { parseAuthority, parseTarget, type Target } from "./target.ts";
import { parseTraceparent } from "./trace-context.ts";

/** Longest `user_agent.original`, in UTF-16 code units; the rest is cut off. */
const USER_AGENT_CHARS_MAX = 200;

/** Values of headers whose reading is remembered; all are forgotten when there are more. */
const REMEMBERED_MAX = 512;
const AUTHORITIES = new Map<string, { host: string; port: number }>();
const USER_AGENTS = new Map<string, string>();

type Attributes = Record<string, string | number | boolean>;

/** The exchange that a request begins. */
export function exchangeOfRequest(head: Head, mark: MessageMark, isCut: boolean, context: ParserContext): Exchange {
  const facts = factsOf(head, isCut, context);
  const { target } = facts;
  const template = target.form === "authority" || target.path === "" ? "" : context.templates.templateOf(target.path);
  if (template !== facts.template) {
    const method = KNOWN_METHODS.has(head.method) ? head.method : "HTTP";
    facts.template = template;
    facts.endpoint = template === "" ? method : `${method} ${template}`;
  }
  return {
    protocol: "http1",
    type: "request",
    op: head.method,
    resource: facts.resource,
    endpoint: facts.endpoint,
    status: "unknown",
    code: "",
    id: "",
    stream: 0,
    version: head.version,
    request: mark,
    response: undefined,
    context: facts.context,
    requestId: head.requestId,
    answerId: "",
    attributes: { ...facts.attributes },
    cutShort: "",
  };
}

/** What the head comes to, which is the same each time that it is met again. */
function factsOf(head: Head, isCut: boolean, context: ParserContext): AskedFacts {
  const { redaction, isTls = false } = context;
  const known = head.facts;
  if (known !== undefined && !isCut && known.redaction === redaction && known.isTls === isTls) return known;
  const target = parseTarget(head.target, head.method === "CONNECT", redaction);
  const facts = {
    redaction,
    isTls,
    target,
    resource: resourceOf(target),
    attributes: requestAttributes(head, target, context),
    // Of a head that was cut, a second `traceparent` may be missing; the first is still the sender's own.
    context: head.traceparents === 1 ? parseTraceparent(head.traceparent, isCut ? "" : head.traceState) : undefined,
    // No template that is found equals it.
    template: "\n",
    endpoint: "",
  };
  if (!isCut) head.facts = facts;
  return facts;
}

/** The exchange of a response whose request was not seen. */
export function exchangeOfResponse(head: Head, mark: MessageMark): Exchange {
  return {
    protocol: "http1",
    type: "response",
    op: "",
    resource: "",
    endpoint: "HTTP",
    status: statusOf(head.status),
    code: String(head.status),
    id: "",
    stream: 0,
    version: head.version,
    request: undefined,
    response: mark,
    context: undefined,
    attributes: responseAttributes({ "url.scheme": "http", "network.protocol.version": head.version }, head.status),
    cutShort: "",
  };
}

/** Enters the head of the final response. */
export function answerExchange(exchange: Exchange, head: Head, mark: MessageMark): void {
  exchange.type = "exchange";
  exchange.status = statusOf(head.status);
  exchange.code = String(head.status);
  exchange.response = mark;
  exchange.answerId = head.requestId;
  responseAttributes(attributesOf(exchange), head.status);
}

/** Enters the size of a body that was seen to its end, or as far as it went. */
export function enterBodySize(exchange: Exchange, direction: 0 | 1, bytes: number): void {
  // A key that is computed would be looked up anew in each exchange.
  if (direction === 0) attributesOf(exchange)["http.request.body.size"] = bytes;
  else attributesOf(exchange)["http.response.body.size"] = bytes;
}

/** Enters why an exchange ended before its end. Of an answered one, the status stands. */
export function enterCutShort(exchange: Exchange, reason: string): void {
  exchange.cutShort = reason;
  if (reason === "timeout" && exchange.type === "request") exchange.status = "timeout";
  const isFault = reason !== "gap" && reason !== "";
  const attributes = attributesOf(exchange);
  if (isFault && attributes["error.type"] === undefined) attributes["error.type"] = reason;
}

/** Exchanges made here hold an object of this module's own making, which grows until the exchange is finished. */
function attributesOf(exchange: Exchange): Attributes {
  return exchange.attributes as Attributes;
}

/** Codes outside 100 to 599 count as 5xx, as RFC 9110 section 15 has it. */
function statusOf(code: number): ExchangeStatus {
  if (code < 400) return "ok";
  return code < 500 ? "client_error" : "server_error";
}

function responseAttributes(attributes: Attributes, code: number): Attributes {
  attributes["http.response.status_code"] = code;
  // A 4xx is an error to the client only, so whoever makes the client's span enters it.
  if (code >= 500) attributes["error.type"] = String(code);
  return attributes;
}

function requestAttributes(head: Head, target: Target, { redaction, isTls = false }: ParserContext): Attributes {
  const isKnown = KNOWN_METHODS.has(head.method);
  const attributes: Attributes = { "http.request.method": isKnown ? head.method : "_OTHER" };
  if (!isKnown) attributes["http.request.method_original"] = head.method;
  if (target.path !== "" && target.form !== "authority") attributes["url.path"] = target.path;
  if (target.query !== "") attributes["url.query"] = target.query;
  attributes["url.scheme"] = target.scheme === "" ? (isTls ? "https" : "http") : target.scheme;
  const { host, port } = target.host === "" ? authorityOf(head.host) : target;
  if (host !== "") attributes["server.address"] = host;
  if (port !== 0) attributes["server.port"] = port;
  if (head.version !== "") attributes["network.protocol.version"] = head.version;
  if (head.userAgent !== "") attributes["user_agent.original"] = userAgentOf(head.userAgent, redaction);
  return attributes;
}

function resourceOf(target: Target): string {
  return target.query === "" ? target.path : `${target.path}?${target.query}`;
}

/** `parseAuthority` of a header that is nearly always one of a few. */
function authorityOf(text: string): { host: string; port: number } {
  let authority = AUTHORITIES.get(text);
  if (authority === undefined) {
    authority = parseAuthority(text);
    remember(AUTHORITIES, text, authority);
  }
  return authority;
}

function userAgentOf(text: string, redaction: boolean): string {
  const cut = text.slice(0, USER_AGENT_CHARS_MAX);
  if (!redaction) return cut;
  let safe = USER_AGENTS.get(cut);
  if (safe === undefined) {
    safe = redactWords(cut);
    remember(USER_AGENTS, cut, safe);
  }
  return safe;
}

function redactWords(text: string): string {
  if (!looksSecret(text)) return text;
  return text
    .split(" ")
    .map((word) => (looksSecret(word) ? REDACTED : word))
    .join(" ");
}

function remember<Value>(memory: Map<string, Value>, key: string, value: Value): void {
  if (memory.size >= REMEMBERED_MAX) memory.clear();
  memory.set(key, value);
}
