/**
 * Senders of spans over all transports, with a ledger of what was acknowledged.
 *
 * A body holds whole traces whose ids start with its serial number. A body that was not acknowledged is sent again with
 * the same bytes until it is, as exporters do, over restarts too.
 */

import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { gzipSync } from "node:zlib";
import { freshen, SPANS_PER_BODY, type TemplateBody, templateBodies } from "../otlp-bodies.ts";
import { encodeBodies, TRANSPORTS, type Transport } from "../otlp-senders.ts";
import { type Program, sleep } from "../program.ts";

const SERIAL_HEX_DIGITS = 8;
const GRPC_PATH = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
/** UNAVAILABLE and RESOURCE_EXHAUSTED. */
const GRPC_RETRYABLE = new Set(["14", "8"]);
const HTTP_RETRYABLE = new Set([429, 502, 503, 504]);
const ANSWER_MS_MAX = 20_000;
const BODIES_PER_QUERY = 5_000;

/** What one attempt came to; an attempt without an answer is `unanswered`. */
type Attempt = "acknowledged" | "refused" | "unanswered" | { readonly fault: string };

interface SentBody {
  readonly serial: number;
  readonly bytes: Buffer;
}

/** How a load is sent. */
export interface LoadOptions {
  readonly spansPerSecond: number;
  readonly lanesPerTransport: number;
  readonly transports?: readonly Transport[];
  /** Added to the wall clock for the times of spans. */
  readonly clockOffsetMs?: number;
}

/** Senders that run until they are stopped; the program they send to may change. */
export class SpanLoad {
  /** Serials of bodies that were acknowledged. */
  readonly acknowledged = new Set<number>();
  /** Answers that a sender may not get for a good body. */
  readonly faults: string[] = [];
  clockOffsetMs: number;
  refusals = 0;
  /** The longest that a refusal took to arrive, in ms; set back by whoever looks. */
  slowestRefusalMs = 0;
  retries = 0;
  readonly #templates: TemplateBody[];
  readonly #json: (serial: number) => Buffer;
  readonly #options: LoadOptions;
  #program: Program | undefined;
  #serial = 0;
  #running = true;
  #sessions: { program: Program; session: ClientHttp2Session } | undefined;
  #lanes: Promise<void>[] = [];
  #budget = 0;
  #budgetAtMs = performance.now();

  constructor(options: LoadOptions) {
    this.#options = options;
    this.clockOffsetMs = options.clockOffsetMs ?? 0;
    this.#templates = templateBodies("semconv");
    this.#json = encodeBodies("semconv", "json");
  }

  /** Bodies that were made so far; their serials are 1 to this. */
  get sent(): number {
    return this.#serial;
  }

  get acknowledgedSpans(): number {
    return this.acknowledged.size * SPANS_PER_BODY;
  }

  /** Sends to a program from here on; undefined holds the senders. */
  sendTo(program: Program | undefined): void {
    this.#program = program;
    this.#budget = 0;
    this.#budgetAtMs = performance.now();
    if (this.#lanes.length > 0) return;
    const { lanesPerTransport, transports = TRANSPORTS } = this.#options;
    this.#lanes = transports.flatMap((transport) =>
      Array.from({ length: lanesPerTransport }, () => this.#lane(transport)),
    );
  }

  /** Waits until `bodies` more are acknowledged, at most `msMax`. */
  async progress(bodies: number, msMax: number): Promise<void> {
    const wanted = this.acknowledged.size + bodies;
    const deadline = performance.now() + msMax;
    while (this.acknowledged.size < wanted && performance.now() < deadline) await sleep(5);
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
    this.#sessions?.session.destroy();
    return this.faults.slice(0, 5).join("\n");
  }

  #gaveUp = false;

  async #lane(transport: Transport): Promise<void> {
    let body: SentBody | undefined;
    while (!this.#gaveUp && (this.#running || body !== undefined)) {
      const program = this.#program;
      if (program === undefined || (body === undefined && !this.#takeBudget())) {
        await sleep(5);
        continue;
      }
      if (body === undefined) body = this.#nextBody(transport);
      else this.retries++;
      const sinceMs = performance.now();
      const attempt = await this.#send(program, transport, body);
      if (attempt === "acknowledged") {
        this.acknowledged.add(body.serial);
        body = undefined;
      } else if (typeof attempt === "object") {
        this.faults.push(`${transport}: ${attempt.fault}`);
        body = undefined;
      } else {
        if (attempt === "refused") {
          this.refusals++;
          this.slowestRefusalMs = Math.max(this.slowestRefusalMs, performance.now() - sinceMs);
        }
        await sleep(50);
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

  #nextBody(transport: Transport): SentBody {
    const serial = ++this.#serial;
    if (transport === "json") return { serial, bytes: this.#json(serial) };
    const template = this.#templates[serial % this.#templates.length];
    if (template === undefined) throw new Error("there are no bodies");
    const startNs = BigInt(Date.now() + this.clockOffsetMs) * 1_000_000n;
    const bytes = Buffer.from(freshen(template, serial, startNs));
    for (const at of template.traceIds.flat()) bytes.writeUInt32BE(serial, at);
    return { serial, bytes: transport === "gzip" ? gzipSync(bytes, { level: 1 }) : bytes };
  }

  #send(program: Program, transport: Transport, body: SentBody): Promise<Attempt> {
    return transport === "grpc" ? this.#sendGrpc(program, body) : sendHttp(program, transport, body);
  }

  #sendGrpc(program: Program, body: SentBody): Promise<Attempt> {
    const session = this.#sessionOf(program);
    const framed = Buffer.alloc(5 + body.bytes.length);
    framed.writeUInt32BE(body.bytes.length, 1);
    body.bytes.copy(framed, 5);
    return new Promise((resolve) => {
      let status = "";
      let message = "";
      if (session.closed || session.destroyed) {
        resolve("unanswered");
        return;
      }
      const stream = session.request({
        ":method": "POST",
        ":path": GRPC_PATH,
        "content-type": "application/grpc",
        te: "trailers",
      });
      const note = (headers: Readonly<Record<string, unknown>>) => {
        status = String(headers["grpc-status"] ?? status);
        message = String(headers["grpc-message"] ?? message);
      };
      const timer = setTimeout(() => stream.destroy(), ANSWER_MS_MAX);
      stream.on("response", note).on("trailers", note);
      // A broken connection shows as a close without a status.
      stream.on("error", () => {});
      stream.on("close", () => {
        clearTimeout(timer);
        if (status === "0") resolve("acknowledged");
        else if (status === "") resolve("unanswered");
        else if (GRPC_RETRYABLE.has(status)) resolve("refused");
        else resolve({ fault: `status ${status}: ${message}` });
      });
      stream.resume();
      stream.end(framed);
    });
  }

  #sessionOf(program: Program): ClientHttp2Session {
    const known = this.#sessions;
    if (known?.program === program && !known.session.destroyed && !known.session.closed) return known.session;
    known?.session.destroy();
    const session = connectHttp2(`http://${program.otlpGrpc}`);
    session.on("error", () => {});
    this.#sessions = { program, session };
    return session;
  }
}

async function sendHttp(program: Program, transport: Transport, body: SentBody): Promise<Attempt> {
  try {
    const answer = await fetch(`${program.otlpHttp}/v1/traces`, {
      method: "POST",
      headers: {
        "content-type": transport === "json" ? "application/json" : "application/x-protobuf",
        ...(transport === "gzip" ? { "content-encoding": "gzip" } : {}),
      },
      body: new Uint8Array(body.bytes),
      signal: AbortSignal.timeout(ANSWER_MS_MAX),
    });
    const text = await answer.text();
    if (answer.status === 200) return "acknowledged";
    return HTTP_RETRYABLE.has(answer.status)
      ? "refused"
      : { fault: `answered ${answer.status}: ${text.slice(0, 200)}` };
  } catch {
    // The program was killed or has stopped: there is no answer.
    return "unanswered";
  }
}

/**
 * Compares what a program holds with what was acknowledged.
 *
 * @param acknowledged Serials of which every span must be there, once.
 * @param sent The highest serial that was made; bodies up to it may be there whole, once.
 * @returns What is wrong; empty where nothing is.
 */
export async function ledgerFault(program: Program, acknowledged: ReadonlySet<number>, sent: number): Promise<string> {
  const found = new Set<number>();
  const faults: string[] = [];
  const body = `substr(trace_id, 1, ${SERIAL_HEX_DIGITS})`;
  for (let from = 0; ; from += BODIES_PER_QUERY) {
    const rows = await program.sql(
      `SELECT ${body} AS body, count(*) AS n, count(DISTINCT trace_id || span_id) AS d FROM spans
       GROUP BY body ORDER BY body LIMIT ${BODIES_PER_QUERY} OFFSET ${from}`,
    );
    for (const [serialHex, spans, different] of rows) {
      const serial = Number.parseInt(String(serialHex), 16);
      found.add(serial);
      if (serial < 1 || serial > sent) faults.push(`body ${serial} was never sent`);
      if (Number(different) !== Number(spans)) faults.push(`body ${serial}: ${spans} spans, ${different} different`);
      else if (Number(spans) !== SPANS_PER_BODY) faults.push(`body ${serial}: ${spans} of ${SPANS_PER_BODY} spans`);
    }
    if (rows.length < BODIES_PER_QUERY) break;
  }
  const lost = [...acknowledged].filter((serial) => !found.has(serial));
  if (lost.length > 0) faults.unshift(`${lost.length} acknowledged bodies are gone, such as ${lost[0]}`);
  return faults.slice(0, 10).join("\n");
}
