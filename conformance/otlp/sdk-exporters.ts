/** The exporters of OpenTelemetry's SDK for JavaScript: each signal by each transport of OTLP, plain or in gzip. */

import { OTLPLogExporter as LogsGrpc } from "@opentelemetry/exporter-logs-otlp-grpc";
import { OTLPLogExporter as LogsJson } from "@opentelemetry/exporter-logs-otlp-http";
import { OTLPLogExporter as LogsProtobuf } from "@opentelemetry/exporter-logs-otlp-proto";
import { OTLPMetricExporter as MetricsGrpc } from "@opentelemetry/exporter-metrics-otlp-grpc";
import {
  AggregationTemporalityPreference,
  OTLPMetricExporter as MetricsJson,
} from "@opentelemetry/exporter-metrics-otlp-http";
import { OTLPMetricExporter as MetricsProtobuf } from "@opentelemetry/exporter-metrics-otlp-proto";
import { OTLPTraceExporter as TracesGrpc } from "@opentelemetry/exporter-trace-otlp-grpc";
import { OTLPTraceExporter as TracesJson } from "@opentelemetry/exporter-trace-otlp-http";
import { OTLPTraceExporter as TracesProtobuf } from "@opentelemetry/exporter-trace-otlp-proto";
import type { LogRecordExporter } from "@opentelemetry/sdk-logs";
import type { PushMetricExporter } from "@opentelemetry/sdk-metrics";
import type { SpanExporter } from "@opentelemetry/sdk-trace-node";

/** Transports as `OTEL_EXPORTER_OTLP_PROTOCOL` names them. */
export const SDK_TRANSPORTS = ["grpc", "http/protobuf", "http/json"] as const;

export type SdkTransport = (typeof SDK_TRANSPORTS)[number];

interface Exporters {
  readonly spans: SpanExporter;
  readonly logs: LogRecordExporter;
  readonly metrics: PushMetricExporter;
}

/** How a program sends. */
interface Sending {
  readonly isCompressed: boolean;
  /** Whether its metrics count since the export before. */
  readonly isDelta: boolean;
}

/** @param endpoint `HOST:PORT` for gRPC, else an address with its scheme. */
export function exportersTo(endpoint: string, transport: SdkTransport, sending: Sending): Exporters {
  // The enum of the exporters' own package has these texts.
  const compression = (sending.isCompressed ? "gzip" : "none") as never;
  const at = (path: string) => ({
    url: transport === "grpc" ? `http://${endpoint}` : `${endpoint}${path}`,
    compression,
  });
  const { DELTA, CUMULATIVE } = AggregationTemporalityPreference;
  const [spans, logs] = [at("/v1/traces"), at("/v1/logs")];
  const metrics = { ...at("/v1/metrics"), temporalityPreference: sending.isDelta ? DELTA : CUMULATIVE };
  switch (transport) {
    case "grpc":
      return { spans: new TracesGrpc(spans), logs: new LogsGrpc(logs), metrics: new MetricsGrpc(metrics) };
    case "http/protobuf":
      return { spans: new TracesProtobuf(spans), logs: new LogsProtobuf(logs), metrics: new MetricsProtobuf(metrics) };
    case "http/json":
      return { spans: new TracesJson(spans), logs: new LogsJson(logs), metrics: new MetricsJson(metrics) };
  }
}
