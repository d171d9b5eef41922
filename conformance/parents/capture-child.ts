/**
 * A capturing process for the comparison of parents: the socket rung with the agent's own pipeline, and beside it another
 * rule on the same events. Started with `fork`, with the word `tls` where it looks into TLS, `inject` where it may ask Node
 * processes; answers each message with what it saw since the last.
 */

import { hostname } from "node:os";
import { bootClock } from "../../agent/capture/boot-clock.ts";
import { NodeInspectors } from "../../agent/capture/node-inspectors.ts";
import { startSocketRung } from "../../agent/capture/socket-rung.ts";
import { createPipeline } from "../../agent/pipeline.ts";
import { loadNative } from "../../bpf/native.ts";
import type { CaptureSink } from "../../server/model/capture-event.ts";
import { SPAN_KINDS, type SpanBatch } from "../../server/model/span-batch.ts";
import { textReader } from "../../server/model/text-table.ts";
import { LastRequestRule } from "./last-request-rule.ts";

/** A span as the comparison needs it. Ids as decimal text. */
export interface SeenSpan {
  readonly kind: string;
  readonly clientPort: number;
  readonly serverPort: number;
  readonly id: string;
  /** Empty where no parent was drawn. */
  readonly parent: string;
  readonly reason: string;
  /** Why no parent was drawn. */
  readonly unlinked: string;
  readonly startNs: string;
  readonly pid: number;
}

/** What the process saw since it was asked last. */
export interface Sighting {
  readonly spans: readonly SeenSpan[];
  /** The other rule's parents by call, each as `clientPort serverPort ordinal`. */
  readonly lastRequest: readonly (readonly [string, string])[];
  readonly lost: number;
}

const TICK_MS = 20;
const ASK_MS = 250;

let spans: SeenSpan[] = [];
let lostBefore = 0;
const rule = new LastRequestRule();

function collect(batch: SpanBatch): void {
  const text = textReader(batch.text);
  for (let row = 0; row < batch.rows; row++) {
    let unlinked = "";
    const from = row === 0 ? 0 : (batch.attributeEnd[row - 1] ?? 0);
    for (let at = from; at < (batch.attributeEnd[row] ?? 0); at++) {
      if (text(batch.attributeKey[at]) === "thalweg.unlinked") unlinked = text(batch.attributeValue[at]);
    }
    spans.push({
      kind: SPAN_KINDS[batch.kind[row] ?? 0] ?? "",
      clientPort: batch.clientPort[row] ?? 0,
      serverPort: batch.serverPort[row] ?? 0,
      id: String(batch.spanId[row]),
      parent: batch.parentSpanId[row] === 0n ? "" : String(batch.parentSpanId[row]),
      reason: text(batch.linkReason[row]),
      unlinked,
      startNs: String(batch.startNs[row]),
      pid: batch.pid[row] ?? 0,
    });
  }
}

function start(): void {
  const loaded = loadNative();
  if (!loaded.ok) throw new Error(loaded.why);
  const { native } = loaded;
  const clock = bootClock(native);
  const pipeline = createPipeline(
    {
      spans(batch) {
        collect(batch);
        pipeline.taken();
      },
    },
    {
      redaction: true,
      exclusions: { pids: [], ports: [] },
      setting: { hostName: hostname(), agentVersion: "0", unit: "", containerId: "" },
    },
  );
  const inner = pipeline.sinkOf("live");
  const sink: CaptureSink = {
    opened(event) {
      rule.opened(event);
      inner.opened(event);
    },
    moment: (event) => inner.moment?.(event),
    slice(event) {
      rule.slice(event);
      inner.slice(event);
    },
    owner: (...told) => inner.owner(...told),
    closed(...told) {
      rule.closed(told[0]);
      inner.closed(...told);
    },
    process: (event) => inner.process(event),
    processExited: (...told) => inner.processExited(...told),
  };
  const excludePids = [process.pid, process.ppid];
  const tls = { kind: process.argv.includes("tls") ? "auto" : "off" } as const;
  const rung = startSocketRung({ sink, native, excludePids, excludePorts: [], ringBytes: 1 << 25, tls });
  setInterval(() => pipeline.tick(clock.nowNs(), rung.clockOffset()), TICK_MS);
  if (process.argv.includes("inject")) {
    const inspectors = new NodeInspectors(
      { kind: "names", names: ["node.ts"] },
      {
        nowNs: () => clock.nowNs(),
        told: (call) => pipeline.told(call),
        telling: (pid, isTelling) => pipeline.telling(pid, isTelling),
        exclude: (port, isExcluded) => pipeline.exclude(port, isExcluded),
      },
    );
    setInterval(() => inspectors.unsure(pipeline.unsure()), ASK_MS);
  }
  process.on("message", () => {
    const lost = Object.values(rung.counters().lost).reduce((sum, count) => sum + count, 0);
    const sighting: Sighting = { spans, lastRequest: [...rule.parents], lost: lost - lostBefore };
    lostBefore = lost;
    spans = [];
    rule.parents.clear();
    process.send?.(sighting);
  });
  process.on("disconnect", () => process.exit());
  process.send?.("ready");
}

if (process.send !== undefined) start();
