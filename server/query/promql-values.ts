/** Results of instant queries as values: what rules take, which no JSON could carry as exactly. */

import type { EvaluatedSample, EvaluateOutcome, RenderedAnswer } from "./doors.ts";
import type { PromqlOutcome } from "./promql/query.ts";
import { renderError } from "./promql/render.ts";
import { histogramAt } from "./promql/step-vector.ts";

/** What a worker answers: rendered, or with `samples` in place of a body. */
export interface WorkerAnswer extends RenderedAnswer {
  readonly samples?: readonly EvaluatedSample[] | undefined;
  readonly warnings?: readonly string[] | undefined;
}

/** The samples of an instant query; a scalar is one without labels. */
export function valuesAnswer({ result, warnings }: PromqlOutcome): WorkerAnswer {
  const samples = samplesOf(result);
  if (samples === undefined) return renderError("execution", "rule result is not a vector or scalar");
  return { status: 200, body: new Uint8Array(0), samples, warnings };
}

function samplesOf(result: PromqlOutcome["result"]): readonly EvaluatedSample[] | undefined {
  if (result.kind === "scalar") return [{ labels: [], value: result.value, histogram: undefined }];
  if (result.kind !== "vector") return undefined;
  return result.series.map((series) => ({
    labels: series.labels,
    value: series.values[0] ?? Number.NaN,
    histogram: histogramAt(series, 0),
  }));
}

/** What a worker answered to a query whose values were wanted. */
export function readValues({ samples, warnings = [], body, errorType }: WorkerAnswer): EvaluateOutcome {
  if (samples !== undefined) return { kind: "samples", samples, warnings };
  const { error }: { error: string } = JSON.parse(new TextDecoder().decode(body));
  return { kind: "failed", errorType: errorType ?? "internal", message: error };
}
