/** Results and errors as the JSON of Prometheus' HTTP API. */

import { ThalwegError } from "../../model/errors.ts";
import type { Labels } from "../../model/series.ts";
import type { RenderedAnswer } from "../doors.ts";
import { printPlainNumber, printSample, printSeconds } from "./number-text.ts";
import { isBadQuery, type PromqlOutcome, type PromqlResult, type SampleSeries } from "./query.ts";
import { PromqlExecutionError } from "./query-error.ts";
import { type StepGrid, type StepSeries, stepTimeMs } from "./step-vector.ts";

/** Characters of a piece of JSON before it is turned into bytes. */
const PIECE_LENGTH = 65_536;

/** Prometheus' kinds of errors that queries have. */
export type PromqlErrorType = "bad_data" | "execution" | "timeout" | "canceled" | "internal";

const STATUS_OF: Readonly<Record<PromqlErrorType, number>> = {
  bad_data: 400,
  execution: 422,
  timeout: 503,
  canceled: 499,
  internal: 500,
};

/** A successful answer. */
export function renderOutcome(outcome: PromqlOutcome): RenderedAnswer {
  const json = new JsonBytes();
  json.add('{"status":"success","data":{"resultType":"');
  renderResult(outcome.result, json);
  json.add("}");
  if (outcome.warnings.length > 0) json.add(`,"warnings":${JSON.stringify(outcome.warnings)}`);
  if (outcome.infos.length > 0) json.add(`,"infos":${JSON.stringify(outcome.infos)}`);
  json.add("}");
  return { status: 200, body: json.finish() };
}

/** An error answer; `status` where it is not the usual one of its kind. */
export function renderError(type: PromqlErrorType | "unavailable", message: string, status?: number): RenderedAnswer {
  const body = JSON.stringify({ status: "error", errorType: type, error: message });
  return { status: status ?? (type === "unavailable" ? 503 : STATUS_OF[type]), body: new TextEncoder().encode(body) };
}

/** The answer to a query that threw; undefined where the error is a bug of ours. */
export function renderFailure(cause: unknown): RenderedAnswer | undefined {
  if (isBadQuery(cause)) return renderError("bad_data", `invalid parameter "query": ${cause.message}`);
  if (cause instanceof PromqlExecutionError) return renderError("execution", cause.message);
  if (!(cause instanceof ThalwegError)) return undefined;
  if (cause.code === "query_timeout") return renderError("timeout", "query timed out in query execution");
  if (cause.code === "query_busy") return renderError("unavailable", cause.message);
  return renderError("execution", cause.message);
}

/** Grows by pieces, so that no string becomes as long as the answer. */
class JsonBytes {
  readonly #encoder = new TextEncoder();
  readonly #pieces: Uint8Array[] = [];
  #text = "";
  #length = 0;

  add(text: string): void {
    this.#text += text;
    if (this.#text.length >= PIECE_LENGTH) this.#flush();
  }

  #flush(): void {
    const piece = this.#encoder.encode(this.#text);
    this.#pieces.push(piece);
    this.#length += piece.length;
    this.#text = "";
  }

  finish(): Uint8Array {
    this.#flush();
    const whole = new Uint8Array(this.#length);
    let at = 0;
    for (const piece of this.#pieces) {
      whole.set(piece, at);
      at += piece.length;
    }
    return whole;
  }
}

function renderResult(result: PromqlResult, json: JsonBytes): void {
  switch (result.kind) {
    case "scalar":
      json.add(`scalar","result":[${printSeconds(result.timeMs)},"${printPlainNumber(result.value)}"]`);
      return;
    case "string":
      json.add(`string","result":[${printSeconds(result.timeMs)},${JSON.stringify(result.value)}]`);
      return;
    case "vector":
      json.add('vector","result":[');
      renderVector(result.series, result.timeMs, json);
      json.add("]");
      return;
    case "steps":
      json.add('matrix","result":[');
      renderSteps(result.series, result.grid, json);
      json.add("]");
      return;
    case "samples":
      json.add('matrix","result":[');
      renderSamples(result.series, json);
      json.add("]");
  }
}

function renderLabels(labels: Labels): string {
  return `{${labels.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(",")}}`;
}

function renderVector(series: readonly StepSeries[], timeMs: number, json: JsonBytes): void {
  const time = printSeconds(timeMs);
  let separator = "";
  for (const one of series) {
    if (one.present[0] !== 1) continue;
    json.add(
      `${separator}{"metric":${renderLabels(one.labels)},"value":[${time},"${printSample(one.values[0] ?? 0)}"]}`,
    );
    separator = ",";
  }
}

/** Times are printed once and used for every series. */
function renderSteps(series: readonly StepSeries[], grid: StepGrid, json: JsonBytes): void {
  const heads = Array.from({ length: grid.steps }, (_, k) => `[${printSeconds(stepTimeMs(grid, k))},"`);
  let first = true;
  for (const one of series) {
    json.add(`${first ? "" : ","}{"metric":${renderLabels(one.labels)},"values":[`);
    first = false;
    let text = "";
    for (let k = 0; k < grid.steps; k++) {
      if (one.present[k] !== 1) continue;
      text += `${text === "" ? "" : ","}${heads[k]}${printSample(one.values[k] ?? 0)}"]`;
    }
    json.add(`${text}]}`);
  }
}

function renderSamples(series: readonly SampleSeries[], json: JsonBytes): void {
  let separator = "";
  for (const one of series) {
    json.add(`${separator}{"metric":${renderLabels(one.labels)},"values":[`);
    separator = ",";
    for (let i = 0; i < one.values.length; i++) {
      json.add(`${i === 0 ? "" : ","}[${printSeconds(one.timestampsMs[i] ?? 0)},"${printSample(one.values[i] ?? 0)}"]`);
    }
    json.add("]}");
  }
}
