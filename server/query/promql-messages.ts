/** What main thread and PromQL worker tell each other: plain data, and buffers that are handed over. */

import type { PromqlExpression } from "../../grammar/promql-tree.ts";
import type { Matcher } from "../model/series.ts";
import type { WindowSource } from "../store/reader.ts";
import type { PackedChunks } from "./promql/chunked-series.ts";
import type { PackedNewest } from "./promql/newest-samples.ts";
import type { PackedSamples } from "./promql/packed-samples.ts";
import type { PromqlQuery, PromqlSettings } from "./promql/query.ts";
import type { AnswerShow } from "./promql/render.ts";
import type { PackedNumbers, WindowCall } from "./promql/window-numbers.ts";
import type { WorkerAnswer } from "./promql-values.ts";

/** What a worker is made with. */
export interface WorkerStart {
  /** Buffer of `QueryCells`. */
  readonly cells: SharedArrayBuffer;
  /** Which worker of the door this is. */
  readonly slot: number;
  readonly limits: WorkerLimits;
}

/** What workers may hold. */
export interface WorkerLimits {
  /** Values of all queries together. */
  readonly valuesMax: number;
  /** JavaScript's heap of all workers together: labels, texts, what is in between. */
  readonly heapBytesMax: number;
  /** Bytes of one answer. */
  readonly answerBytesMax: number;
}

/** What is wanted of a text that is not evaluated. */
export type TextWish = "format" | "tree" | "selectors";

/** Some series of the selection of that index, the newest samples of some, or what its range function makes of some. */
export type SelectedPart =
  | {
      readonly kind: "samples";
      readonly id: number;
      readonly selection: number;
      readonly samples: PackedSamples;
    }
  | {
      readonly kind: "newest";
      readonly id: number;
      readonly selection: number;
      readonly newest: PackedNewest;
    }
  | {
      readonly kind: "chunks";
      readonly id: number;
      readonly selection: number;
      readonly chunks: PackedChunks;
    }
  | {
      readonly kind: "numbers";
      readonly id: number;
      readonly selection: number;
      readonly numbers: PackedNumbers;
    };

/** Main thread to worker. Everything of one job carries its id; a job ends with an answer or with `forget`. */
export type ToWorker =
  | {
      readonly kind: "plan";
      readonly id: number;
      readonly query: PromqlQuery;
      /** How the answer is rendered; `values` where it is not. */
      readonly show: AnswerShow | "values";
    }
  | SelectedPart
  /** All series are there with the last of the parts, which comes along: a message wakes a thread. */
  | {
      readonly kind: "evaluate";
      readonly last: SelectedPart | undefined;
      readonly id: number;
      readonly timeoutMs: number;
      readonly queueMs: number;
      readonly selectMs: number;
    }
  | { readonly kind: "forget"; readonly id: number }
  | {
      readonly kind: "text";
      readonly id: number;
      readonly text: string;
      readonly wish: TextWish;
      readonly settings: PromqlSettings;
    };

/** Which series a query needs, from when to when, both ends included. */
export interface SelectionWindow {
  readonly matchers: readonly Matcher[];
  readonly minMs: number;
  readonly maxMs: number;
  /** Of each series only the newest sample is looked at. */
  readonly isNewest: boolean;
  /** Of each series only what this makes of it is looked at. */
  readonly call?: WindowCall | undefined;
  /** Undefined for the samples themselves. */
  readonly source?: WindowSource | undefined;
}

/** Worker to main thread. */
export type FromWorker =
  | {
      readonly kind: "selections";
      readonly id: number;
      readonly selections: readonly SelectionWindow[];
      /** What the text was parsed to, where the main thread may evaluate it the next time. */
      readonly tree: PromqlExpression | undefined;
    }
  | {
      readonly kind: "answer";
      readonly id: number;
      readonly answer: WorkerAnswer;
      /** The most values that were held at once. */
      readonly samplesPeak: number;
    };
