/**
 * Sends batches of spans to a receiver over OTLP: a bounded queue, a few requests at a time, again where that may help.
 *
 * Invariants: `made = sent + queued + lost{reason}`, in spans, at any moment; what is being sent counts as queued. The
 * queue holds at most `queueBytesMax` bytes; what comes while it is full is lost under `queue_full`. Whoever was in doubt
 * about an answer sends again: a receiver that knows repeated spans by their ids keeps them once.
 */

import type { SpanBatch } from "../../server/model/span-batch.ts";
import { type AgentPiece, encodeAgentSpans } from "../../server/wire/agent-spans.ts";
import { type ExportAnswer, readAnswer, type SendOutcome } from "./send-outcome.ts";
import type { SpanSink } from "./span-sink.ts";

/** What one request holds at most: below what receivers take (Collector's gRPC takes 4 MiB). */
const REQUEST_BYTES_MAX = 3 * 2 ** 20;
const REQUEST_SPANS_MAX = 8_192;
/** Requests at one time. A receiver that joins traces of several hosts answers a request once it knows the others' spans. */
const UNDER_WAY_MAX = 16;
const ANSWER_MS_MAX = 10_000;
/** The pause after a failure doubles from the first to the second, and half of it is by chance. */
const PAUSE_MS_MIN = 200;
const PAUSE_MS_MAX = 5_000;
/** Longest that a receiver may ask to wait. */
const ASKED_PAUSE_MS_MAX = 60_000;

/** Why spans were lost on their way. */
type LossReason = "queue_full" | "rejected" | "refused" | "too_large" | "stopped";

/** What became of the spans that were made. */
export interface SendLedger {
  readonly made: number;
  readonly sent: number;
  readonly queued: number;
  readonly lost: Readonly<Record<LossReason, number>>;
  readonly queueBytes: number;
  readonly requests: number;
  /** Requests that brought no answer, or one that says to come again. */
  readonly failures: number;
}

/** The way to the receiver, and whom to tell. */
export interface SenderOptions {
  readonly send: (body: Uint8Array, timeoutMs: number) => Promise<ExportAnswer>;
  readonly queueBytesMax: number;
  /** Version of the program, for the scope. */
  readonly version: string;
  /** A request failed, or spans of it were left out; `why` holds nothing of the spans. */
  readonly onTrouble: (why: string, lost: number) => void;
}

/** See the file's head. */
export class SpanSender implements SpanSink {
  readonly #options: SenderOptions;
  readonly #queue: AgentPiece[] = [];
  /** Of the queue and of what is being sent. */
  #queueBytes = 0;
  #queued = 0;
  /** Smaller once the receiver has found a request too large. */
  #requestBytesMax = REQUEST_BYTES_MAX;
  #made = 0;
  #sent = 0;
  readonly #lost: Record<LossReason, number> = { queue_full: 0, rejected: 0, refused: 0, too_large: 0, stopped: 0 };
  #requests = 0;
  #failures = 0;
  #failedInRow = 0;
  #trouble = "";
  #underWay = 0;
  #isPlanned = false;
  #pause: NodeJS.Timeout | undefined;
  #whenIdle: (() => void) | undefined;
  #stopAtMs = Number.POSITIVE_INFINITY;
  #isOver = false;

  constructor(options: SenderOptions) {
    this.#options = options;
  }

  spans(batch: SpanBatch): void {
    for (const piece of encodeAgentSpans(batch, this.#options.version)) {
      this.#made += piece.spans;
      if (this.#isOver) this.#lose("stopped", piece.spans, "");
      else if (this.#queueBytes + piece.bytes.length > this.#options.queueBytesMax) {
        this.#lose("queue_full", piece.spans, "the queue is full");
      } else {
        this.#queue.push(piece);
        this.#queueBytes += piece.bytes.length;
        this.#queued += piece.spans;
      }
    }
    this.#plan();
  }

  /** Why spans do not reach the receiver now; empty where they do, or where there were none. */
  get trouble(): string {
    return this.#trouble;
  }

  ledger(): SendLedger {
    return {
      made: this.#made,
      sent: this.#sent,
      queued: this.#queued,
      lost: { ...this.#lost },
      queueBytes: this.#queueBytes,
      requests: this.#requests,
      failures: this.#failures,
    };
  }

  /** Sends what is queued, for at most `msMax`; the rest is lost under `stopped`. Call it after the last `spans`. */
  async stop(msMax: number): Promise<void> {
    this.#stopAtMs = performance.now() + msMax;
    this.#endPause();
    if (this.#queued > 0) {
      await new Promise<void>((resolve) => {
        const timer = setTimeout(resolve, msMax);
        this.#whenIdle = () => {
          clearTimeout(timer);
          resolve();
        };
      });
    }
    this.#lose("stopped", this.#queued, "");
    this.#queued = 0;
    this.#queue.length = 0;
    this.#queueBytes = 0;
    this.#isOver = true;
  }

  /** The caller goes on first: what it adds in this turn is sent together. */
  #plan(): void {
    if (this.#isPlanned) return;
    this.#isPlanned = true;
    queueMicrotask(() => {
      this.#isPlanned = false;
      this.#pump();
    });
  }

  /** Sends as much as may be under way; after a failure one request at a time, until one is taken. */
  #pump(): void {
    const underWayMax = this.#failedInRow > 0 ? 1 : UNDER_WAY_MAX;
    while (this.#queue.length > 0 && this.#underWay < underWayMax && this.#pause === undefined && this.#leftMs() > 0) {
      const pieces = this.#takeRequest();
      this.#underWay++;
      void this.#try(pieces).then((outcome) => {
        this.#underWay--;
        if (this.#isOver) return;
        this.#settle(pieces, outcome);
        this.#pump();
        if (this.#queued === 0) this.#whenIdle?.();
      });
    }
  }

  #settle(pieces: readonly AgentPiece[], outcome: SendOutcome): void {
    switch (outcome.kind) {
      case "taken":
        this.#taken(pieces, outcome);
        return;
      case "again":
        this.#queue.unshift(...pieces);
        this.#startPause(outcome);
        return;
      case "smaller":
        this.#split(pieces, outcome.why);
        return;
      case "refused":
        this.#failedInRow = 0;
        this.#leave(pieces, "refused", outcome.why);
    }
  }

  #takeRequest(): AgentPiece[] {
    let bytes = 0;
    let spans = 0;
    let count = 0;
    for (const piece of this.#queue) {
      bytes += piece.bytes.length;
      spans += piece.spans;
      if (count > 0 && (bytes > this.#requestBytesMax || spans > REQUEST_SPANS_MAX)) break;
      count++;
    }
    return this.#queue.splice(0, count);
  }

  async #try(pieces: readonly AgentPiece[]): Promise<SendOutcome> {
    this.#requests++;
    try {
      const timeoutMs = Math.max(1, Math.ceil(Math.min(ANSWER_MS_MAX, this.#leftMs())));
      return readAnswer(await this.#options.send(joined(pieces), timeoutMs));
    } catch (error) {
      return { kind: "again", why: error instanceof Error ? error.message : String(error), afterSeconds: undefined };
    }
  }

  #taken(pieces: readonly AgentPiece[], { rejected, message }: Extract<SendOutcome, { kind: "taken" }>): void {
    this.#failedInRow = 0;
    this.#trouble = "";
    const spans = this.#unqueue(pieces);
    const left = Math.min(rejected, spans);
    this.#sent += spans - left;
    if (left > 0) this.#lose("rejected", left, `the receiver rejected spans: ${message.slice(0, 200)}`);
  }

  #split(pieces: readonly AgentPiece[], why: string): void {
    if (pieces.length === 1) {
      this.#leave(pieces, "too_large", why);
      return;
    }
    this.#requestBytesMax = Math.floor(pieces.reduce((sum, { bytes }) => sum + bytes.length, 0) / 2);
    this.#queue.unshift(...pieces);
  }

  #leave(pieces: readonly AgentPiece[], reason: LossReason, why: string): void {
    this.#trouble = why;
    this.#lose(reason, this.#unqueue(pieces), why);
  }

  #unqueue(pieces: readonly AgentPiece[]): number {
    let spans = 0;
    for (const piece of pieces) {
      spans += piece.spans;
      this.#queueBytes -= piece.bytes.length;
    }
    this.#queued -= spans;
    return spans;
  }

  #lose(reason: LossReason, spans: number, why: string): void {
    this.#lost[reason] += spans;
    if (why !== "") this.#options.onTrouble(why, spans);
  }

  /** Requests that fail together are one failure as to the pause. */
  #startPause({ why, afterSeconds }: Extract<SendOutcome, { kind: "again" }>): void {
    this.#failures++;
    this.#trouble = why;
    if (this.#pause !== undefined) return;
    this.#options.onTrouble(why, 0);
    const growing = Math.min(PAUSE_MS_MAX, PAUSE_MS_MIN * 2 ** Math.min(this.#failedInRow++, 16));
    const asked = afterSeconds === undefined ? 0 : Math.min(ASKED_PAUSE_MS_MAX, 1000 * afterSeconds);
    const pauseMs = Math.max(asked, growing * (0.5 + 0.5 * Math.random()));
    // A receiver that is gone is asked a few more times while the program stops, not waited for.
    const isStopping = this.#stopAtMs !== Number.POSITIVE_INFINITY;
    this.#pause = setTimeout(() => this.#endPause(), isStopping ? Math.min(pauseMs, PAUSE_MS_MIN) : pauseMs);
  }

  #endPause(): void {
    clearTimeout(this.#pause);
    this.#pause = undefined;
    this.#pump();
  }

  #leftMs(): number {
    return this.#stopAtMs - performance.now();
  }
}

/** Bodies of requests put together are one request: its list goes on. */
function joined(pieces: readonly AgentPiece[]): Uint8Array {
  const [first] = pieces;
  return pieces.length === 1 && first !== undefined ? first.bytes : Buffer.concat(pieces.map(({ bytes }) => bytes));
}
