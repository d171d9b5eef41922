/** Sends one OTLP request over any transport, and says what came back. */

import { Client, credentials, Metadata } from "@grpc/grpc-js";
import { oracleDecode } from "../../server/wire/trace-oracle.ts";
import type { Program } from "../program.ts";
import { asProtobuf, type OtlpRequest, type Signal } from "./requests.ts";

const GRPC_MS_MAX = 20_000;
const SERVICES: Readonly<Record<Signal, string>> = {
  traces: "opentelemetry.proto.collector.trace.v1.TraceService",
  logs: "opentelemetry.proto.collector.logs.v1.LogsService",
  metrics: "opentelemetry.proto.collector.metrics.v1.MetricsService",
};
const RESPONSES: Readonly<Record<Signal, string>> = {
  traces: "ExportTraceServiceResponse",
  logs: "ExportLogsServiceResponse",
  metrics: "ExportMetricsServiceResponse",
};

/** What a request was answered with. */
export interface Reply {
  /** Empty where it was a success in the right form. */
  readonly fault: string;
  /** Items that the answer says were left out. */
  readonly rejected: number;
}

/** Sends over HTTP as the request is encoded, or over gRPC. */
export function sendRequest(program: Program, request: OtlpRequest, transport: "http" | "grpc"): Promise<Reply> {
  return transport === "grpc" ? sendGrpc(program.otlpGrpc, request) : sendHttp(program.otlpHttp, request);
}

async function sendHttp(url: string, { signal, encoding, compression, body }: OtlpRequest): Promise<Reply> {
  const type = encoding === "json" ? "application/json" : "application/x-protobuf";
  const answer = await fetch(`${url}/v1/${signal}`, {
    method: "POST",
    headers: { "content-type": type, ...(compression === "" ? {} : { "content-encoding": compression }) },
    body: new Uint8Array(body),
  });
  const reply = Buffer.from(await answer.arrayBuffer());
  if (answer.status !== 200) return { fault: `status ${answer.status}: ${reply.toString("latin1")}`, rejected: 0 };
  const answered = answer.headers.get("content-type");
  if (answered !== type) return { fault: `the answer to ${type} is of type ${answered}`, rejected: 0 };
  return replyOf(signal, encoding === "json" ? JSON.parse(reply.toString()) : oracleDecode(RESPONSES[signal], reply));
}

function sendGrpc(address: string, request: OtlpRequest): Promise<Reply> {
  const client = new Client(address, credentials.createInsecure());
  return new Promise((resolve) => {
    client.makeUnaryRequest(
      `/${SERVICES[request.signal]}/Export`,
      (bytes: Uint8Array) => Buffer.from(bytes),
      (bytes: Buffer) => bytes,
      asProtobuf(request),
      new Metadata(),
      { deadline: Date.now() + GRPC_MS_MAX },
      (error, reply = Buffer.alloc(0)) => {
        client.close();
        if (error !== null) resolve({ fault: `gRPC status ${error.code}: ${error.details}`, rejected: 0 });
        else resolve(replyOf(request.signal, oracleDecode(RESPONSES[request.signal], reply)));
      },
    );
  });
}

/** A full success says nothing at all. */
function replyOf(signal: Signal, response: unknown): Reply {
  // Both come from a JSON object: ours, or the library's.
  const { partialSuccess, ...others } = response as { partialSuccess?: Readonly<Record<string, string>> };
  if (Object.keys(others).length > 0) return { fault: `unknown members ${Object.keys(others)}`, rejected: 0 };
  if (partialSuccess === undefined) return { fault: "", rejected: 0 };
  const member = { traces: "rejectedSpans", logs: "rejectedLogRecords", metrics: "rejectedDataPoints" }[signal];
  const rejected = Number(partialSuccess[member] ?? 0);
  const message = partialSuccess["errorMessage"] ?? "";
  return { fault: message === "" ? "a partial success without a message" : "", rejected };
}
