/**
 * Senders of OTLP that do not wait for each other: as many requests a second as they are told, traces, logs and metrics,
 * over HTTP and gRPC, with a ledger of what was answered.
 */

import { readFileSync } from "node:fs";
import { type ClientHttp2Session, connect as connectHttp2 } from "node:http2";
import { createConnection, type Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import {
  freshen,
  SPANS_PER_BODY,
  type TemplateBody,
  templateBodies,
  writeTextAttribute,
} from "../conformance/otlp-bodies.ts";
import type { Program } from "../conformance/program.ts";
import { ProtobufWriter } from "../server/wire/protobuf-writer.ts";

/** What is sent, each by senders of its own. */
export const SIGNALS = ["traces", "logs", "metrics"] as const;
type Signal = (typeof SIGNALS)[number];

const GRPC_SESSIONS = 8;
const GRPC_EVERY = 4;
const GRPC_PREFIX_BYTES = 5;
/**
 * MB of a connection. With more under way than the 10 MB that Node lets a client hold, it drops the answers of its own
 * calls, which then look as if there were none.
 */
const SESSION_MB_MAX = 1_000;
/** A request without an answer for so long is a fault. */
const ANSWER_MS_MAX = 30_000;
const RETRY_INFO = "google.rpc.RetryInfo";
const METHODS: Readonly<Record<Signal, string>> = {
  traces: "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
  logs: "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
  metrics: "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
};
/** Of ten requests, as a collector of all three sends them. */
const MIX: readonly Signal[] = [
  "traces",
  "traces",
  "traces",
  "logs",
  "traces",
  "traces",
  "traces",
  "metrics",
  "traces",
  "traces",
];
const TIME_MARK = 0xa4;

/** What went by since the last look. */
export interface Flow {
  readonly seconds: number;
  readonly sentItems: number;
  readonly acknowledgedItems: number;
  readonly refused: number;
  readonly refusalP99Ms: number;
}

/** How to send: so many requests under way at most, so many items a second. */
interface Pace {
  readonly lanes: number;
  readonly rate: number;
}

/** A load while it runs. */
interface Sending {
  take(): Flow;
  /** Waits for what is under way. */
  stop(): Promise<void>;
}

/** What an answer comes to; `fault` where a sender could not go on with it. */
type Answer = "acknowledged" | "refused" | { readonly fault: string };

/** Sends to one program. */
export class OverloadSenders {
  /** Answers that were neither success nor a refusal to be tried again. */
  readonly faults: string[] = [];
  readonly #program: Program;
  readonly #templates: readonly TemplateBody[] = templateBodies("semconv");
  readonly #logs = logsBody();
  readonly #metrics = metricsBody();
  readonly #items: Record<Signal, { acknowledged: number; unanswered: number }> = {
    traces: { acknowledged: 0, unanswered: 0 },
    logs: { acknowledged: 0, unanswered: 0 },
    metrics: { acknowledged: 0, unanswered: 0 },
  };
  readonly #sessions = new Map<number, ClientHttp2Session>();
  #serial = 0;
  #sent = 0;
  #acknowledged = 0;
  #refused = 0;
  #refusalMs: number[] = [];
  #sinceMs = performance.now();

  constructor(program: Program) {
    this.#program = program;
  }

  /** Items of a signal that were acknowledged, and those whose request got no answer. */
  items(signal: Signal): { readonly acknowledged: number; readonly unanswered: number } {
    return this.#items[signal];
  }

  /** The most memory that the program had resident, in MiB. */
  peakMiB(): number {
    return Number(/VmHWM:\s+(\d+)/.exec(readFileSync(`/proc/${this.#program.pid}/status`, "utf8"))?.[1] ?? 0) / 1024;
  }

  start({ lanes, rate }: Pace): Sending {
    let running = true;
    let budget = 0;
    let atMs = performance.now();
    const take = () => {
      const nowMs = performance.now();
      budget = Math.min(budget + ((nowMs - atMs) * rate) / 1000, rate / 4 + SPANS_PER_BODY);
      atMs = nowMs;
      if (budget < SPANS_PER_BODY) return false;
      budget -= SPANS_PER_BODY;
      return true;
    };
    this.take();
    const all = Array.from({ length: lanes }, async (_, lane) => {
      const send = lane % GRPC_EVERY === 0 ? this.#grpcLane(lane) : await this.#httpLane();
      while (running) {
        if (take()) await this.#one(send);
        else await sleep(5);
      }
      send.end();
    });
    return {
      take: () => this.take(),
      stop: async () => {
        running = false;
        await Promise.all(all);
        for (const session of this.#sessions.values()) session.destroy();
        this.#sessions.clear();
      },
    };
  }

  take(): Flow {
    const nowMs = performance.now();
    const sorted = this.#refusalMs.toSorted((a, b) => a - b);
    const flow = {
      seconds: (nowMs - this.#sinceMs) / 1000,
      sentItems: this.#sent,
      acknowledgedItems: this.#acknowledged,
      refused: this.#refused,
      refusalP99Ms: sorted[Math.floor(sorted.length * 0.99)] ?? 0,
    };
    this.#sinceMs = nowMs;
    this.#sent = 0;
    this.#acknowledged = 0;
    this.#refused = 0;
    this.#refusalMs = [];
    return flow;
  }

  async #one(lane: Lane): Promise<void> {
    const serial = ++this.#serial;
    const signal = MIX[serial % MIX.length] ?? "traces";
    const sentMs = performance.now();
    this.#sent += SPANS_PER_BODY;
    const answer = await lane.send(signal, this.#body(signal, serial));
    if (answer === "acknowledged") {
      this.#acknowledged += SPANS_PER_BODY;
      this.#items[signal].acknowledged += SPANS_PER_BODY;
    } else if (answer === "refused") {
      this.#refused++;
      this.#refusalMs.push(performance.now() - sentMs);
    } else {
      this.#items[signal].unanswered += SPANS_PER_BODY;
      this.faults.push(`${signal}: ${answer.fault}`);
      await sleep(100);
    }
  }

  /** Bytes that the next call may write over. */
  #body(signal: Signal, serial: number): Buffer {
    if (signal === "logs") return this.#logs;
    const nowNs = BigInt(Date.now()) * 1_000_000n;
    if (signal === "metrics") {
      for (const at of this.#metrics.times) this.#metrics.bytes.writeBigUInt64LE(nowNs, at);
      return this.#metrics.bytes;
    }
    const template = this.#templates[serial % this.#templates.length];
    if (template === undefined) throw new Error("there are no bodies");
    return freshen(template, serial, nowNs);
  }

  async #httpLane(): Promise<Lane> {
    return new HttpLane(this.#program.otlpHttp.replace("http://", ""));
  }

  #grpcLane(lane: number): Lane {
    const slot = (lane / GRPC_EVERY) % GRPC_SESSIONS;
    const { otlpGrpc } = this.#program;
    const buffer = new LaneBuffer();
    return {
      end: () => {},
      send: (signal, body) => {
        let session = this.#sessions.get(slot);
        if (session === undefined || session.destroyed || session.closed) {
          session = connectHttp2(`http://${otlpGrpc}`, { maxSessionMemory: SESSION_MB_MAX });
          session.on("error", () => {});
          this.#sessions.set(slot, session);
        }
        return callGrpc(session, signal, buffer.take(grpcPrefix(body.length), body));
      },
    };
  }
}

/**
 * The memory of a lane's requests, used again by the next one: where each were in memory of its own, most of what sending
 * costs would be getting that.
 */
class LaneBuffer {
  #bytes = Buffer.alloc(0);
  #isFree = true;

  /** Copies a request into it: `head`, then `body`. `sent` is to be called once all of it was sent. */
  take(head: Uint8Array, body: Uint8Array): { readonly bytes: Buffer; readonly sent: () => void } {
    const length = head.length + body.length;
    // Answered before all was sent: those bytes belong to the socket still.
    if (!this.#isFree || this.#bytes.length < length) this.#bytes = Buffer.allocUnsafeSlow(2 * length);
    const whole = this.#bytes;
    this.#isFree = false;
    whole.set(head);
    whole.set(body, head.length);
    const sent = () => {
      if (this.#bytes === whole) this.#isFree = true;
    };
    return { bytes: whole.subarray(0, length), sent };
  }
}

interface Lane {
  /** @param body Copied before it returns. */
  send(signal: Signal, body: Buffer): Promise<Answer>;
  end(): void;
}

/** One connection, opened again where the server closed it. */
class HttpLane implements Lane {
  readonly #address: string;
  readonly #buffer = new LaneBuffer();
  #socket: Socket | undefined;

  constructor(address: string) {
    this.#address = address;
  }

  end(): void {
    this.#socket?.destroy();
  }

  send(signal: Signal, body: Buffer): Promise<Answer> {
    const [host = "", port = ""] = this.#address.split(":");
    const known = this.#socket;
    const socket =
      known === undefined || known.destroyed ? createConnection({ host, port: Number(port), noDelay: true }) : known;
    this.#socket = socket;
    return new Promise((resolve) => {
      let answer = "";
      const timer = setTimeout(() => {
        socket.destroy();
        end({ fault: `no answer after ${ANSWER_MS_MAX} ms` });
      }, ANSWER_MS_MAX);
      const end = (outcome: Answer) => {
        clearTimeout(timer);
        socket.removeAllListeners();
        socket.on("error", () => {});
        resolve(outcome);
      };
      socket.on("error", (error) => {
        socket.destroy();
        end({ fault: `no answer: ${error.message}` });
      });
      socket.on("close", () => end({ fault: "the connection ended without an answer" }));
      socket.on("data", (chunk: Buffer) => {
        answer += chunk.toString("latin1");
        const bodyAt = answer.indexOf("\r\n\r\n") + 4;
        const length = Number(/content-length: (\d+)/i.exec(answer)?.[1] ?? 0);
        if (bodyAt < 4 || answer.length < bodyAt + length) return;
        if (/^connection: close/im.test(answer.slice(0, bodyAt))) socket.destroy();
        end(httpAnswer(answer));
      });
      const head = `POST /v1/${signal} HTTP/1.1\r\nhost: ${this.#address}\r\ncontent-type: application/x-protobuf\r\ncontent-length: ${body.length}\r\n\r\n`;
      const { bytes, sent } = this.#buffer.take(Buffer.from(head, "latin1"), body);
      socket.write(bytes, sent);
    });
  }
}

function httpAnswer(answer: string): Answer {
  const status = answer.slice(9, 12);
  if (status === "200") return "acknowledged";
  const isRetryable = (status === "503" || status === "429") && /^retry-after: \d+/im.test(answer);
  return isRetryable ? "refused" : { fault: `status ${status}: ${answer.slice(-200)}` };
}

function grpcPrefix(bodyBytes: number): Buffer {
  const prefix = Buffer.alloc(GRPC_PREFIX_BYTES);
  prefix.writeUInt32BE(bodyBytes, 1);
  return prefix;
}

function callGrpc(
  session: ClientHttp2Session,
  signal: Signal,
  { bytes, sent }: ReturnType<LaneBuffer["take"]>,
): Promise<Answer> {
  return new Promise((resolve) => {
    const stream = session.request({
      ":method": "POST",
      ":path": METHODS[signal],
      "content-type": "application/grpc",
      te: "trailers",
    });
    let status = "";
    let message = "";
    let details = "";
    const timer = setTimeout(() => stream.destroy(), ANSWER_MS_MAX);
    const note = (headers: Readonly<Record<string, unknown>>) => {
      status = String(headers["grpc-status"] ?? status);
      message = String(headers["grpc-message"] ?? message);
      details = Buffer.from(String(headers["grpc-status-details-bin"] ?? ""), "base64").toString("latin1");
    };
    stream.on("response", note).on("trailers", note);
    stream.on("error", () => {});
    stream.on("close", () => {
      clearTimeout(timer);
      if (status === "0") resolve("acknowledged");
      else if ((status === "14" || status === "8") && details.includes(RETRY_INFO)) resolve("refused");
      else resolve({ fault: `grpc-status ${status === "" ? "absent" : status}: ${message} (${stream.rstCode})` });
    });
    stream.resume();
    stream.end(bytes, sent);
  });
}

function logsBody(): Buffer {
  const writer = new ProtobufWriter();
  const resourceLogs = writer.openMessage(1);
  const scopeLogs = writer.openMessage(2);
  for (let index = 0; index < SPANS_PER_BODY; index++) {
    const record = writer.openMessage(2);
    writer.writeFixed64(1, BigInt(Date.now()) * 1_000_000n);
    writer.writeUint32(2, 9);
    const body = writer.openMessage(5);
    writer.writeText(1, `request ${index} was answered after ${index % 97} ms`);
    writer.closeMessage(body);
    writeTextAttribute(writer, 6, "thread.name", `worker-${index % 16}`);
    writer.closeMessage(record);
  }
  writer.closeMessage(scopeLogs);
  writer.closeMessage(resourceLogs);
  return Buffer.from(writer.take());
}

/** Gauges, and where their times stand. */
function metricsBody(): { readonly bytes: Buffer; readonly times: readonly number[] } {
  const writer = new ProtobufWriter();
  const resourceMetrics = writer.openMessage(1);
  const resource = writer.openMessage(1);
  writeTextAttribute(writer, 1, "service.name", "overload");
  writer.closeMessage(resource);
  const scopeMetrics = writer.openMessage(2);
  const metric = writer.openMessage(2);
  writer.writeText(1, "overload_depth");
  const gauge = writer.openMessage(5);
  for (let index = 0; index < SPANS_PER_BODY; index++) {
    const point = writer.openMessage(1);
    writer.writeFixed64(3, BigInt(`0x${TIME_MARK.toString(16).repeat(8)}`));
    writer.writeDouble(4, index);
    writeTextAttribute(writer, 7, "queue", `queue-${index}`);
    writer.closeMessage(point);
  }
  for (const opened of [gauge, metric, scopeMetrics, resourceMetrics]) writer.closeMessage(opened);
  const bytes = Buffer.from(writer.take());
  const times: number[] = [];
  const mark = Buffer.alloc(8, TIME_MARK);
  for (let at = bytes.indexOf(mark); at >= 0; at = bytes.indexOf(mark, at + 8)) times.push(at);
  return { bytes, times };
}
