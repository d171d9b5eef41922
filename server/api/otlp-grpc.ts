/**
 * OTLP over gRPC: the export services and the health service. Other services answer UNIMPLEMENTED.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#otlpgrpc
 */

import type { OtlpSignal } from "../ingest/decode-request.ts";
import { ThalwegError } from "../model/errors.ts";
import { decodeHealthService, encodeHealthStatus } from "../wire/grpc-health.ts";
import {
  encodeExportResponse,
  encodeRpcStatus,
  GRPC_INVALID_ARGUMENT,
  GRPC_UNAVAILABLE,
} from "../wire/otlp-responses.ts";
import type { ApiDeps, ListenAddress } from "./api-deps.ts";
import { type GrpcAnswer, type GrpcMethod, startGrpcServer } from "./grpc-server.ts";
import { exportRequest, RETRY_AFTER_SECONDS } from "./otlp-export.ts";
import type { BodyLimits } from "./request-body.ts";

const SERVICES: readonly (readonly [service: string, signal: OtlpSignal])[] = [
  ["opentelemetry.proto.collector.trace.v1.TraceService", "traces"],
  ["opentelemetry.proto.collector.logs.v1.LogsService", "logs"],
  ["opentelemetry.proto.collector.metrics.v1.MetricsService", "metrics"],
];
/** What the health service knows; the empty name is the whole server. */
const SERVICE_NAMES: ReadonlySet<string> = new Set(["", ...SERVICES.map(([service]) => service)]);
const HEALTH_PATH = "/grpc.health.v1.Health/Check";
const GRPC_NOT_FOUND = 5;

/** The gRPC listener while it runs. */
export interface GrpcListener {
  readonly address: ListenAddress;
  /** Finishes running calls, then stops. */
  close(): Promise<void>;
}

/** Starts listening. @throws ThalwegError `address_in_use`. */
export async function startOtlpGrpc(deps: ApiDeps, limits: BodyLimits): Promise<GrpcListener> {
  const methods = new Map<string, GrpcMethod>([[HEALTH_PATH, async (message) => answerHealth(deps, message)]]);
  for (const [service, signal] of SERVICES) {
    methods.set(`/${service}/Export`, (message) => answerExport(deps, signal, message));
  }
  const { host, port } = deps.listen.otlpGrpc;
  try {
    const listening = await startGrpcServer(
      {
        methods,
        limits,
        retryDetails: (message) => encodeRpcStatus(GRPC_UNAVAILABLE, message, RETRY_AFTER_SECONDS),
        onAnswer: (path, code) => deps.countAnswer(path, code),
        onBrokenConnection: () => deps.countRefused("http"),
        onError: (error) => deps.log.error({ err: error }, "a gRPC call failed"),
      },
      { host, port },
    );
    return { address: { host, port: listening.port }, close: () => listening.server.close() };
  } catch (error) {
    if (!(error instanceof Error) || !("code" in error) || error.code !== "EADDRINUSE") throw error;
    throw new ThalwegError("address_in_use", { address: `${host}:${port}`, holder: "", flag: "--otlp-grpc" }, error);
  }
}

async function answerExport(deps: ApiDeps, signal: OtlpSignal, body: Buffer): Promise<GrpcAnswer> {
  const outcome = await exportRequest(deps, { signal, body, encoding: "protobuf", transport: "grpc" });
  if (outcome.kind === "taken") return { kind: "message", bytes: encodeExportResponse(outcome.partial) };
  const { grpcCode: code, message: why, retryAfterSeconds } = outcome;
  return {
    kind: "status",
    code,
    message: why,
    ...(retryAfterSeconds === undefined ? {} : { details: encodeRpcStatus(code, why, retryAfterSeconds) }),
  };
}

function answerHealth(deps: ApiDeps, message: Buffer): GrpcAnswer {
  const service = decodeHealthService(message);
  if (service === undefined) {
    return { kind: "status", code: GRPC_INVALID_ARGUMENT, message: "The message is not a HealthCheckRequest." };
  }
  if (!SERVICE_NAMES.has(service)) {
    return { kind: "status", code: GRPC_NOT_FOUND, message: "There is no such service here." };
  }
  return { kind: "message", bytes: encodeHealthStatus(deps.ready().ready) };
}
