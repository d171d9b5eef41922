/** What the page asks of the server, and the shapes that come back. */

/** State of the capture, as `/api/v1/capture` tells it. */
export interface CaptureAnswer {
  readonly tier: string;
  readonly why: string;
  /** What this rung cannot give; empty where it gives everything. */
  readonly lostByTier: string;
  readonly seen: number;
  readonly delivered: number;
  readonly lost: Readonly<Record<string, number>>;
}

/** An edge of `/api/v1/graph`. */
export interface GraphEdge {
  readonly client: string;
  readonly server: string;
  readonly connection_type: string;
  readonly requests: number;
  readonly errors: number;
  readonly rate: number;
  readonly p95_ms: number | null;
}

/** A node of `/api/v1/graph`. */
export interface GraphNode {
  readonly id: string;
  readonly service: string;
  readonly kind: string;
  readonly requests: number;
  readonly errors: number;
  readonly p95_ms: number | null;
}

/** The answer of `/api/v1/graph`. */
export interface GraphAnswer {
  readonly nodes: readonly GraphNode[];
  readonly edges: readonly GraphEdge[];
}

/** A cell of a SQL answer that holds no nested value. */
export type Cell = string | number | boolean | null;

/** Asks in SQL. Throws an Error with the server's own words. */
export async function askSql(
  query: string,
  params: readonly (string | number)[] = [],
): Promise<readonly (readonly Cell[])[]> {
  const answer = await fetch("/api/v1/sql", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ query, params }),
  });
  const body = await readJson<{ rows?: Cell[][]; error?: { message: string } }>(answer);
  if (body.rows === undefined) throw new Error(body.error?.message ?? `the server answered ${answer.status}`);
  return body.rows;
}

/** Asks `/api/v1/capture`. */
export async function askCapture(): Promise<CaptureAnswer> {
  return readJson<CaptureAnswer>(await fetch("/api/v1/capture"));
}

/** Asks `/api/v1/graph`. */
export async function askGraph(window: string): Promise<GraphAnswer> {
  const answer = await fetch(`/api/v1/graph?window=${window}`);
  if (!answer.ok) throw new Error(`the server answered ${answer.status}`);
  return readJson<GraphAnswer>(answer);
}

async function readJson<T>(answer: Response): Promise<T> {
  // The server of this page and the page are one build, so the shape is the one above.
  return (await answer.json()) as T;
}
