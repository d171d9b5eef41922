/**
 * Exchanges out of the header fields of HTTP/2 messages, gRPC among them.
 *
 * Names, redaction and status are those of HTTP/1; gRPC has its own names and codes.
 *
 * @see OpenTelemetry semantic conventions for HTTP and for gRPC spans
 */

import { askedName } from "./dns-over-http.ts";
import type { Exchange, MessageMark } from "./exchange.ts";
import { answerExchange, exchangeOfRequest, exchangeOfResponse } from "./http1-exchange.ts";
import type { Head } from "./http1-head.ts";
import type { ParserContext } from "./protocol.ts";
import { TRACE_STATE_CHARS_MAX } from "./trace-context.ts";

/** Fields that are read; all others are passed over without being kept. */
const FIELDS_READ: ReadonlySet<string> = new Set([
  ":method",
  ":path",
  ":scheme",
  ":authority",
  ":protocol",
  ":status",
  "host",
  "user-agent",
  "content-type",
  "traceparent",
  "tracestate",
  "grpc-status",
]);

/** gRPC codes that are the server's fault: UNKNOWN, DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE, DATA_LOSS. */
const GRPC_SERVER_FAULTS: ReadonlySet<number> = new Set([2, 4, 12, 13, 14, 15]);
const GRPC_CODE_MAX = 16;
const GRPC_UNKNOWN = 2;
const GRPC_TYPE_CHARS = "application/grpc".length;
/** What a gRPC span does not have of an HTTP span. */
const HTTP_ONLY: readonly string[] = ["http.request.method", "url.path", "url.query", "url.scheme"];
/** Error codes of RST_STREAM. */
const REFUSED_STREAM = 7;
const CANCEL = 8;

type Attributes = Record<string, string | number | boolean>;

/** Header fields of a message, as far as they are read and were seen. Empty text and 0 stand for absent ones. */
export interface Fields {
  method: string;
  path: string;
  scheme: string;
  authority: string;
  /** Of extended CONNECT, such as `websocket`. */
  protocol: string;
  status: number;
  host: string;
  userAgent: string;
  contentType: string;
  traceparent: string;
  traceparents: number;
  traceState: string;
  /** @see Head */
  requestId: string;
  requestIds: number;
  /** -1 where none was seen. */
  grpcStatus: number;
  /** Some fields could not be read. */
  isPartial: boolean;
}

/** Which fields `enterField` takes. */
export function isFieldRead(name: string): boolean {
  return FIELDS_READ.has(name);
}

/** Fields of a message none of whose was read yet. */
export function emptyFields(): Fields {
  return {
    method: "",
    path: "",
    scheme: "",
    authority: "",
    protocol: "",
    status: 0,
    host: "",
    userAgent: "",
    contentType: "",
    traceparent: "",
    traceparents: 0,
    traceState: "",
    requestId: "",
    requestIds: 0,
    grpcStatus: -1,
    isPartial: false,
  };
}

/** Enters one field. One of unknown name or value makes the fields partial. */
export function enterField(fields: Fields, name: string | undefined, value: string | undefined): void {
  if (name === undefined || value === undefined) {
    fields.isPartial = true;
    return;
  }
  switch (name) {
    case ":method":
      fields.method = value;
      break;
    case ":path":
      fields.path = value;
      break;
    case ":scheme":
      fields.scheme = value;
      break;
    case ":authority":
      fields.authority = value;
      break;
    case ":protocol":
      fields.protocol = value;
      break;
    case ":status":
      fields.status = /^[1-9]\d\d$/.test(value) ? Number(value) : 0;
      break;
    case "host":
      fields.host = value;
      break;
    case "user-agent":
      fields.userAgent = value;
      break;
    case "content-type":
      fields.contentType = value.toLowerCase();
      break;
    case "traceparent":
      fields.traceparents++;
      fields.traceparent = value;
      break;
    case "tracestate":
      // One that is too long is dropped later; it need not grow any further.
      if (fields.traceState.length <= TRACE_STATE_CHARS_MAX) {
        fields.traceState = fields.traceState === "" ? value : `${fields.traceState},${value}`;
      }
      break;
    case "x-request-id":
      fields.requestId = ++fields.requestIds === 1 ? value : "";
      break;
    case "grpc-status":
      fields.grpcStatus = /^\d{1,2}$/.test(value) ? Number(value) : GRPC_UNKNOWN;
      break;
    default:
      break;
  }
}

/** The exchange that a request begins. */
export function exchangeOfHttp2Request(
  fields: Fields,
  stream: number,
  mark: MessageMark,
  context: ParserContext,
): Exchange {
  // Extended CONNECT names a path as other methods do; plain CONNECT names only an authority.
  const isTunnel = fields.method === "CONNECT" && fields.path === "";
  const method = isTunnel ? "CONNECT" : fields.method === "CONNECT" || fields.method === "" ? "GET" : fields.method;
  const head = headOf(fields, method, isTunnel ? fields.authority : fields.path);
  const exchange = onStream(exchangeOfRequest(head, mark, fields.isPartial, context), stream);
  const attributes = exchange.attributes as Attributes;
  if (fields.scheme === "http" || fields.scheme === "https") attributes["url.scheme"] = fields.scheme;
  if (method !== fields.method) renameMethod(exchange, attributes, fields.method);
  if (isGrpc(fields)) becomeGrpc(exchange);
  const name = askedName(fields.path, context.redaction);
  if (name !== "") {
    exchange.resource = name;
    attributes["dns.question.name"] = name;
  }
  return exchange;
}

/** The exchange of a response whose request was not seen. */
export function exchangeOfHttp2Response(fields: Fields, stream: number, mark: MessageMark): Exchange {
  const exchange = onStream(exchangeOfResponse(headOf(fields, "", ""), mark), stream);
  if (isGrpc(fields)) becomeGrpc(exchange);
  enterTrailers(exchange, fields);
  return exchange;
}

/** Enters the final response, and the gRPC status that may stand in it. A status of 0 was sent and could not be read. */
export function answerHttp2(exchange: Exchange, fields: Fields, mark: MessageMark): void {
  if (fields.status === 0) {
    exchange.type = "exchange";
    exchange.response = mark;
  } else answerExchange(exchange, headOf(fields, "", ""), mark);
  if (isGrpc(fields) && exchange.protocol !== "grpc") becomeGrpc(exchange);
  enterTrailers(exchange, fields);
}

/** Enters what trailers tell. */
export function enterTrailers(exchange: Exchange, fields: Fields): void {
  if (fields.grpcStatus < 0) return;
  if (exchange.protocol !== "grpc") becomeGrpc(exchange);
  enterGrpcStatus(exchange, fields.grpcStatus);
}

/** Enters the status of a gRPC call that ended by RST_STREAM or GOAWAY before it had one. */
export function enterGrpcReset(exchange: Exchange, code: number): void {
  if (exchange.protocol !== "grpc" || exchange.attributes["rpc.grpc.status_code"] !== undefined) return;
  enterGrpcStatus(exchange, code === CANCEL ? 1 : code === REFUSED_STREAM ? 14 : 13);
}

function onStream(made: Exchange, stream: number): Exchange {
  return { ...made, protocol: "http2", stream, id: String(stream) };
}

function headOf(fields: Fields, method: string, target: string): Head {
  return {
    isRequest: method !== "",
    method,
    target,
    status: fields.status,
    version: "2",
    contentLength: -1,
    chunked: false,
    otherCoding: false,
    host: fields.authority === "" ? fields.host : fields.authority,
    userAgent: fields.userAgent,
    traceparent: fields.traceparent,
    traceparents: fields.traceparents,
    traceState: fields.traceState,
    requestId: fields.requestId,
    requestIds: fields.requestIds,
    upgrade: "",
    reported: false,
    facts: undefined,
  };
}

/** The exchange was made as that of a GET, of whose kind it is; its method is another, or unknown where empty. */
function renameMethod(exchange: Exchange, attributes: Attributes, method: string): void {
  exchange.op = method;
  exchange.endpoint = exchange.endpoint.replace("GET", method === "" ? "HTTP" : method);
  if (method === "") delete attributes["http.request.method"];
  else attributes["http.request.method"] = method;
}

function isGrpc(fields: Fields): boolean {
  const { contentType } = fields;
  if (!contentType.startsWith("application/grpc")) return false;
  const next = contentType[GRPC_TYPE_CHARS];
  return next === undefined || next === "+" || next === ";" || next === " ";
}

/** Gives an exchange of HTTP/2, of this module's own making, the names of gRPC. */
function becomeGrpc(exchange: Exchange): void {
  const writable: { -readonly [Key in keyof Exchange]: Exchange[Key] } = exchange;
  const attributes = exchange.attributes as Attributes;
  writable.protocol = "grpc";
  for (const name of HTTP_ONLY) delete attributes[name];
  attributes["rpc.system"] = "grpc";
  const { resource } = exchange;
  const slash = resource.lastIndexOf("/");
  if (slash < 1) {
    exchange.op = "";
    exchange.endpoint = "gRPC";
    return;
  }
  exchange.op = resource.slice(slash + 1);
  attributes["rpc.service"] = resource.slice(1, slash);
  attributes["rpc.method"] = exchange.op;
  exchange.endpoint = exchange.endpoint.slice(exchange.endpoint.indexOf(" ") + 1);
}

function enterGrpcStatus(exchange: Exchange, code: number): void {
  const attributes = exchange.attributes as Attributes;
  const known = code <= GRPC_CODE_MAX ? code : GRPC_UNKNOWN;
  exchange.code = String(known);
  exchange.status = known === 0 ? "ok" : GRPC_SERVER_FAULTS.has(known) ? "server_error" : "client_error";
  attributes["rpc.grpc.status_code"] = known;
  delete attributes["http.response.status_code"];
  delete attributes["error.type"];
  if (exchange.status === "server_error") attributes["error.type"] = exchange.code;
}
