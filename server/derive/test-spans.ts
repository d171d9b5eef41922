/** Batches for the tests of this room, from short descriptions or from OTLP JSON. */

import type { SampleToAppend } from "../model/series.ts";
import type { Attribute, Resource, SpanBatch } from "../model/span-batch.ts";
import { EMPTY_SPAN, SpanBatchBuilder, type SpanToAppend } from "../model/span-batch-builder.ts";

/** 2026-01-15T12:00:00Z. */
export const START_MS = 1_768_478_400_000;
const START_NS = BigInt(START_MS) * 1_000_000n;

/** A span by the fields that matter to a test. Times are milliseconds after `START_MS`. */
export interface TestSpan extends Partial<Omit<SpanToAppend, "attributes" | "startNs" | "endNs">> {
  readonly service: string;
  readonly startMs?: number;
  readonly durationMs?: number;
  readonly attributes?: Readonly<Record<string, string>>;
  readonly linksTo?: readonly (readonly [trace: bigint, span: bigint])[];
}

/** A resource that says its name. */
function namedResource(service: string): Resource {
  return { service, instance: "", attributes: [{ key: "service.name", kind: "s", value: service }] };
}

/** One batch of these spans, in their order; traces are told apart by the low half of their id. */
export function batchOf(spans: readonly TestSpan[]): SpanBatch {
  const builder = new SpanBatchBuilder();
  const resources = new Map<string, Resource>();
  const scope = builder.addScope({ name: "", version: "" });
  for (const { service, startMs = 0, durationMs = 1, attributes = {}, linksTo = [], ...rest } of spans) {
    const resource = resources.get(service) ?? namedResource(service);
    resources.set(service, resource);
    const startNs = START_NS + BigInt(Math.round(startMs * 1e6));
    builder.append({
      ...EMPTY_SPAN,
      source: 2,
      traceIdHigh: 1n,
      traceIdLow: 1n,
      resource: builder.addResource(resource),
      scope,
      startNs,
      endNs: startNs + BigInt(Math.round(durationMs * 1e6)),
      attributes: Object.entries(attributes).map(([key, value]): Attribute => ({ key, kind: "s", value })),
      links: Buffer.concat(linksTo.map(([trace, span]) => linkBytes(trace, span))),
      ...rest,
    });
  }
  return builder.seal();
}

function linkBytes(traceLow: bigint, span: bigint): Buffer {
  const bytes = Buffer.alloc(2 + 18 + 10);
  bytes.set([0x6a, 28, 0x0a, 16]);
  bytes.writeBigUInt64BE(1n, 4);
  bytes.writeBigUInt64BE(traceLow, 12);
  bytes.set([0x12, 8], 20);
  bytes.writeBigUInt64BE(span, 22);
  return bytes;
}

interface OtlpAttribute {
  readonly key: string;
  readonly value: Readonly<Record<string, unknown>>;
}

/** The part of OTLP JSON's ExportTraceServiceRequest that the tests read. */
export interface OtlpRequest {
  readonly resourceSpans: readonly {
    readonly resource?: { readonly attributes?: readonly OtlpAttribute[] };
    readonly scopeSpans: readonly {
      readonly spans: readonly {
        readonly traceId: string;
        readonly spanId: string;
        readonly parentSpanId?: string;
        readonly name: string;
        readonly kind?: number;
        readonly startTimeUnixNano: string;
        readonly endTimeUnixNano: string;
        readonly status?: { readonly code?: number };
        readonly attributes?: readonly OtlpAttribute[];
        readonly links?: readonly { readonly traceId: string; readonly spanId: string }[];
      }[];
    }[];
  }[];
}

/** Decodes what the tests read of OTLP JSON; the wire room has the real decoder. */
export function batchOfOtlp(request: OtlpRequest): SpanBatch {
  const builder = new SpanBatchBuilder();
  const scope = builder.addScope({ name: "", version: "" });
  for (const { resource, scopeSpans } of request.resourceSpans) {
    const attributes = (resource?.attributes ?? []).map(attributeOf);
    const service = attributes.find(({ key }) => key === "service.name")?.value ?? "unknown_service";
    const index = builder.addResource({ service, instance: "", attributes });
    for (const span of scopeSpans.flatMap(({ spans }) => spans)) {
      builder.append({
        ...EMPTY_SPAN,
        source: 2,
        resource: index,
        scope,
        traceIdHigh: BigInt(`0x${span.traceId.slice(0, 16)}`),
        traceIdLow: BigInt(`0x${span.traceId.slice(16)}`),
        spanId: BigInt(`0x${span.spanId}`),
        parentSpanId: BigInt(`0x${span.parentSpanId || "0"}`),
        name: span.name,
        kind: span.kind ?? 0,
        status: span.status?.code ?? 0,
        startNs: BigInt(span.startTimeUnixNano),
        endNs: BigInt(span.endTimeUnixNano),
        attributes: (span.attributes ?? []).map(attributeOf),
        links: Buffer.concat(
          (span.links ?? []).map(({ traceId, spanId }) =>
            Buffer.concat([
              Buffer.from([0x6a, 28, 0x0a, 16]),
              Buffer.from(traceId, "hex"),
              Buffer.from([0x12, 8]),
              Buffer.from(spanId, "hex"),
            ]),
          ),
        ),
      });
    }
  }
  return builder.seal();
}

function attributeOf({ key, value }: OtlpAttribute): Attribute {
  return { key, kind: "s", value: String(Object.values(value)[0] ?? "") };
}

/** Samples as `name{label="value",…}` and value, of histograms their count, to compare and to look up. */
export function sampleMap(samples: readonly SampleToAppend[]): Map<string, number> {
  const map = new Map<string, number>();
  for (const { labels, value, histogram } of samples) {
    const [, name = ""] = labels.find(([label]) => label === "__name__") ?? [];
    const rest = labels.filter(([label]) => label !== "__name__").map(([label, text]) => `${label}="${text}"`);
    map.set(`${name}{${rest.join(",")}}`, histogram?.count ?? value);
  }
  return map;
}
