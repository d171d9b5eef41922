/**
 * A gRPC server for unary calls over HTTP/2 without TLS: framing, compression, deadlines, statuses, graceful stop.
 *
 * Own code, so that memory for a message is taken from the common budget before any of it is kept, and so that every
 * compression of HTTP is one of gRPC too. Invariant: what a call took is given back when the call is answered or gone.
 *
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */

import http2, { type ServerHttp2Session, type ServerHttp2Stream } from "node:http2";
import { BodyCollector, type CollectFault } from "./body-collector.ts";
import { BodyRoom } from "./byte-budget.ts";
import { type Compression, decompress } from "./decompress.ts";
import { type BodyLimits, bodyFault } from "./request-body.ts";

/** Calls of one connection at a time; a client with more waits. */
const STREAMS_MAX = 256;
const CONNECTIONS_MAX = 4_096;
/** What a client may send before it is read: of a call, and of a connection. */
const STREAM_WINDOW_BYTES = 256 * 1024;
const CONNECTION_WINDOW_BYTES = 2 ** 20;
const HEADER_BYTES_MAX = 16 * 1024;
const HEADER_PAIRS_MAX = 128;
/** A connection without a call for so long is closed. */
const IDLE_MS = 10 * 60_000;
/** For a message to come whole. */
const MESSAGE_MS_MAX = 60_000;
/** Time that running calls get when the server stops. */
const STOP_MS = 5_000;
const PREFIX_BYTES = 5;
const DEADLINE_MS_MAX = 2 ** 31 - 1;
const ACCEPTED = "identity,gzip,deflate,zstd,snappy";
const COMPRESSIONS: ReadonlySet<string> = new Set<Compression>(["gzip", "deflate", "zstd", "snappy"]);
const DEADLINE = /^(\d{1,8})([HMSmun])$/;
const UNIT_MS: Readonly<Record<string, number>> = { H: 3_600_000, M: 60_000, S: 1_000, m: 1, u: 1e-3, n: 1e-6 };

const CODE = {
  ok: 0,
  invalidArgument: 3,
  deadlineExceeded: 4,
  resourceExhausted: 8,
  unimplemented: 12,
  internal: 13,
  unavailable: 14,
} as const;

/** How a call ends. `details` is a google.rpc.Status in protobuf. */
export type GrpcAnswer =
  | { readonly kind: "message"; readonly bytes: Uint8Array }
  | { readonly kind: "status"; readonly code: number; readonly message: string; readonly details?: Uint8Array };

/** Answers a call; the message must not be used afterwards. A rejection is INTERNAL. */
export type GrpcMethod = (message: Buffer) => Promise<GrpcAnswer>;

/** What the server works with. */
export interface GrpcServerOptions {
  /** Methods by path, `/package.Service/Method`. */
  readonly methods: ReadonlyMap<string, GrpcMethod>;
  readonly limits: BodyLimits;
  /** The details of a status that says to come again later. */
  retryDetails(message: string): Uint8Array;
  /** Told of every answer; `path` is one of `methods` or `unknown`. */
  onAnswer(path: string, code: number): void;
  onError(error: unknown): void;
  /** Told of a peer that broke the protocol or flooded the connection. */
  onBrokenConnection(): void;
}

/** A server that listens. */
export interface GrpcServer {
  /** Stops accepting, waits for running calls for a moment, closes. */
  close(): Promise<void>;
}

/** Starts listening. Rejects with the system's error. */
export function startGrpcServer(
  options: GrpcServerOptions,
  { host, port }: { readonly host: string; readonly port: number },
): Promise<{ server: GrpcServer; port: number }> {
  const server = http2.createServer({
    settings: {
      maxConcurrentStreams: STREAMS_MAX,
      initialWindowSize: STREAM_WINDOW_BYTES,
      maxHeaderListSize: HEADER_BYTES_MAX,
      enablePush: false,
    },
    maxHeaderListPairs: HEADER_PAIRS_MAX,
  });
  server.maxConnections = CONNECTIONS_MAX;
  const sessions = new Set<ServerHttp2Session>();
  server.on("session", (session) => {
    sessions.add(session);
    session.setLocalWindowSize(CONNECTION_WINDOW_BYTES);
    session.setTimeout(IDLE_MS, () => session.close());
    session.once("close", () => sessions.delete(session));
    // Such as a peer that speaks no HTTP/2: the session is gone, and nothing of it is left to answer.
    session.on("error", () => options.onBrokenConnection());
  });
  server.on("stream", (stream, headers) => {
    new Call(stream, options).start(headers);
  });
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, () => {
      server.off("error", reject);
      server.on("error", (error) => options.onError(error));
      const address = server.address();
      if (address === null || typeof address === "string") throw new Error("a TCP listener has no port");
      resolve({ server: { close: () => stop(server, sessions) }, port: address.port });
    });
  });
}

function stop(server: http2.Http2Server, sessions: ReadonlySet<ServerHttp2Session>): Promise<void> {
  return new Promise((resolve) => {
    const impatient = setTimeout(() => {
      for (const session of sessions) session.destroy();
    }, STOP_MS);
    server.close(() => {
      clearTimeout(impatient);
      resolve();
    });
    for (const session of sessions) session.close();
  });
}

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** One call. */
class Call {
  readonly #stream: ServerHttp2Stream;
  readonly #options: GrpcServerOptions;
  readonly #room: BodyRoom;
  readonly #collector: BodyCollector;
  readonly #prefix = Buffer.alloc(PREFIX_BYTES);
  #prefixBytes = 0;
  #messageBytes = 0;
  #path = "unknown";
  #encoding = "identity";
  #timers: NodeJS.Timeout[] = [];
  #answered = false;
  /** Memory of the message is in use by the method. */
  #running = false;

  constructor(stream: ServerHttp2Stream, options: GrpcServerOptions) {
    this.#stream = stream;
    this.#options = options;
    this.#room = new BodyRoom(options.limits.budget);
    this.#collector = new BodyCollector(options.limits.bytesMax, this.#room);
  }

  start(headers: Headers): void {
    const stream = this.#stream;
    stream.on("error", () => this.#leave());
    stream.on("close", () => this.#leave());
    stream.on("data", (chunk: Buffer) => this.#read(chunk));
    stream.on("end", () => this.#messageEnds());
    if (headers[":method"] !== "POST") {
      this.#refuseHttp(405, { allow: "POST" });
      return;
    }
    if (!isGrpc(headers["content-type"])) {
      this.#refuseHttp(415, {});
      return;
    }
    const path = String(headers[":path"] ?? "");
    if (!this.#options.methods.has(path)) {
      this.#refuse(CODE.unimplemented, "there is no such method here");
      return;
    }
    this.#path = path;
    this.#encoding = String(headers["grpc-encoding"] ?? "identity");
    if (this.#encoding !== "identity" && !COMPRESSIONS.has(this.#encoding)) {
      this.#options.limits.onRefused?.("encoding");
      this.#refuse(CODE.unimplemented, `grpc-encoding is not one of ${ACCEPTED}`);
      return;
    }
    this.#after(MESSAGE_MS_MAX, () => {
      if (!this.#running) this.#refuse(CODE.deadlineExceeded, `the message took more than ${MESSAGE_MS_MAX} ms`);
    });
    const deadlineMs = deadlineOf(headers["grpc-timeout"]);
    if (deadlineMs !== undefined) this.#after(deadlineMs, () => this.#refuse(CODE.deadlineExceeded, "too late"));
  }

  #after(ms: number, action: () => void): void {
    this.#timers.push(setTimeout(action, Math.min(DEADLINE_MS_MAX, Math.ceil(ms))));
  }

  #read(chunk: Buffer): void {
    let at = 0;
    while (!this.#answered && at < chunk.length) {
      if (this.#prefixBytes < PREFIX_BYTES) {
        const copied = chunk.copy(this.#prefix, this.#prefixBytes, at);
        this.#prefixBytes += Math.min(copied, PREFIX_BYTES - this.#prefixBytes);
        at += copied;
        if (this.#prefixBytes === PREFIX_BYTES) this.#messageStarts();
        continue;
      }
      const left = this.#messageBytes - this.#collector.length;
      if (left === 0) {
        this.#refuseBroken(CODE.invalidArgument, "the call has more than one message");
        return;
      }
      const piece = chunk.subarray(at, at + left);
      at += piece.length;
      const fault = this.#collector.add(piece);
      if (fault !== undefined) {
        this.#refuseFault(fault, this.#options.limits.bytesMax);
        return;
      }
    }
  }

  #messageStarts(): void {
    this.#messageBytes = this.#prefix.readUInt32BE(1);
    const flag = this.#prefix[0];
    if (flag !== 0 && flag !== 1) {
      this.#refuseBroken(CODE.internal, "the message has an unknown flag");
      return;
    }
    if (flag === 1 && this.#encoding === "identity") {
      this.#refuseBroken(CODE.internal, "the message is compressed, and grpc-encoding does not say how");
      return;
    }
    this.#room.begin(() => this.#refuseFault("too_slow", this.#options.limits.bytesMax));
    const fault = this.#collector.announce(this.#messageBytes);
    if (fault !== undefined) this.#refuseFault(fault, this.#options.limits.bytesMax);
  }

  #messageEnds(): void {
    if (this.#answered) return;
    if (this.#prefixBytes < PREFIX_BYTES || this.#collector.length < this.#messageBytes) {
      this.#options.limits.onRefused?.("cut_short");
      this.#refuse(CODE.invalidArgument, "the message is cut short");
      return;
    }
    this.#running = true;
    void this.#run().finally(() => {
      this.#running = false;
      this.#room.release();
    });
  }

  async #run(): Promise<void> {
    const method = this.#options.methods.get(this.#path);
    const message = await this.#message();
    if (message === undefined || method === undefined || this.#answered) return;
    try {
      this.#answer(await method(message));
    } catch (error) {
      this.#options.onError(error);
      this.#refuse(CODE.internal, "something went wrong; the log says what");
    }
  }

  /** The message decompressed; undefined where it was refused. */
  async #message(): Promise<Buffer | undefined> {
    const raw = this.#collector.take();
    if (this.#prefix[0] === 0) return raw;
    // One of COMPRESSIONS: anything else was refused.
    const compression = this.#encoding as Compression;
    const outcome = await decompress(raw, compression, this.#options.limits.bytesMax, this.#room);
    this.#room.dropRaw();
    if (outcome.kind === "bytes") return outcome.bytes;
    if (outcome.fault === "broken") {
      this.#refuseBroken(CODE.invalidArgument, `the message is not valid ${this.#encoding}`);
    } else this.#refuseFault(outcome.fault, outcome.bytesMax);
    return undefined;
  }

  #refuseFault(fault: CollectFault, bytesMax: number): void {
    this.#options.limits.onRefused?.(fault);
    const message = bodyFault(fault, bytesMax, this.#options.limits.budget).replace("the body", "the message");
    if (fault === "too_large") this.#refuse(CODE.resourceExhausted, message);
    else if (fault === "crumbs") this.#refuse(CODE.invalidArgument, message);
    else this.#refuse(CODE.unavailable, message, this.#options.retryDetails(message));
  }

  #refuseBroken(code: number, message: string): void {
    this.#options.limits.onRefused?.("broken");
    this.#refuse(code, message);
  }

  #refuse(code: number, message: string, details?: Uint8Array): void {
    this.#answer({ kind: "status", code, message, ...(details === undefined ? {} : { details }) });
  }

  #refuseHttp(status: number, headers: Record<string, string>): void {
    this.#close(() => this.#stream.respond({ ":status": status, ...headers }, { endStream: true }));
  }

  #answer(answer: GrpcAnswer): void {
    if (this.#answered) return;
    this.#options.onAnswer(this.#path, answer.kind === "message" ? CODE.ok : answer.code);
    const stream = this.#stream;
    const headers = { ":status": 200, "content-type": "application/grpc", "grpc-accept-encoding": ACCEPTED };
    if (answer.kind === "status") {
      this.#close(() => stream.respond({ ...headers, ...trailersOf(answer) }, { endStream: true }));
      return;
    }
    this.#answered = true;
    this.#stopTimers();
    if (stream.destroyed) return;
    stream.respond(headers, { waitForTrailers: true });
    stream.once("wantTrailers", () => stream.sendTrailers({ "grpc-status": "0" }));
    const prefix = Buffer.alloc(PREFIX_BYTES);
    prefix.writeUInt32BE(answer.bytes.length, 1);
    stream.end(Buffer.concat([prefix, answer.bytes]));
  }

  /** Ends the stream with headers alone; what the client still sends is not waited for. */
  #close(respond: () => void): void {
    if (this.#answered) return;
    this.#answered = true;
    this.#stopTimers();
    if (!this.#running) this.#room.release();
    if (this.#stream.destroyed) return;
    respond();
    if (!this.#stream.readableEnded) this.#stream.close(http2.constants.NGHTTP2_NO_ERROR);
  }

  /** The client is gone, or has its answer. */
  #leave(): void {
    this.#answered = true;
    this.#stopTimers();
    if (!this.#running) this.#room.release();
  }

  #stopTimers(): void {
    for (const timer of this.#timers.splice(0)) clearTimeout(timer);
  }
}

function isGrpc(contentType: string | string[] | undefined): boolean {
  const [type = ""] = String(contentType ?? "").split(";", 1);
  return ["application/grpc", "application/grpc+proto"].includes(type.trim().toLowerCase());
}

/** Milliseconds of a `grpc-timeout`; undefined where there is none or it makes no sense. */
function deadlineOf(timeout: string | string[] | undefined): number | undefined {
  const match = DEADLINE.exec(String(timeout ?? ""));
  const unitMs = UNIT_MS[match?.[2] ?? ""];
  return match === null || unitMs === undefined ? undefined : Number(match[1]) * unitMs;
}

function trailersOf({ code, message, details }: Extract<GrpcAnswer, { kind: "status" }>): Record<string, string> {
  return {
    "grpc-status": String(code),
    "grpc-message": percentEncoded(message),
    ...(details === undefined ? {} : { "grpc-status-details-bin": Buffer.from(details).toString("base64") }),
  };
}

/** Printable ASCII stays, but for the percent sign. */
function percentEncoded(text: string): string {
  return text.replace(/[^\x20-\x24\x26-\x7e]+/g, (run) =>
    Array.from(Buffer.from(run, "utf8"), (byte) => `%${byte.toString(16).padStart(2, "0").toUpperCase()}`).join(""),
  );
}
