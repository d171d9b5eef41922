/** Templates of labels and annotations, with the variables that Prometheus puts before them. */

import type { EvaluatedSample } from "../query/doors.ts";
import { printHistogram } from "../query/promql/histogram/histogram-text.ts";
import { expandTemplate } from "./template/template-run.ts";
import { type TemplateList, type TemplateStruct, type TemplateValue, textMap } from "./template/template-value.ts";

const VARIABLES =
  "{{$labels := .Labels}}{{$externalLabels := .ExternalLabels}}{{$externalURL := .ExternalURL}}{{$value := .Value}}";
const DATA_TYPE =
  "struct { Labels map[string]string; ExternalLabels map[string]string; ExternalURL string; Value interface {} }";

/** What templates may ask of the rest of the program. */
export interface AlertTemplateScope {
  readonly nowMs: number;
  /** Without a slash at the end. */
  readonly externalUrl: string;
  readonly externalLabels: readonly (readonly [string, string])[];
  /** The answer to a PromQL text at `nowMs`. @throws Error in the words to be shown. */
  readonly query: (text: string) => Promise<readonly EvaluatedSample[]>;
}

/** A template with `$labels`, `$externalLabels`, `$externalURL` and `$value` in sight. */
export function alertTemplate(text: string): string {
  return VARIABLES + text;
}

/**
 * Expands a template for one sample of an alerting rule.
 *
 * @throws TemplateError in Prometheus' words.
 */
export function expandAlertTemplate(
  alert: string,
  text: string,
  sample: EvaluatedSample,
  scope: AlertTemplateScope,
): Promise<string> {
  // Most texts are no templates, and many alerts share them.
  if (!text.includes("{{")) return Promise.resolve(text);
  const data: TemplateStruct = {
    kind: "struct",
    type: DATA_TYPE,
    fields: new Map<string, TemplateValue>([
      ["Labels", textMap(sample.labels)],
      ["ExternalLabels", textMap(scope.externalLabels)],
      ["ExternalURL", scope.externalUrl],
      ["Value", sampleValue(sample)],
    ]),
  };
  return expandTemplate(`__alert_${alert}`, alertTemplate(text), {
    data,
    nowMs: scope.nowMs,
    externalUrl: scope.externalUrl,
    query: async (query) => listOf(await scope.query(query)),
  });
}

function sampleValue({ value, histogram }: EvaluatedSample): TemplateValue {
  return histogram === undefined ? value : { kind: "histogram", text: printHistogram(histogram) };
}

function listOf(samples: readonly EvaluatedSample[]): TemplateList {
  return {
    kind: "list",
    items: samples.map((sample) => ({
      kind: "struct",
      type: "*template.sample",
      fields: new Map<string, TemplateValue>([
        ["Labels", textMap(sample.labels)],
        ["Value", sampleValue(sample)],
      ]),
    })),
  };
}
