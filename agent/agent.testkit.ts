/**
 * Helpers for tests of the whole agent: its spans as plain rows.
 */

import { traceIdToHex } from "../server/model/hex.ts";
import { SPAN_KINDS, SPAN_SOURCES, type SpanBatch } from "../server/model/span-batch.ts";
import { textReader } from "../server/model/text-table.ts";
import { type Agent, type AgentOptions, startAgent } from "./agent.ts";
import type { AgentStatus } from "./agent-message.ts";

/** A span as a person would read it. */
export interface PlainSpan {
  readonly traceId: string;
  readonly spanId: bigint;
  readonly parentSpanId: bigint;
  readonly service: string;
  readonly name: string;
  readonly kind: string;
  readonly source: string;
  readonly linkReason: string;
  readonly weight: number;
  readonly startNs: bigint;
  readonly endNs: bigint;
}

/** An agent with what it has given so far. */
export interface ObservedAgent {
  readonly agent: Agent;
  readonly spans: PlainSpan[];
  readonly statuses: AgentStatus[];
  /** Waits until `wanted` holds for the spans so far; rejects after `timeoutMs`. */
  until(wanted: (spans: readonly PlainSpan[]) => boolean, timeoutMs: number): Promise<void>;
}

/** Starts an agent that keeps everything it gives. */
export async function observeAgent(options: Partial<AgentOptions>): Promise<ObservedAgent> {
  const spans: PlainSpan[] = [];
  const statuses: AgentStatus[] = [];
  const failures: Error[] = [];
  const agent = await startAgent({
    mode: "off",
    excludePids: [process.pid],
    excludePorts: [],
    tls: { kind: "off" },
    redaction: true,
    fallbackReplay: undefined,
    nativeDirectory: undefined,
    version: "0.0.0",
    onSpans: (batch) => spans.push(...plainSpans(batch)),
    onStatus: (status) => statuses.push(status),
    onFailure: (error) => failures.push(error),
    ...options,
  });
  return {
    agent,
    spans,
    statuses,
    async until(wanted, timeoutMs) {
      const end = performance.now() + timeoutMs;
      while (!wanted(spans)) {
        if (failures[0] !== undefined) throw failures[0];
        if (performance.now() > end) {
          const seen = spans.map((span) => `${span.service}/${span.kind}/${span.name}`).join(" ");
          throw new Error(`not seen within ${timeoutMs} ms; spans so far: ${seen}`);
        }
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    },
  };
}

function plainSpans(batch: SpanBatch): PlainSpan[] {
  const rows: PlainSpan[] = [];
  const text = textReader(batch.text);
  for (let row = 0; row < batch.rows; row++) {
    rows.push({
      traceId: traceIdToHex(batch.traceId[2 * row] ?? 0n, batch.traceId[2 * row + 1] ?? 0n),
      spanId: batch.spanId[row] ?? 0n,
      parentSpanId: batch.parentSpanId[row] ?? 0n,
      service: batch.resources[batch.resource[row] ?? 0]?.service ?? "",
      name: text(batch.name[row]),
      kind: SPAN_KINDS[batch.kind[row] ?? 0] ?? "",
      source: SPAN_SOURCES[batch.source[row] ?? 0] ?? "",
      linkReason: text(batch.linkReason[row]),
      weight: batch.weight[row] ?? 0,
      startNs: batch.startNs[row] ?? 0n,
      endNs: batch.endNs[row] ?? 0n,
    });
  }
  return rows;
}
