/**
 * Scripted traffic for tests of the span room: connections and exchanges as the connection room would tell them.
 */

import type { ProcessSeen } from "../../server/model/capture-event.ts";
import type { Resource } from "../../server/model/span-batch.ts";
import { SPAN_WORDS, type SpanToAppend } from "../../server/model/span-batch-builder.ts";
import type { Connection } from "../connection/connection-sink.ts";
import type { CarriedContext, Exchange, MessageMark } from "../protocol/exchange.ts";
import { SpanRoom } from "./span-room.ts";

const SETTING = { hostName: "host", agentVersion: "0", unit: "", containerId: "" };

/** A span as the room sent it, with its service. */
export type SentSpan = SpanToAppend & { service: string };

/** A process that runs `/usr/bin/NAME`. */
export function processSeen(pid: number, name: string, language: ProcessSeen["language"] = "native"): ProcessSeen {
  return {
    pid,
    startNs: pid,
    comm: name,
    exe: `/usr/bin/${name}`,
    cmdline: [name],
    cwd: "/",
    otelServiceName: "",
    otelResourceAttributes: "",
    unit: "",
    containerId: "",
    language,
  };
}

/** A span with its words as BigInts and its columns as objects. */
function plainSpan(span: SpanToAppend): SpanToAppend {
  const { words, columns, ...rest } = span;
  if (words === undefined || columns === undefined) return rest;
  const word = (at: number) => (BigInt(words[at + 1] ?? 0) << 32n) | BigInt(words[at] ?? 0);
  const attributes = columns.keys.slice(0, columns.count).map((key, at) => {
    const kind = columns.kinds[at];
    const value = columns.values[at];
    if (kind === undefined || value === undefined) throw new Error(`attribute '${key}' is not whole`);
    return { key, kind, value };
  });
  return {
    ...rest,
    traceIdHigh: word(SPAN_WORDS.traceIdHigh),
    traceIdLow: word(SPAN_WORDS.traceIdLow),
    spanId: word(SPAN_WORDS.spanId),
    parentSpanId: word(SPAN_WORDS.parentSpanId),
    startNs: word(SPAN_WORDS.startNs),
    endNs: word(SPAN_WORDS.endNs),
    attributes: [...attributes, ...rest.attributes],
  };
}

interface ConnectionShape {
  readonly sight?: Connection["sight"];
  readonly clientPid?: number;
  readonly serverPid?: number;
  readonly clientAddr?: string;
  readonly serverAddr?: string;
  readonly serverPort?: number;
  readonly netns?: number;
}

/** One message exchange seen at one end, ready to be started and finished. */
export class Sight {
  readonly connection: Connection;
  readonly exchange: Exchange;
  readonly #traffic: Traffic;

  constructor(traffic: Traffic, connection: Connection, exchange: Exchange) {
    this.#traffic = traffic;
    this.connection = connection;
    this.exchange = exchange;
  }

  start(): this {
    this.#traffic.room.exchangeStarted(this.connection, this.exchange);
    return this;
  }

  /** Answers, written or read by `tid`. */
  finish(code = 200, tid = this.exchange.request?.tid ?? 0): this {
    const request = this.exchange.request;
    this.exchange.type = "exchange";
    this.exchange.code = String(code);
    this.exchange.status = code >= 500 ? "server_error" : code >= 400 ? "client_error" : "ok";
    this.exchange.response = mark(this.#traffic.nowNs, 1, tid, request?.pid ?? 0);
    this.#traffic.room.exchangeFinished(this.connection, this.exchange);
    return this;
  }

  /** Ends without an answer, as the parser tells it: the connection's end follows unless `why` is a timeout or a gap. */
  cut(why: string): this {
    this.exchange.type = "request";
    this.exchange.cutShort = why;
    this.exchange.status = why === "timeout" ? "timeout" : "unknown";
    this.#traffic.room.exchangeFinished(this.connection, this.exchange);
    return this;
  }
}

/** A room with a clock, and what it sent. */
export class Traffic {
  readonly sent: SentSpan[] = [];
  readonly room: SpanRoom;
  nowNs = 1e9;
  #socket = 0;

  constructor() {
    const sink = {
      finished: (resource: Resource, span: SpanToAppend) => {
        this.sent.push({ ...plainSpan(span), service: resource.service });
      },
    };
    this.room = new SpanRoom(sink, SETTING);
    this.room.tick(this.nowNs);
  }

  /** Lets `ms` pass. */
  pass(ms: number): void {
    this.nowNs += ms * 1e6;
    this.room.tick(this.nowNs);
  }

  /** A sight of request `seq` on the connection from `clientPort`; one end unless the shape says otherwise. */
  sight(side: Connection["side"], clientPort: number, seq: number, tid: number, shape: ConnectionShape = {}): Sight {
    const owner = (pid: number | undefined) =>
      pid === undefined ? undefined : { pid, ownerBy: "hook" as const, fallbackName: "" };
    this.#socket += 1;
    const connection: Connection = {
      socket: this.#socket,
      sight: shape.sight ?? (side === "both" ? "both" : "end"),
      side,
      client: { addr: shape.clientAddr ?? "127.0.0.1", port: clientPort },
      server: { addr: shape.serverAddr ?? "127.0.0.1", port: shape.serverPort ?? 80 },
      netns: shape.netns ?? 1,
      joinedLate: false,
      isTls: false,
      tlsVersion: "",
      clientOwner: owner(shape.clientPid),
      serverOwner: owner(shape.serverPid),
    };
    const pid = (side === "server" ? shape.serverPid : shape.clientPid) ?? 0;
    return new Sight(this, connection, requestOf(mark(this.nowNs, seq, tid, side === "both" ? 0 : pid)));
  }

  /** The span of a kind and service; there must be one. */
  span(kind: "client" | "server", service: string): SentSpan {
    const found = this.sent.filter((span) => span.kind === (kind === "client" ? 3 : 2) && span.service === service);
    if (found.length !== 1 || found[0] === undefined) {
      const seen = this.sent.map((span) => `${span.service}/${span.kind}`).join(" ");
      throw new Error(`${found.length} ${kind} spans of ${service} among: ${seen}`);
    }
    return found[0];
  }
}

function mark(startNs: number, seq: number, tid: number, pid: number): MessageMark {
  return { startNs, endNs: startNs + 1000, seq, bytes: 80, tid, pid, lastTid: tid };
}

function requestOf(request: MessageMark): Exchange {
  return {
    protocol: "http1",
    type: "request",
    op: "GET",
    resource: "/a",
    endpoint: "GET /a",
    status: "unknown",
    code: "",
    id: "",
    stream: 0,
    version: "1.1",
    request,
    response: undefined,
    context: undefined,
    attributes: { "http.request.method": "GET" },
    cutShort: "",
  };
}

/** A context carried in a request's headers. */
export function carried(traceId: string, spanId: string, flags = 1): CarriedContext {
  return { kind: "traceparent", traceId, spanId, flags, traceState: "" };
}

/** Small deterministic generator (mulberry32), so that a failure can be repeated by its seed. */
export function randomFrom(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4294967296;
  };
}
