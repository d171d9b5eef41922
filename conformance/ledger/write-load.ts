/**
 * Senders of all signals over all transports, with a ledger of what was acknowledged.
 *
 * A body of spans holds whole traces whose ids start with its serial number; a body of log records tells its own in every
 * text; a body of samples has the place in its lane for their value, at a time of its own. A body that was not
 * acknowledged is sent again with the same bytes until it is, as exporters do, over restarts too.
 */

import { gzipSync, zstdCompressSync } from "node:zlib";
import { freshen, SPANS_PER_BODY, type TemplateBody, templateBodies } from "../otlp-bodies.ts";
import { encodeBodies } from "../otlp-senders.ts";
import { type Program, sleep } from "../program.ts";
import type { LaneLedger, LogLedger, WriteLedger } from "./ledger-fault.ts";
import { type Attempt, BodySender, type Signal, type Transport } from "./send-body.ts";
import { logsBody, samplesBody } from "./signal-bodies.ts";

const SPAN_TRANSPORTS = ["protobuf", "gzip", "zstd", "json", "grpc"] as const;
const OTHER_TRANSPORTS = {
  logs: ["protobuf", "json", "grpc"],
  metrics: ["protobuf", "json", "grpc"],
  samples: ["remote write 1", "remote write 2"],
} as const;
const METRIC_OF = { metrics: "ledger_points", samples: "ledger_samples" } as const;
/** A lane of another signal than spans sends a body so often. */
const OTHER_EVERY_MS = 150;
const RETRY_MS = 50;
/** Samples of remote write 2.0 begin so long ago and step so far, that blocks are made of them while they are written. */
const HISTORY_MS = 60 * 86_400_000;
const HISTORY_STEP_MS = 240_000;

/** How a load is sent. */
interface LoadOptions {
  readonly spansPerSecond: number;
  readonly lanesPerTransport: number;
  /** Added to the wall clock for the times of what is sent. */
  readonly clockOffsetMs?: number;
}

interface SentBody {
  readonly serial: number;
  readonly bytes: Buffer;
}

/** What the senders of one signal met. */
interface Tally {
  acknowledged: number;
  refused: number;
  retries: number;
  /** The refusal that took longest to arrive; set back by whoever looks. */
  slowest: { ms: number; why: string };
}

/** Senders that run until they are stopped; the program they send to may change. */
export class WriteLoad {
  readonly tallies: Readonly<Record<Signal, Tally>> = {
    traces: emptyTally(),
    logs: emptyTally(),
    metrics: emptyTally(),
    samples: emptyTally(),
  };
  /** Answers that a sender may not get for a good body. */
  readonly faults: string[] = [];
  clockOffsetMs: number;
  readonly #spans = new Set<number>();
  readonly #logs: LogLedger = { acknowledged: new Set(), sent: 0, unanswered: new Map() };
  readonly #laneLedgers: LaneLedger[] = [];
  readonly #templates: TemplateBody[];
  readonly #json: (serial: number) => Buffer;
  readonly #options: LoadOptions;
  readonly #sender = new BodySender();
  #program: Program | undefined;
  #serial = 0;
  #running = true;
  #gaveUp = false;
  #lanes: Promise<void>[] = [];
  #budget = 0;
  #budgetAtMs = performance.now();

  constructor(options: LoadOptions) {
    this.#options = options;
    this.clockOffsetMs = options.clockOffsetMs ?? 0;
    this.#templates = templateBodies("semconv");
    this.#json = encodeBodies("semconv", "json");
  }

  /** The program that it is sent to. */
  get program(): Program | undefined {
    return this.#program;
  }

  /** Bodies that were acknowledged, of all signals. */
  get acknowledged(): number {
    return Object.values(this.tallies).reduce((sum, { acknowledged }) => sum + acknowledged, 0);
  }

  get acknowledgedSpans(): number {
    return this.#spans.size * SPANS_PER_BODY;
  }

  /** What was acknowledged by now, as a copy. */
  get ledger(): WriteLedger {
    return {
      spans: { acknowledged: new Set(this.#spans), sent: this.#serial },
      logs: {
        acknowledged: new Set(this.#logs.acknowledged),
        sent: this.#logs.sent,
        unanswered: new Map(this.#logs.unanswered),
      },
      lanes: this.#laneLedgers.map((lane) => ({ ...lane, timesMs: [...lane.timesMs] })),
    };
  }

  /** Counts in words. */
  get summary(): string {
    return Object.entries(this.tallies)
      .map(([signal, { acknowledged, refused, retries }]) => `${signal} ${acknowledged}/${retries}/${refused}`)
      .join(", ");
  }

  /** Sends to a program from here on; undefined holds the senders. */
  sendTo(program: Program | undefined): void {
    this.#program = program;
    this.#budget = 0;
    this.#budgetAtMs = performance.now();
    if (this.#lanes.length > 0) return;
    for (const transport of SPAN_TRANSPORTS) {
      for (let lane = 0; lane < this.#options.lanesPerTransport; lane++) this.#lanes.push(this.#spanLane(transport));
    }
    for (const transport of OTHER_TRANSPORTS.logs) this.#lanes.push(this.#logLane(transport));
    for (const signal of ["metrics", "samples"] as const) {
      for (const transport of OTHER_TRANSPORTS[signal]) this.#lanes.push(this.#sampleLane(signal, transport));
    }
  }

  /** Waits until `bodies` more of each signal are acknowledged, at most `msMax`. */
  async progress(bodies: number, msMax: number): Promise<void> {
    const tallies = Object.values(this.tallies);
    const wanted = tallies.map(({ acknowledged }) => acknowledged + bodies);
    const deadline = performance.now() + msMax;
    const isThere = () => tallies.every(({ acknowledged }, at) => acknowledged >= (wanted[at] ?? 0));
    while (!isThere() && performance.now() < deadline) await sleep(5);
  }

  /** Waits until every body that was made is acknowledged, makes no more, and ends the senders. */
  async finish(msMax: number): Promise<string> {
    this.#running = false;
    const timer = setTimeout(() => {
      this.#program = undefined;
      this.faults.push(`not all bodies were acknowledged within ${msMax} ms`);
      this.#gaveUp = true;
    }, msMax);
    await Promise.all(this.#lanes);
    clearTimeout(timer);
    this.#sender.close();
    return this.faults.slice(0, 5).join("\n");
  }

  #spanLane(transport: Transport): Promise<void> {
    return this.#lane("traces", transport, {
      next: () => (this.#takeBudget() ? this.#spanBody(transport) : undefined),
      acknowledged: ({ serial }) => this.#spans.add(serial),
      unanswered: () => {},
    });
  }

  #logLane(transport: Transport): Promise<void> {
    const isDue = everyMs(OTHER_EVERY_MS);
    const { acknowledged, unanswered } = this.#logs;
    return this.#lane("logs", transport, {
      next: () => {
        if (!isDue()) return undefined;
        const serial = ++this.#logs.sent;
        return { serial, bytes: logsBody(transport, serial, Date.now() + this.clockOffsetMs) };
      },
      acknowledged: ({ serial }) => acknowledged.add(serial),
      unanswered: ({ serial }) => unanswered.set(serial, (unanswered.get(serial) ?? 0) + 1),
    });
  }

  #sampleLane(signal: "metrics" | "samples", transport: Transport): Promise<void> {
    const isDue = everyMs(OTHER_EVERY_MS);
    const metric = METRIC_OF[signal];
    const ledger: LaneLedger = { metric, lane: this.#laneLedgers.length, timesMs: [], acknowledged: 0 };
    this.#laneLedgers.push(ledger);
    const stepMs = transport === "remote write 2" ? HISTORY_STEP_MS : 0;
    return this.#lane(signal, transport, {
      next: () => {
        if (!isDue()) return undefined;
        const nowMs = Date.now() + this.clockOffsetMs;
        const last = ledger.timesMs.at(-1) ?? nowMs - (stepMs === 0 ? 1 : HISTORY_MS);
        // A lane of history that has caught up goes on with the clock.
        const timeMs = stepMs > 0 && last + stepMs < nowMs ? last + stepMs : Math.max(last + 1, nowMs);
        const serial = ledger.timesMs.push(timeMs);
        return { serial, bytes: samplesBody(transport, metric, ledger.lane, { timeMs, value: serial }) };
      },
      acknowledged: () => {
        ledger.acknowledged++;
      },
      unanswered: () => {},
    });
  }

  async #lane(signal: Signal, transport: Transport, source: BodySource): Promise<void> {
    const tally = this.tallies[signal];
    let body: SentBody | undefined;
    while (!this.#gaveUp && (this.#running || body !== undefined)) {
      const program = this.#program;
      if (program !== undefined) {
        if (body !== undefined) tally.retries++;
        body ??= source.next();
      }
      if (program === undefined || body === undefined) {
        await sleep(5);
        continue;
      }
      const sinceMs = performance.now();
      const attempt = await this.#sender.send(program, signal, transport, body.bytes);
      switch (attempt.kind) {
        case "acknowledged":
          tally.acknowledged++;
          source.acknowledged(body);
          body = undefined;
          break;
        case "fault":
          this.faults.push(`${signal} over ${transport}: ${attempt.why}`);
          body = undefined;
          break;
        case "unanswered":
          source.unanswered(body);
          await sleep(RETRY_MS);
          break;
        case "refused":
          noteRefusal(tally, attempt, performance.now() - sinceMs);
          await sleep(RETRY_MS);
      }
    }
  }

  #takeBudget(): boolean {
    const nowMs = performance.now();
    const perMs = this.#options.spansPerSecond / 1000;
    this.#budget = Math.min(this.#budget + (nowMs - this.#budgetAtMs) * perMs, 200 * perMs + SPANS_PER_BODY);
    this.#budgetAtMs = nowMs;
    if (this.#budget < SPANS_PER_BODY) return false;
    this.#budget -= SPANS_PER_BODY;
    return true;
  }

  #spanBody(transport: Transport): SentBody {
    const serial = ++this.#serial;
    if (transport === "json") return { serial, bytes: this.#json(serial) };
    const template = this.#templates[serial % this.#templates.length];
    if (template === undefined) throw new Error("there are no bodies");
    const startNs = BigInt(Date.now() + this.clockOffsetMs) * 1_000_000n;
    const bytes = Buffer.from(freshen(template, serial, startNs));
    for (const at of template.traceIds.flat()) bytes.writeUInt32BE(serial, at);
    if (transport === "gzip") return { serial, bytes: gzipSync(bytes, { level: 1 }) };
    return { serial, bytes: transport === "zstd" ? zstdCompressSync(bytes) : bytes };
  }
}

interface BodySource {
  /** The next body; undefined where none is due. */
  next(): SentBody | undefined;
  acknowledged(body: SentBody): void;
  unanswered(body: SentBody): void;
}

function emptyTally(): Tally {
  return { acknowledged: 0, refused: 0, retries: 0, slowest: { ms: 0, why: "" } };
}

function noteRefusal(tally: Tally, { why }: Extract<Attempt, { kind: "refused" }>, ms: number): void {
  tally.refused++;
  if (ms > tally.slowest.ms) tally.slowest = { ms, why };
}

/** A question that is true once in `ms`. */
function everyMs(ms: number): () => boolean {
  let dueMs = 0;
  return () => {
    const nowMs = performance.now();
    if (nowMs < dueMs) return false;
    dueMs = nowMs + ms;
    return true;
  };
}
