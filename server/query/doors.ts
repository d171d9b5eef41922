/**
 * What the faces ask of the query room. Requests and answers are plain data, so that an engine can run in a worker.
 */

import type { SqlAnswer } from "../store/reader.ts";

/** A whole HTTP answer, rendered where it was computed. */
export interface RenderedAnswer {
  readonly status: number;
  /** JSON in UTF-8. */
  readonly body: Uint8Array;
}

/** `/api/v1/query`: times are Unix milliseconds. */
export interface InstantRequest {
  readonly query: string;
  readonly timeMs: number;
  readonly timeoutMs: number;
}

/** `/api/v1/query_range`. */
export interface RangeRequest {
  readonly query: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
  readonly timeoutMs: number;
}

/** Evaluates PromQL in a worker; answers in Prometheus' own shape, errors included. */
export interface PromqlDoor {
  instant(request: InstantRequest): Promise<RenderedAnswer>;
  range(request: RangeRequest): Promise<RenderedAnswer>;
  close(): Promise<void>;
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

/** `GET /api/v1/graph` as faces.md shows it; `from` and `to` are RFC 3339. */
export interface GraphAnswer {
  readonly from: string;
  readonly to: string;
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}
