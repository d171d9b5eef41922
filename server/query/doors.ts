/**
 * What the faces ask of the query room. Requests and answers are plain data, so that an engine can run in a worker.
 */

import type { NativeHistogram } from "../model/histogram.ts";
import type { Labels, Matcher } from "../model/series.ts";
import type { SqlAnswer } from "../store/reader.ts";

/** Prometheus' kinds of errors that queries have. */
export type PromqlErrorType =
  | "bad_data"
  | "execution"
  | "cost_limit"
  | "timeout"
  | "canceled"
  | "internal"
  | "unavailable";

/** A whole HTTP answer, rendered where it was computed. */
export interface RenderedAnswer {
  readonly status: number;
  /** JSON in UTF-8; to be given back with `releaseSharedBytes` once it is read. */
  readonly body: Uint8Array;
  /** Undefined for a success. */
  readonly errorType?: PromqlErrorType | undefined;
}

/** What both kinds of queries take beside their times. */
export interface QueryOptions {
  /** Above 0; no more than the server's own. */
  readonly timeoutMs: number;
  /** How far an instant selector looks back; the server's own where undefined. */
  readonly lookbackMs?: number | undefined;
  /** The longest windows that may be read in place of samples; samples only where undefined. */
  readonly sourceResolutionMs?: number | undefined;
  /** Whether rates read start timestamps; the server's own where undefined. */
  readonly useStartTimestamps?: boolean | undefined;
  /** Timings and counts of samples beside the result; `per_step` only where the server has its switch on. */
  readonly stats: "none" | "totals" | "per_step";
  /** A timed tree of the plan beside the result. */
  readonly explain: boolean;
}

/** What a query's answer is cut to, and who waits for it. */
export interface QueryCaller {
  /** Series of the answer; more are left out, with a warning. */
  readonly seriesMax: number;
  /** Warnings to show beside those of the engine. */
  readonly warnings: readonly string[];
  /** Aborted when nobody waits any longer. */
  readonly signal?: AbortSignal | undefined;
}

/** `/api/v1/query`: times are Unix milliseconds. */
export interface InstantRequest extends QueryOptions, QueryCaller {
  readonly query: string;
  readonly timeMs: number;
}

/** Start, end and step of a range query in milliseconds. */
export interface RangeTimes {
  readonly startMs: number;
  readonly endMs: number;
  /** Cut to whole milliseconds, at least one, after the points were counted. */
  readonly stepMs: number;
}

/** `/api/v1/query_range`. */
export interface RangeRequest extends RangeTimes, QueryOptions, QueryCaller {
  readonly query: string;
}

/** Matchers of every selector in a query, or what is wrong with the query. */
export type SelectorsOutcome =
  | { readonly kind: "selectors"; readonly selectors: readonly (readonly Matcher[])[] }
  | { readonly kind: "refused"; readonly message: string };

/** An instant query whose result is wanted as values. */
export interface EvaluateRequest {
  readonly query: string;
  /** Unix milliseconds. */
  readonly timeMs: number;
  readonly timeoutMs: number;
  readonly signal?: AbortSignal | undefined;
}

/** A value of an instant vector. */
export interface EvaluatedSample {
  readonly labels: Labels;
  /** NaN where the sample is a histogram. */
  readonly value: number;
  readonly histogram: NativeHistogram | undefined;
}

/** An instant vector, a scalar as one sample without labels, or why there is none. */
export type EvaluateOutcome =
  | { readonly kind: "samples"; readonly samples: readonly EvaluatedSample[]; readonly warnings: readonly string[] }
  | { readonly kind: "failed"; readonly errorType: PromqlErrorType; readonly message: string };

/** Evaluates PromQL in a worker; answers in Prometheus' own shape, errors included. */
export interface PromqlDoor {
  instant(request: InstantRequest): Promise<RenderedAnswer>;
  range(request: RangeRequest): Promise<RenderedAnswer>;
  /** What an instant query gives, as values and not as an answer. */
  evaluate(request: EvaluateRequest): Promise<EvaluateOutcome>;
  /** `/api/v1/format_query`. */
  format(text: string, signal?: AbortSignal): Promise<RenderedAnswer>;
  /** `/api/v1/parse_query`. */
  tree(text: string, signal?: AbortSignal): Promise<RenderedAnswer>;
  /** Matchers of every selector of a query. */
  selectors(text: string, signal?: AbortSignal): Promise<SelectorsOutcome>;
  close(): Promise<void>;
}

/** An alert that is pending or firing. Times are Unix milliseconds. */
export interface ActiveAlert {
  readonly labels: Labels;
  readonly annotations: Labels;
  readonly state: "pending" | "firing";
  readonly activeAtMs: number;
  /** Undefined unless the alert fires only because it is kept firing. */
  readonly keepFiringSinceMs: number | undefined;
  readonly value: number;
}

interface RuleStateBase {
  readonly name: string;
  /** The expression in canonical form. */
  readonly query: string;
  readonly labels: Labels;
  readonly health: "unknown" | "ok" | "err";
  /** Empty where the last evaluation succeeded. */
  readonly lastError: string;
  readonly evaluationSeconds: number;
  /** Undefined before the first evaluation. */
  readonly lastEvaluationMs: number | undefined;
}

/** A rule as `/api/v1/rules` shows it. */
export type RuleState =
  | (RuleStateBase & { readonly kind: "recording" })
  | (RuleStateBase & {
      readonly kind: "alerting";
      readonly state: "unknown" | "inactive" | "pending" | "firing";
      readonly holdSeconds: number;
      readonly keepFiringSeconds: number;
      readonly annotations: Labels;
      readonly alerts: readonly ActiveAlert[];
    });

/** Rules that are evaluated together. */
export interface RuleGroupState {
  readonly name: string;
  readonly file: string;
  readonly intervalSeconds: number;
  /** Alerts or series that a rule may have; 0 for any number. */
  readonly limit: number;
  readonly rules: readonly RuleState[];
  readonly evaluationSeconds: number;
  readonly lastEvaluationMs: number | undefined;
}

/** `POST /api/v1/sql`. */
export interface SqlRequest {
  readonly query: string;
  readonly params: readonly (string | number | boolean | null)[];
  readonly timeoutMs: number;
  readonly rowsMax: number;
}

/** Why a statement is not run. `line` and `column` count from 1. */
export interface SqlRefusal {
  readonly code: string;
  readonly message: string;
  readonly line: number;
  readonly column: number;
  readonly hint: string;
  /** 400 text, 403 not allowed, 408 time, 413 size, 422 run time, 503 busy. */
  readonly httpStatus: number;
}

/** An answer, or why there is none. */
export type SqlOutcome =
  | { readonly kind: "answer"; readonly answer: SqlAnswer }
  | { readonly kind: "refused"; readonly refusal: SqlRefusal };

/** Checks a statement against the grammar and the allow-list and runs it read-only. */
export interface SqlDoor {
  run(request: SqlRequest): Promise<SqlOutcome>;
}

/** A service in the graph's answer. */
export interface GraphNode {
  readonly id: string;
  readonly service: string;
  /** `service`, `database`, `messaging_system` or `virtual_node`. */
  readonly kind: string;
  readonly requests: number;
  readonly errors: number;
  readonly p95_ms: number | null;
}

/** Calls from one service to another in the graph's answer. */
export interface GraphEdge {
  readonly client: string;
  readonly server: string;
  readonly connection_type: string;
  readonly requests: number;
  readonly errors: number;
  /** Requests per second over the window. */
  readonly rate: number;
  readonly p50_ms: number | null;
  readonly p95_ms: number | null;
  readonly p99_ms: number | null;
}

/** The answer of `GET /api/v1/graph`; `from` and `to` are RFC 3339. */
export interface GraphAnswer {
  readonly from: string;
  readonly to: string;
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}
