/**
 * OTLP over gRPC: TraceService/Export and the health service. Other services answer UNIMPLEMENTED by themselves.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#otlpgrpc
 */

import type { ServerUnaryCall, ServiceDefinition, sendUnaryData } from "@grpc/grpc-js";
import { logVerbosity, Metadata, Server, ServerCredentials, setLogVerbosity } from "@grpc/grpc-js";
import { ThalwegError } from "../model/errors.ts";
import { decodeHealthService, encodeHealthStatus } from "../wire/grpc-health.ts";
import { encodeExportTraceResponse, encodeRpcStatus, GRPC_OK, GRPC_UNAVAILABLE } from "../wire/otlp-responses.ts";
import type { ApiDeps, ListenAddress } from "./api-deps.ts";
import { exportTraces, RETRY_AFTER_SECONDS } from "./otlp-export.ts";
import type { BodyLimits } from "./request-body.ts";

const TRACE_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService";
const EXPORT_PATH = `/${TRACE_SERVICE}/Export`;
const HEALTH_PATH = "/grpc.health.v1.Health/Check";
const GRPC_NOT_FOUND = 5;
const ANSWER_BYTES_MAX = 4 * 2 ** 20;
const STREAMS_MAX = 1000;
/** Time that running calls get when the server stops. */
const STOP_MS = 5_000;

/** The gRPC listener while it runs. */
export interface GrpcListener {
  readonly address: ListenAddress;
  /** Finishes running calls, then stops. */
  close(): Promise<void>;
}

type RawCall = ServerUnaryCall<Buffer, Buffer>;
type RawAnswer = sendUnaryData<Buffer>;

/** Starts listening. @throws ThalwegError `address_in_use`. */
export async function startOtlpGrpc(deps: ApiDeps, limits: BodyLimits): Promise<GrpcListener> {
  // The library prints to standard error by itself; every failure it prints also reaches a callback here.
  setLogVerbosity(logVerbosity.NONE);
  const server = new Server({
    "grpc.max_receive_message_length": limits.bytesMax,
    "grpc.max_send_message_length": ANSWER_BYTES_MAX,
    "grpc.max_concurrent_streams": STREAMS_MAX,
  });
  server.addService(unary("Export", EXPORT_PATH), {
    Export: (call: RawCall, answer: RawAnswer) => {
      void answerExport(deps, limits, call.request).then(({ code, send }) => {
        deps.countAnswer(EXPORT_PATH, code);
        send(answer);
      });
    },
  });
  server.addService(unary("Check", HEALTH_PATH), {
    Check: (call: RawCall, answer: RawAnswer) => answerHealth(deps, call.request, answer),
  });
  const { host } = deps.listen.otlpGrpc;
  const port = await bind(server, deps.listen.otlpGrpc);
  return { address: { host, port }, close: () => close(server) };
}

/** A service of one unary method whose messages stay bytes. */
function unary(name: string, path: string): ServiceDefinition {
  const same = (bytes: Buffer) => bytes;
  return {
    [name]: {
      path,
      requestStream: false,
      responseStream: false,
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    },
  };
}

interface ExportAnswer {
  readonly code: number;
  readonly send: (answer: RawAnswer) => void;
}

async function answerExport(deps: ApiDeps, { budget }: BodyLimits, body: Buffer): Promise<ExportAnswer> {
  if (!budget.take(body.length)) {
    const message = "Too many bodies are being stored at a time. Send it again.";
    return failure(GRPC_UNAVAILABLE, message, RETRY_AFTER_SECONDS);
  }
  const outcome = await exportTraces(deps, body, "protobuf", "grpc").finally(() => budget.give(body.length));
  if (outcome.kind === "failed") return failure(outcome.grpcCode, outcome.message, outcome.retryAfterSeconds);
  const bytes = Buffer.from(encodeExportTraceResponse(outcome.partial));
  return { code: GRPC_OK, send: (answer) => answer(null, bytes) };
}

function failure(code: number, details: string, retryAfterSeconds: number | undefined): ExportAnswer {
  const metadata = new Metadata();
  if (retryAfterSeconds !== undefined) {
    metadata.set("grpc-status-details-bin", Buffer.from(encodeRpcStatus(code, details, retryAfterSeconds)));
  }
  return { code, send: (answer) => answer({ code, details, metadata }) };
}

function answerHealth(deps: ApiDeps, request: Buffer, answer: RawAnswer): void {
  const service = decodeHealthService(request);
  if (service !== "" && service !== TRACE_SERVICE) {
    answer({ code: GRPC_NOT_FOUND, details: "There is no such service here." });
  } else {
    answer(null, Buffer.from(encodeHealthStatus(deps.ready().ready)));
  }
}

function bind(server: Server, { host, port }: ListenAddress): Promise<number> {
  const target = host.includes(":") ? `[${host}]:${port}` : `${host}:${port}`;
  return new Promise((resolve, reject) => {
    server.bindAsync(target, ServerCredentials.createInsecure(), (error, bound) => {
      if (error === null) resolve(bound);
      else if (!/EADDRINUSE/.test(error.message)) reject(error);
      else reject(new ThalwegError("address_in_use", { address: target, holder: "", flag: "--otlp-grpc" }, error));
    });
  });
}

function close(server: Server): Promise<void> {
  return new Promise((resolve) => {
    const impatient = setTimeout(() => server.forceShutdown(), STOP_MS);
    server.tryShutdown(() => {
      clearTimeout(impatient);
      resolve();
    });
  });
}
