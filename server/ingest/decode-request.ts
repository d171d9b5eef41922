/** Decodes a body of any signal of OTLP, in whatever thread. */

import type { LogDecodeOutcome } from "../wire/log-columns.ts";
import type { MetricDecodeOutcome } from "../wire/metric-series.ts";
import { decodeLogsJson } from "../wire/otlp-logs-json.ts";
import { decodeLogs } from "../wire/otlp-logs-protobuf.ts";
import { decodeMetricsJson } from "../wire/otlp-metrics-json.ts";
import { decodeMetrics } from "../wire/otlp-metrics-protobuf.ts";
import { decodeTracesJson } from "../wire/otlp-traces-json.ts";
import { decodeTraces } from "../wire/otlp-traces-protobuf.ts";
import { DEFAULT_TRANSLATION, type OtlpTranslation } from "../wire/otlp-translation.ts";
import type { DecodeOutcome } from "../wire/span-columns.ts";

/** What bodies of each signal are decoded to. */
export interface DecodeOutcomes {
  readonly traces: DecodeOutcome;
  readonly logs: LogDecodeOutcome;
  readonly metrics: MetricDecodeOutcome;
}

/** Signals of OTLP that are taken. */
export type OtlpSignal = keyof DecodeOutcomes;

/** Encodings of a request. */
export type OtlpEncoding = "protobuf" | "json";

type Decode<S extends OtlpSignal> = (bytes: Uint8Array, translation: OtlpTranslation) => DecodeOutcomes[S];

type Decoders = {
  readonly [S in OtlpSignal]: Readonly<Record<OtlpEncoding, Decode<S>>>;
};

const DECODERS: Decoders = {
  traces: { protobuf: decodeTraces, json: decodeTracesJson },
  logs: { protobuf: decodeLogs, json: decodeLogsJson },
  metrics: { protobuf: decodeMetrics, json: decodeMetricsJson },
};

/** Decodes a body in one turn. Never throws on input. @param translation How metrics become series. */
export function decodeRequest<S extends OtlpSignal>(
  signal: S,
  bytes: Uint8Array,
  encoding: OtlpEncoding,
  translation: OtlpTranslation = DEFAULT_TRANSLATION,
): DecodeOutcomes[S] {
  return DECODERS[signal][encoding](bytes, translation);
}

/** Buffers of an outcome that change hands instead of being copied; those of metrics are too many and small. */
export function buffersOf(outcome: DecodeOutcomes[OtlpSignal]): ArrayBuffer[] {
  if (outcome.kind !== "decoded" || !("batch" in outcome)) return [];
  // Made by the decoder: all columns of a batch are views of one buffer of their own.
  return [outcome.batch.traceId.buffer as ArrayBuffer];
}
