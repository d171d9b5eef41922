/**
 * Sends OTLP requests in protobuf to one receiver, over HTTP or gRPC, over connections that are kept.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/
 * @see https://github.com/grpc/grpc/blob/master/doc/PROTOCOL-HTTP2.md
 */

import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { type ClientHttp2Session, connect, constants, type IncomingHttpHeaders } from "node:http2";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { promisify } from "node:util";
import { gzip } from "node:zlib";

/** Bytes of an answer that are kept; the rest is not read. */
const ANSWER_BYTES_MAX = 64 * 1024;
/** Connections of HTTP/1 at one time. */
const SOCKETS_MAX = 16;
/** Shorter bodies are sent as they are. */
const COMPRESSED_FROM_BYTES = 1024;
const GRPC_PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const GRPC_PREFIX_BYTES = 5;
/** gRPC's UNKNOWN, for an answer that names no code. */
const GRPC_UNKNOWN = 2;

/** Where and how to send. User name and password go into a header and into nothing else. */
export interface OtlpTarget {
  readonly transport: "http" | "grpc";
  /** `http:` or `https:`. */
  readonly url: URL;
}

/** What was answered. */
type OtlpAnswer =
  | {
      readonly kind: "http";
      readonly status: number;
      /** Seconds of `Retry-After`; undefined where it names none. */
      readonly retryAfterSeconds: number | undefined;
      readonly body: Uint8Array;
    }
  | {
      readonly kind: "grpc";
      readonly code: number;
      readonly message: string;
      /** The message of the answer, or where the call failed google.rpc.Status; empty where there is none. */
      readonly body: Uint8Array;
    };

/** A way to a receiver. Requests may overlap. */
export interface OtlpClient {
  /** @throws Error where no whole answer came in `timeoutMs`; its message names the receiver's host and nothing secret. */
  send(body: Uint8Array, timeoutMs: number): Promise<OtlpAnswer>;
  close(): void;
}

/** Opens a way; nothing is connected before the first request. */
export function openOtlpClient(target: OtlpTarget): OtlpClient {
  return target.transport === "grpc" ? new GrpcClient(target.url) : new HttpClient(target.url);
}

class HttpClient implements OtlpClient {
  readonly #url: URL;
  readonly #authorization: Readonly<Record<string, string>>;
  readonly #agent: HttpAgent | HttpsAgent;

  constructor(url: URL) {
    this.#url = withoutCredentials(url);
    this.#authorization = authorizationOf(url);
    const options = { keepAlive: true, maxSockets: SOCKETS_MAX };
    this.#agent = url.protocol === "https:" ? new HttpsAgent(options) : new HttpAgent(options);
  }

  async send(body: Uint8Array, timeoutMs: number): Promise<OtlpAnswer> {
    const packed = await compressed(body);
    const signal = AbortSignal.timeout(timeoutMs);
    try {
      const answer = await this.#ask(packed, signal);
      const chunks: Buffer[] = [];
      let bytes = 0;
      for await (const chunk of answer) {
        // The stream has no encoding set, so its chunks are buffers.
        const part = chunk as Buffer;
        if (bytes + part.length <= ANSWER_BYTES_MAX) chunks.push(part);
        bytes += part.length;
      }
      return {
        kind: "http",
        status: answer.statusCode ?? 0,
        retryAfterSeconds: retryAfter(answer.headers["retry-after"]),
        body: Buffer.concat(chunks),
      };
    } catch (error) {
      throw noAnswer(this.#url, signal.aborted ? new Error(`none within ${timeoutMs} ms`) : error);
    }
  }

  close(): void {
    this.#agent.destroy();
  }

  #ask({ bytes, encoding }: Packed, signal: AbortSignal): Promise<IncomingMessage> {
    const request = this.#url.protocol === "https:" ? httpsRequest : httpRequest;
    return new Promise((resolve, reject) => {
      const asked = request(this.#url, {
        method: "POST",
        agent: this.#agent,
        signal,
        headers: {
          "content-type": "application/x-protobuf",
          "content-length": bytes.length,
          "user-agent": "Thalweg",
          ...(encoding === "" ? {} : { "content-encoding": encoding }),
          ...this.#authorization,
        },
      });
      asked.on("response", resolve);
      asked.on("error", reject);
      asked.end(bytes);
    });
  }
}

class GrpcClient implements OtlpClient {
  readonly #url: URL;
  readonly #authorization: Readonly<Record<string, string>>;
  #session: ClientHttp2Session | undefined;

  constructor(url: URL) {
    this.#url = withoutCredentials(url);
    this.#authorization = authorizationOf(url);
  }

  async send(body: Uint8Array, timeoutMs: number): Promise<OtlpAnswer> {
    const { bytes, encoding } = await compressed(body);
    const message = Buffer.alloc(GRPC_PREFIX_BYTES + bytes.length);
    message.writeUInt8(encoding === "" ? 0 : 1, 0);
    message.writeUInt32BE(bytes.length, 1);
    message.set(bytes, GRPC_PREFIX_BYTES);
    const session = this.#connected();
    try {
      return await this.#call(session, message, encoding, timeoutMs);
    } catch (error) {
      // Whatever went wrong may be wrong with the connection: the next request opens another.
      if (this.#session === session) this.#session = undefined;
      session.close();
      throw noAnswer(this.#url, error);
    }
  }

  close(): void {
    this.#session?.destroy();
    this.#session = undefined;
  }

  #call(session: ClientHttp2Session, message: Buffer, encoding: string, timeoutMs: number): Promise<OtlpAnswer> {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject(new Error(`none within ${timeoutMs} ms`));
        stream.close(constants.NGHTTP2_CANCEL);
      }, timeoutMs);
      const settle = (how: () => void) => {
        clearTimeout(timer);
        session.off("error", failed);
        how();
      };
      const failed = (error: Error) => settle(() => reject(error));
      session.once("error", failed);
      const stream = session.request({
        [constants.HTTP2_HEADER_METHOD]: "POST",
        [constants.HTTP2_HEADER_PATH]: GRPC_PATH,
        "content-type": "application/grpc",
        "user-agent": "Thalweg",
        te: "trailers",
        "grpc-timeout": `${timeoutMs}m`,
        ...(encoding === "" ? {} : { "grpc-encoding": encoding }),
        ...this.#authorization,
      });
      let head: IncomingHttpHeaders = {};
      let trailers: IncomingHttpHeaders = {};
      const chunks: Buffer[] = [];
      let kept = 0;
      stream.on("response", (headers) => {
        head = headers;
      });
      stream.on("trailers", (headers) => {
        trailers = headers;
      });
      stream.on("data", (chunk: Buffer) => {
        kept += chunk.length;
        if (kept <= ANSWER_BYTES_MAX) chunks.push(chunk);
      });
      stream.on("error", failed);
      stream.on("close", () => settle(() => resolve(grpcAnswer({ ...head, ...trailers }, Buffer.concat(chunks)))));
      stream.end(message);
    });
  }

  #connected(): ClientHttp2Session {
    if (this.#session !== undefined && !this.#session.closed && !this.#session.destroyed) return this.#session;
    const session = connect(this.#url);
    session.setMaxListeners(2 * SOCKETS_MAX);
    // A connection that breaks while nothing is sent is opened again; what is sent then hears of it by itself.
    session.on("error", () => {});
    this.#session = session;
    return session;
  }
}

/** Where there is no `grpc-status`, the status of HTTP tells whether it may be tried again. */
function grpcAnswer(headers: IncomingHttpHeaders, body: Buffer): OtlpAnswer {
  const status = headers["grpc-status"];
  const http = Number(headers[constants.HTTP2_HEADER_STATUS] ?? 0);
  if (status === undefined && http !== 200) return { kind: "http", status: http, retryAfterSeconds: undefined, body };
  const code = status === undefined ? GRPC_UNKNOWN : Number(status);
  const details = headers["grpc-status-details-bin"];
  return {
    kind: "grpc",
    code: Number.isInteger(code) ? code : GRPC_UNKNOWN,
    message: String(headers["grpc-message"] ?? ""),
    body:
      code === 0 ? body.subarray(GRPC_PREFIX_BYTES) : Buffer.from(typeof details === "string" ? details : "", "base64"),
  };
}

interface Packed {
  readonly bytes: Uint8Array;
  readonly encoding: "" | "gzip";
}

const gzipAsync = promisify(gzip);

async function compressed(body: Uint8Array): Promise<Packed> {
  if (body.length < COMPRESSED_FROM_BYTES) return { bytes: body, encoding: "" };
  return { bytes: await gzipAsync(body, { level: 1 }), encoding: "gzip" };
}

function withoutCredentials(url: URL): URL {
  const plain = new URL(url);
  plain.username = "";
  plain.password = "";
  return plain;
}

function authorizationOf({ username, password }: URL): Readonly<Record<string, string>> {
  if (username === "") return {};
  const words = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
  return { authorization: `Basic ${Buffer.from(words).toString("base64")}` };
}

/** Seconds, or the time until a date. */
function retryAfter(value: string | undefined): number | undefined {
  if (value === undefined) return undefined;
  if (/^\d{1,9}$/.test(value)) return Number(value);
  const dateMs = Date.parse(value);
  return Number.isNaN(dateMs) ? undefined : Math.max(0, (dateMs - Date.now()) / 1000);
}

function noAnswer({ host }: URL, error: unknown): Error {
  const why = error instanceof Error ? error.message : String(error);
  return new Error(`no answer from ${host}: ${why}`, { cause: error });
}
