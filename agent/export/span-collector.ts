/**
 * Collects finished spans into batches and hands them out, never more at a time than the receiver takes.
 *
 * Invariants: `collected = delivered + dropped + held`, in spans. At most `batchesInFlightMax` batches are out and not
 * taken; while so many are, spans are held up to one batch, and newer ones are dropped and counted.
 */

import type { Resource, Scope } from "../../server/model/span-batch.ts";
import { SpanBatchBuilder, type SpanToAppend } from "../../server/model/span-batch-builder.ts";
import type { FinishedSpanSink } from "../span/finished-span.ts";
import type { SpanSink } from "./span-sink.ts";

/** Rows at which a batch leaves without waiting. */
const batchRowsMax = 1024;
/** Oldest a row may become in a batch that is not full. */
const flushAfterNs = 100e6;
/** Batches handed out and not taken yet: about 16,000 spans. */
const batchesInFlightMax = 16;
/** Rows held while the receiver takes nothing. */
const heldRowsMax = 8192;

/** Spans the agent makes have no instrumentation scope. */
const NO_SCOPE: Scope = { name: "", version: "" };

/** What became of the finished spans. */
export interface ExportLedger {
  readonly collected: number;
  readonly delivered: number;
  readonly held: number;
  /** Dropped because the receiver did not take batches fast enough; the newest are. */
  readonly backlog: number;
}

/** The last step of the agent: spans in, batches out. */
export class SpanCollector implements FinishedSpanSink {
  readonly #sink: SpanSink;
  readonly #builder = new SpanBatchBuilder();
  #oldestNs = 0;
  #nowNs = 0;
  #inFlight = 0;
  #collected = 0;
  #delivered = 0;
  #backlog = 0;

  /** @param sink Receives the batches; `taken` must be called once for each. */
  constructor(sink: SpanSink) {
    this.#sink = sink;
  }

  finished(resource: Resource, span: SpanToAppend): void {
    this.#collected += 1;
    if (this.#builder.rows >= heldRowsMax) {
      this.#backlog += 1;
      return;
    }
    if (this.#builder.rows === 0) this.#oldestNs = this.#nowNs;
    span.resource = this.#builder.addResource(resource);
    span.scope = this.#builder.addScope(NO_SCOPE);
    this.#builder.append(span);
    if (this.#builder.rows >= batchRowsMax) this.#deliver();
  }

  /** The receiver has taken one batch. */
  taken(): void {
    if (this.#inFlight > 0) this.#inFlight -= 1;
  }

  /** Hands out what is old enough. `nowNs` is any clock that does not step back; call every few milliseconds. */
  tick(nowNs: number): void {
    this.#nowNs = nowNs;
    if (this.#builder.rows > 0 && nowNs - this.#oldestNs >= flushAfterNs) this.#deliver();
  }

  /** Hands out everything, whether or not the receiver keeps up: for the end. */
  flush(): void {
    if (this.#builder.rows > 0) this.#handOut();
  }

  ledger(): ExportLedger {
    return {
      collected: this.#collected,
      delivered: this.#delivered,
      held: this.#builder.rows,
      backlog: this.#backlog,
    };
  }

  #deliver(): void {
    if (this.#inFlight < batchesInFlightMax) this.#handOut();
  }

  #handOut(): void {
    const batch = this.#builder.seal();
    this.#inFlight += 1;
    this.#delivered += batch.rows;
    this.#sink.spans(batch);
  }
}
