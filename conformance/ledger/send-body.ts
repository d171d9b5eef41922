/** One attempt to hand a body to a program, over any transport of any signal. */

import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import type { Program } from "../program.ts";
import { writeHeaders } from "../remote-write.ts";

/** UNAVAILABLE and RESOURCE_EXHAUSTED. */
const GRPC_RETRYABLE = new Set(["14", "8"]);
const HTTP_RETRYABLE = new Set([429, 502, 503, 504]);
const ANSWER_MS_MAX = 20_000;
const SERVICES = { traces: "trace.v1.TraceService", logs: "logs.v1.LogsService", metrics: "metrics.v1.MetricsService" };

/** What is sent: three signals of OTLP, and samples of remote write. */
export type Signal = "traces" | "logs" | "metrics" | "samples";
/** How: the first four over HTTP, then gRPC, then two versions of remote write. */
export type Transport = "protobuf" | "gzip" | "zstd" | "json" | "grpc" | "remote write 1" | "remote write 2";

/** What one attempt came to; an attempt without an answer is `unanswered`. */
export type Attempt =
  | { readonly kind: "acknowledged" | "unanswered" }
  /** May be sent again. */
  | { readonly kind: "refused"; readonly why: string }
  /** An answer that a sender may not get for a good body. */
  | { readonly kind: "fault"; readonly why: string };

/** Sends bodies, compressed already, to one program after another. */
export class BodySender {
  #session: { readonly program: Program; readonly session: ClientHttp2Session } | undefined;

  /** Sends a body once. Never rejects. */
  send(program: Program, signal: Signal, transport: Transport, bytes: Buffer): Promise<Attempt> {
    return transport === "grpc" ? this.#sendGrpc(program, signal, bytes) : sendHttp(program, signal, transport, bytes);
  }

  close(): void {
    this.#session?.session.destroy();
  }

  #sendGrpc(program: Program, signal: Signal, bytes: Buffer): Promise<Attempt> {
    const session = this.#sessionOf(program);
    const framed = Buffer.alloc(5 + bytes.length);
    framed.writeUInt32BE(bytes.length, 1);
    bytes.copy(framed, 5);
    return new Promise((resolve) => {
      let status = "";
      let why = "";
      if (session.closed || session.destroyed) {
        resolve({ kind: "unanswered" });
        return;
      }
      const service = SERVICES[signal === "samples" ? "metrics" : signal];
      const stream = session.request({
        ":method": "POST",
        ":path": `/opentelemetry.proto.collector.${service}/Export`,
        "content-type": "application/grpc",
        te: "trailers",
      });
      const note = (headers: Readonly<Record<string, unknown>>) => {
        status = String(headers["grpc-status"] ?? status);
        why = String(headers["grpc-message"] ?? why);
      };
      const timer = setTimeout(() => stream.destroy(), ANSWER_MS_MAX);
      stream.on("response", note).on("trailers", note);
      // A broken connection shows as a close without a status.
      stream.on("error", () => {});
      stream.on("close", () => {
        clearTimeout(timer);
        if (status === "0") resolve({ kind: "acknowledged" });
        else if (status === "") resolve({ kind: "unanswered" });
        else if (GRPC_RETRYABLE.has(status)) resolve({ kind: "refused", why: decodeURIComponent(why) });
        else resolve({ kind: "fault", why: `status ${status}: ${why}` });
      });
      stream.resume();
      stream.end(framed);
    });
  }

  #sessionOf(program: Program): ClientHttp2Session {
    const known = this.#session;
    if (known?.program === program && !known.session.destroyed && !known.session.closed) return known.session;
    known?.session.destroy();
    const session = connectHttp2(`http://${program.otlpGrpc}`);
    session.on("error", () => {});
    this.#session = { program, session };
    return session;
  }
}

/** Address and headers of a request over HTTP. */
export function httpRequest(
  program: Program,
  signal: Signal,
  transport: Transport,
): { readonly url: string; readonly headers: Record<string, string> } {
  if (signal === "samples") {
    return { url: `${program.http}/api/v1/write`, headers: writeHeaders(transport === "remote write 1" ? 1 : 2) };
  }
  const headers: Record<string, string> = {
    "content-type": transport === "json" ? "application/json" : "application/x-protobuf",
  };
  if (transport === "gzip" || transport === "zstd") headers["content-encoding"] = transport;
  return { url: `${program.otlpHttp}/v1/${signal}`, headers };
}

async function sendHttp(program: Program, signal: Signal, transport: Transport, bytes: Buffer): Promise<Attempt> {
  const { url, headers } = httpRequest(program, signal, transport);
  try {
    const answer = await fetch(url, {
      method: "POST",
      headers,
      body: new Uint8Array(bytes),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    const text = await answer.text();
    if (answer.ok) return partlyRefused(text) ? { kind: "fault", why: text.slice(0, 200) } : { kind: "acknowledged" };
    const why = text.slice(0, 200);
    return HTTP_RETRYABLE.has(answer.status)
      ? { kind: "refused", why }
      : { kind: "fault", why: `answered ${answer.status}: ${why}` };
  } catch {
    // The program was killed or has stopped: there is no answer.
    return { kind: "unanswered" };
  }
}

/** Whether an answer in JSON tells of items left out; one in protobuf is empty where there are none. */
function partlyRefused(text: string): boolean {
  return text.startsWith("{") ? /"rejected\w+":/.test(text) : text !== "";
}
