/** Bombs over gRPC: messages that are too long, lie, or become too much. */

import { type ClientHttp2Session, connect } from "node:http2";
import { BODY_BYTES_MAX, protobufBombs } from "./bodies.ts";
import { type Bomb, compressedBombs, type Refusal, type Target } from "./http-bombs.ts";
import { hasRetryInfo } from "./status.ts";

const PREFIX_BYTES = 5;
const ANSWER_MS_MAX = 30_000;
/** A client of Node refuses itself what it has not sent yet beyond 10 MB. */
const SESSION_MEMORY_MB = 4_000;
const SERVICES = {
  traces: "opentelemetry.proto.collector.trace.v1.TraceService",
  logs: "opentelemetry.proto.collector.logs.v1.LogsService",
  metrics: "opentelemetry.proto.collector.metrics.v1.MetricsService",
} as const;
/** Statuses that OTLP's senders take as: not again, or again later. */
const INVALID_ARGUMENT = "grpc 3";
const RESOURCE_EXHAUSTED = "grpc 8";
const UNAVAILABLE = "14";

/** A call as it is sent. */
export interface Call {
  readonly signal?: keyof typeof SERVICES;
  readonly encoding?: string;
  readonly message: Uint8Array;
  readonly flag?: number;
  /** Length that the prefix tells; the message's own unless given. */
  readonly told?: number;
  readonly headers?: Readonly<Record<string, string>>;
  /** The call is left open behind its message. */
  readonly isOpen?: boolean;
}

/** Opens a connection. */
export function openSession(target: Target): ClientHttp2Session {
  const session = connect(`http://${target.otlpGrpc}`, { maxSessionMemory: SESSION_MEMORY_MB });
  session.on("error", () => {});
  return session;
}

/** Makes a call on a connection of its own. */
export async function callOnce(target: Target, call: Call): Promise<Refusal> {
  const session = openSession(target);
  try {
    return await callOver(session, call);
  } finally {
    session.destroy();
  }
}

/** Makes a call. */
export function callOver(session: ClientHttp2Session, call: Call): Promise<Refusal> {
  const { signal = "traces", encoding, message, flag = encoding === undefined ? 0 : 1, told = message.length } = call;
  const prefix = Buffer.alloc(PREFIX_BYTES);
  prefix[0] = flag;
  prefix.writeUInt32BE(told, 1);
  return new Promise((resolve) => {
    const stream = session.request({
      ":method": "POST",
      ":path": `/${SERVICES[signal]}/Export`,
      "content-type": "application/grpc",
      te: "trailers",
      ...(encoding === undefined ? {} : { "grpc-encoding": encoding }),
      ...call.headers,
    });
    let sentMs: number | undefined;
    let status = "";
    let text = "";
    let details = "";
    const note = (headers: Readonly<Record<string, unknown>>) => {
      if (headers[":status"] !== undefined && headers[":status"] !== 200) status = `HTTP ${headers[":status"]}`;
      if (headers["grpc-status"] !== undefined) status = `grpc ${headers["grpc-status"]}`;
      text = String(headers["grpc-message"] ?? text);
      details = String(headers["grpc-status-details-bin"] ?? details);
      if (status !== "") end(status);
    };
    const end = (outcome: string) => {
      clearTimeout(timer);
      const tookMs = sentMs === undefined ? 0 : performance.now() - sentMs;
      resolve({ outcome, tookMs, fault: answerFault(outcome, text, details), text });
      stream.destroy();
    };
    const timer = setTimeout(() => end("no answer"), ANSWER_MS_MAX);
    stream.on("response", note).on("trailers", note);
    stream.on("error", () => {});
    stream.on("close", () => end(status === "" ? "closed" : status));
    stream.resume();
    stream.write(prefix);
    const sent = () => {
      sentMs ??= performance.now();
    };
    if (call.isOpen === true) stream.write(message, sent);
    else stream.end(message, sent);
  });
}

function answerFault(outcome: string, text: string, details: string): string {
  if (!outcome.startsWith("grpc ") || outcome === "grpc 0") return "";
  if (text === "") return `${outcome} without a message`;
  const isRetryable = outcome === `grpc ${UNAVAILABLE}`;
  if (!isRetryable) return "";
  return hasRetryInfo(details) ? "" : `${outcome} without RetryInfo`;
}

/** All bombs over gRPC. */
export function grpcBombs(): Bomb[] {
  const bomb = (name: string, wants: readonly string[], call: Call): Bomb => ({
    name: `gRPC: ${name}`,
    wants,
    send: (target) => callOnce(target, call),
  });
  const bombs: Bomb[] = [
    bomb("a message of 65 MiB", [RESOURCE_EXHAUSTED], { message: Buffer.alloc(BODY_BYTES_MAX + 1) }),
    bomb("a message that tells of 4 GiB", [RESOURCE_EXHAUSTED], {
      message: Buffer.alloc(10),
      told: 2 ** 32 - 1,
      isOpen: true,
    }),
    bomb("a message that is shorter than it tells", [INVALID_ARGUMENT], { message: Buffer.alloc(10), told: 1_000 }),
    bomb("an unknown compression", ["grpc 12"], { message: Buffer.alloc(10), encoding: "br" }),
    bomb("a compressed message without its compression", ["grpc 13"], { message: Buffer.alloc(10), flag: 1 }),
    bomb("two messages", [INVALID_ARGUMENT, "grpc 12"], { message: Buffer.alloc(10 + PREFIX_BYTES), told: 5 }),
    bomb("headers of 15 KiB", ["grpc 0"], { message: Buffer.alloc(0), headers: { "x-long": "a".repeat(15_000) } }),
  ];
  for (const { name, encoding, bytes, wants } of compressedBombs()) {
    bombs.push(bomb(name, [wants === "broken" ? INVALID_ARGUMENT : RESOURCE_EXHAUSTED], { message: bytes, encoding }));
  }
  for (const body of protobufBombs()) {
    const wants = body.wants === "malformed" ? [INVALID_ARGUMENT] : ["grpc 0", INVALID_ARGUMENT];
    const isLegal = body.wants !== "malformed";
    bombs.push({
      ...bomb(body.name, wants, { message: body.bytes, signal: body.signal }),
      isLegal,
      bytes: body.bytes.length,
    });
  }
  return bombs;
}
