/** One OTLP request as a stranger would send it: any method, type and encoding over HTTP, any compression over gRPC. */

import { type Agent, request as httpRequest, type IncomingHttpHeaders } from "node:http";
import { connect, type IncomingHttpHeaders as Http2Headers } from "node:http2";
import { deflateSync, gzipSync, zstdCompressSync } from "node:zlib";
import { encodeSnappy } from "../../server/wire/snappy.ts";
import { oracleDecode } from "../../server/wire/trace-oracle.ts";

const PROTOBUF = "application/x-protobuf";
const JSON_TYPE = "application/json";
/** Codes of a Status by the HTTP status it comes with. */
const CODES: Readonly<Record<number, number>> = { 400: 3, 403: 7, 413: 8, 415: 3 };

/** Compressions that every transport takes. */
export const COMPRESSIONS = {
  identity: (bytes: Uint8Array) => Buffer.from(bytes),
  gzip: (bytes: Uint8Array) => gzipSync(bytes),
  zstd: (bytes: Uint8Array) => zstdCompressSync(bytes),
  deflate: (bytes: Uint8Array) => deflateSync(bytes),
  snappy: (bytes: Uint8Array) => Buffer.from(encodeSnappy(bytes)),
} as const;
export type Compression = keyof typeof COMPRESSIONS;

/** What HTTP answered. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
  /** Whether it came over a connection of an earlier call. */
  readonly reused: boolean;
}

/** Sends over HTTP; the body in one piece with its length, or in chunks without one. */
export function callHttp(
  url: string,
  {
    method = "POST",
    headers,
    body = Buffer.alloc(0),
    chunked = false,
    agent,
  }: {
    readonly method?: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: Uint8Array;
    readonly chunked?: boolean;
    /** Keeps connections; without it each call has its own. */
    readonly agent?: Agent;
  },
): Promise<HttpAnswer> {
  return new Promise((resolve, reject) => {
    const length = chunked ? {} : { "content-length": String(body.length) };
    const sent = httpRequest(
      url,
      { method, headers: { ...headers, ...length }, ...(agent === undefined ? {} : { agent }) },
      (answer) => {
        const chunks: Buffer[] = [];
        answer.on("data", (chunk: Buffer) => chunks.push(chunk));
        answer.on("end", () =>
          resolve({
            status: answer.statusCode ?? 0,
            headers: answer.headers,
            body: Buffer.concat(chunks),
            reused: sent.reusedSocket,
          }),
        );
        answer.on("error", reject);
      },
    );
    sent.on("error", reject);
    if (chunked) {
      sent.write(body.subarray(0, body.length >> 1));
      sent.end(body.subarray(body.length >> 1));
    } else sent.end(body);
  });
}

/** What gRPC answered. */
export interface GrpcReply {
  readonly code: number;
  readonly message: Buffer;
  readonly headers: Http2Headers;
}

/** A gRPC connection without a library, so that what is wrong on purpose can be sent. */
export class GrpcWire {
  readonly #session;

  constructor(address: string) {
    this.#session = connect(`http://${address}`);
    // Calls tell of their own end.
    this.#session.on("error", () => {});
  }

  /** One unary call. `announced` says more bytes than there are. */
  call(
    path: string,
    message: Uint8Array,
    { encoding, announced, type = "application/grpc" }: { encoding?: string; announced?: number; type?: string } = {},
  ): Promise<GrpcReply> {
    const prefix = Buffer.alloc(5);
    prefix[0] = encoding === undefined || encoding === "identity" ? 0 : 1;
    prefix.writeUInt32BE(announced ?? message.length, 1);
    return new Promise((resolve, reject) => {
      const stream = this.#session.request({
        ":method": "POST",
        ":path": path,
        "content-type": type,
        te: "trailers",
        ...(encoding === undefined ? {} : { "grpc-encoding": encoding }),
      });
      let seen: Http2Headers = {};
      const chunks: Buffer[] = [];
      stream.on("response", (headers) => {
        seen = { ...seen, ...headers };
      });
      stream.on("trailers", (headers) => {
        seen = { ...seen, ...headers };
      });
      stream.on("data", (chunk: Buffer) => chunks.push(chunk));
      stream.on("error", reject);
      stream.on("close", () =>
        resolve({ code: Number(seen["grpc-status"] ?? -1), message: Buffer.concat(chunks).subarray(5), headers: seen }),
      );
      stream.end(Buffer.concat([prefix, message]));
    });
  }

  /** Milliseconds until a ping came back, as clients send them to learn whether a connection still lives. */
  ping(): Promise<number> {
    return new Promise((resolve, reject) => {
      this.#session.ping((error, tookMs) => {
        if (error === null) resolve(tookMs);
        else reject(error);
      });
    });
  }

  close(): void {
    this.#session.close();
  }
}

/** A Status in the request's encoding, with the code that belongs to the HTTP status. */
export function refusalFault(
  { status, headers, body }: HttpAnswer,
  sent: Readonly<Record<string, string>>,
  wanted: number,
): string {
  if (status !== wanted) return `status ${status}, expected ${wanted}: ${body.toString("latin1")}`;
  const asked = sent["content-type"] ?? "";
  const type = wanted === 415 ? "text/plain" : asked === PROTOBUF ? PROTOBUF : JSON_TYPE;
  if (headers["content-type"] !== type) return `the answer to ${asked} is of type ${headers["content-type"]}`;
  const read: unknown = type === PROTOBUF ? oracleDecode("RpcStatus", body) : JSON.parse(body.toString());
  // Either reader gives an object, or throws.
  const { code, message } = read as { code?: number; message?: string };
  return code === CODES[wanted] && message !== undefined && message !== "" ? "" : `no Status: ${JSON.stringify(read)}`;
}
