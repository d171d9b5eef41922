/**
 * The thread in which PromQL is evaluated and answers are rendered.
 *
 * It gets plain data and gives bytes; it knows neither store nor clock of the main thread.
 */

import { parentPort } from "node:worker_threads";
import type { RenderedAnswer } from "./doors.ts";
import { type PackedSamples, unpackSamples } from "./promql/packed-samples.ts";
import { evaluateQuery, type PromqlQuery, planQuery } from "./promql/query.ts";
import { type AnswerCut, renderFailure, renderOutcome } from "./promql/render.ts";

/** A query with the samples that its plan asked for. */
export interface WorkerRequest {
  readonly id: number;
  readonly query: PromqlQuery;
  readonly cut: AnswerCut;
  readonly samples: PackedSamples;
}

/** The rendered answer to the request of that id. */
export interface WorkerReply extends RenderedAnswer {
  readonly id: number;
}

const clock = { monotonicMs: () => performance.now() };

function answer(request: WorkerRequest): RenderedAnswer {
  try {
    const plan = planQuery(request.query);
    return renderOutcome(evaluateQuery(request.query, plan, unpackSamples(request.samples), clock), request.cut);
  } catch (cause) {
    const failure = renderFailure(cause);
    if (failure === undefined) throw cause; // a bug: the worker dies, the main thread answers and starts another
    return failure;
  }
}

parentPort?.on("message", (request: WorkerRequest) => {
  const { status, body } = answer(request);
  const reply: WorkerReply = { id: request.id, status, body };
  parentPort?.postMessage(reply, [body.buffer as ArrayBuffer]); // made by the renderer
});
