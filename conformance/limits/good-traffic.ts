/** Thread that sends good spans over HTTP and gRPC and asks good questions, and keeps how long each took. */

import { connect } from "node:http2";
import { parentPort, workerData } from "node:worker_threads";
import { freshen, SPANS_PER_BODY, type TemplateBody, templateBodies } from "../otlp-bodies.ts";
import { sleep } from "../program.ts";
import { callOver } from "./grpc-bombs.ts";

const EVERY_MS = 40;
const LIGHT_EVERY_MS = 200;
const LIGHT_SPANS = 16;
const QUERIES = [
  "/api/v1/query?query=sum%20by%20(service)%20(rate(traces_spanmetrics_calls_total%5B1m%5D))",
  "/api/v1/query?query=histogram_quantile(0.9,%20sum%20by%20(le)%20(rate(traces_spanmetrics_latency_bucket%5B1m%5D)))",
  "/api/v1/labels",
  "/readyz",
];

/** Where it goes. */
export interface TrafficOptions {
  /** Address of the page and the API, with its scheme. */
  readonly http: string;
  readonly otlpHttp: string;
  /** `HOST:PORT`. */
  readonly otlpGrpc: string;
  /** A trickle, which alone fills neither caches nor memory, so that what others cost shows. */
  readonly isLight?: boolean;
}

/** Milliseconds of requests that were answered, and what was answered otherwise than with success. */
export interface TrafficSeen {
  readonly writesMs: readonly number[];
  readonly queriesMs: readonly number[];
  readonly faults: readonly string[];
  /** Spans that were acknowledged, of all time. */
  readonly spans: number;
}

class Traffic {
  readonly #options: TrafficOptions;
  readonly #templates: readonly TemplateBody[];
  readonly #spansPerBody: number;
  readonly #everyMs: number;
  #writesMs: number[] = [];
  #queriesMs: number[] = [];
  #faults: string[] = [];
  #spans = 0;
  #serial = 0;
  #running = true;
  readonly #done: Promise<unknown>;

  constructor(options: TrafficOptions) {
    this.#options = options;
    const isLight = options.isLight === true;
    this.#spansPerBody = isLight ? LIGHT_SPANS : SPANS_PER_BODY;
    this.#everyMs = isLight ? LIGHT_EVERY_MS : EVERY_MS;
    this.#templates = templateBodies("semconv", this.#spansPerBody);
    const session = connect(`http://${options.otlpGrpc}`);
    const overHttp = () => this.#writeHttp();
    const overGrpc = async () => {
      const { outcome, text } = await callOver(session, { message: this.#body() });
      return outcome === "grpc 0" ? "" : `gRPC: ${outcome} ${text}`;
    };
    let asked = 0;
    const ask = async () => {
      const answer = await fetch(`${options.http}${QUERIES[asked++ % QUERIES.length]}`);
      const text = await answer.text();
      return answer.ok ? "" : `a query: ${answer.status} ${text.slice(0, 200)}`;
    };
    this.#done = Promise.all([
      this.#repeat(overHttp, (ms) => this.#wrote(ms)),
      this.#repeat(overGrpc, (ms) => this.#wrote(ms)),
      this.#repeat(ask, (ms) => this.#queriesMs.push(ms)),
    ]).finally(() => session.destroy());
  }

  take(): TrafficSeen {
    const seen = { writesMs: this.#writesMs, queriesMs: this.#queriesMs, faults: this.#faults, spans: this.#spans };
    this.#writesMs = [];
    this.#queriesMs = [];
    this.#faults = [];
    return seen;
  }

  async stop(): Promise<TrafficSeen> {
    this.#running = false;
    await this.#done;
    return this.take();
  }

  async #repeat(send: () => Promise<string>, note: (ms: number) => void): Promise<void> {
    while (this.#running) {
      const sinceMs = performance.now();
      const fault = await send().catch((error: unknown) => String(error));
      if (fault === "") note(performance.now() - sinceMs);
      else this.#faults.push(fault);
      await sleep(Math.max(1, this.#everyMs - (performance.now() - sinceMs)));
    }
  }

  #wrote(ms: number): void {
    this.#writesMs.push(ms);
    this.#spans += this.#spansPerBody;
  }

  #body(): Buffer {
    const serial = ++this.#serial;
    const template = this.#templates[serial % this.#templates.length];
    if (template === undefined) throw new Error("there are no bodies");
    return Buffer.from(freshen(template, serial, BigInt(Date.now()) * 1_000_000n));
  }

  async #writeHttp(): Promise<string> {
    const answer = await fetch(`${this.#options.otlpHttp}/v1/traces`, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf" },
      body: new Uint8Array(this.#body()),
    });
    const text = await answer.text();
    return answer.status === 200 ? "" : `HTTP: ${answer.status} ${text.slice(0, 200)}`;
  }
}

if (parentPort !== null) {
  const port = parentPort;
  // The one who starts the thread gives it these.
  const traffic = new Traffic(workerData as TrafficOptions);
  port.on("message", (what: "take" | "stop") => {
    if (what === "take") port.postMessage(traffic.take());
    else void traffic.stop().then((seen) => port.postMessage(seen));
  });
}
