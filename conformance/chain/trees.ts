/** Judges the trees of a chain by the ledgers of its services. */

import type { SeenSpan } from "../parents/capture-child.ts";
import { judge } from "../parents/judge.ts";
import type { Program } from "../program.ts";
import type { ChainTruth } from "./chain.ts";

/** A span of the chain, ids in hex. */
interface ChainSpan extends SeenSpan {
  readonly trace: string;
}

/** What was found of a chain. */
export interface TreeVerdict {
  /** Calls inside of processes. */
  readonly inside: {
    readonly right: number;
    readonly wrong: number;
    readonly expected: number;
    readonly reasons: string;
  };
  /** Server spans under the client span of the same message. */
  readonly between: {
    readonly right: number;
    readonly wrong: number;
    readonly missing: number;
    readonly reasons: string;
  };
  /** Requests whose spans are one tree, of all requests; traces that hold two requests. */
  readonly whole: number;
  readonly mixed: number;
  /** A trace that is whole. */
  readonly sample: string;
}

/** Spans that server ports of the chain are in, since its start. */
export async function spansOf(program: Program, ports: readonly number[]): Promise<ChainSpan[]> {
  const rows = await program.sql(
    `SELECT kind, client_port, server_port, span_id, parent_span_id, link_reason, attributes['thalweg.unlinked'], start_ns,
       pid, trace_id FROM spans WHERE server_port IN (${ports.join(", ")}) ORDER BY start_ns`,
  );
  return rows.map(([kind, clientPort, serverPort, id, parent, reason, unlinked, startNs, pid, trace]) => ({
    kind: String(kind),
    clientPort: Number(clientPort),
    serverPort: Number(serverPort),
    id: String(id),
    parent: parent === null || parent === undefined ? "" : String(parent),
    reason: String(reason ?? ""),
    unlinked: String(unlinked ?? ""),
    startNs: String(startNs),
    pid: Number(pid),
    trace: String(trace),
  }));
}

/**
 * Judges spans.
 *
 * @param entry Port that requests enter the chain by.
 * @param spansOfRequest Spans that a whole request has.
 */
export function judgeTrees(
  spans: readonly ChainSpan[],
  truth: ChainTruth,
  entry: number,
  spansOfRequest: number,
): TreeVerdict {
  const { expected, right, wrong, reasons } = judge(truth.parents, { spans, lastRequest: [], lost: 0 });
  const counted = spans.filter(({ startNs }) => BigInt(startNs) >= truth.fromNs);
  const byTrace = new Map<string, ChainSpan[]>();
  for (const span of counted) byTrace.set(span.trace, [...(byTrace.get(span.trace) ?? []), span]);
  let whole = 0;
  let mixed = 0;
  let sample = "";
  for (const [trace, own] of byTrace) {
    const entries = own.filter(({ kind, serverPort }) => kind === "client" && serverPort === entry).length;
    if (entries > 1) mixed++;
    const roots = own.filter(({ parent }) => !own.some(({ id }) => id === parent)).length;
    if (entries !== 1 || roots !== 1 || own.length !== spansOfRequest) continue;
    whole++;
    sample = trace;
  }
  return {
    inside: { expected, right, wrong, reasons: JSON.stringify(reasons) },
    between: judgeHops(spans, counted),
    whole,
    mixed,
    sample,
  };
}

/** Two ends of a connection have the same messages in the same order, whatever their ports are. */
function judgeHops(spans: readonly ChainSpan[], counted: readonly ChainSpan[]): TreeVerdict["between"] {
  const ordinal = new Map<string, { readonly connection: string; readonly at: number }>();
  const counts = new Map<string, number>();
  const byId = new Map<string, ChainSpan>();
  for (const span of spans) {
    const connection = `${span.kind} ${span.clientPort} ${span.serverPort}`;
    const at = (counts.get(connection) ?? 0) + 1;
    counts.set(connection, at);
    ordinal.set(span.id, { connection, at });
    byId.set(span.id, span);
  }
  const otherEnd = new Map<string, string>();
  const reasons: Record<string, number> = {};
  const verdict = { right: 0, wrong: 0, missing: 0 };
  for (const span of counted) {
    if (span.kind !== "server") continue;
    const parent = byId.get(span.parent);
    if (span.parent === "" || parent === undefined) {
      verdict.missing++;
      continue;
    }
    reasons[span.reason] = (reasons[span.reason] ?? 0) + 1;
    const own = ordinal.get(span.id);
    const above = ordinal.get(parent.id);
    const isRight =
      parent.kind === "client" &&
      parent.trace === span.trace &&
      own !== undefined &&
      own.at === above?.at &&
      (otherEnd.get(own.connection) ?? above.connection) === above.connection &&
      (otherEnd.get(above.connection) ?? own.connection) === own.connection;
    if (isRight) {
      otherEnd.set(own.connection, above.connection);
      otherEnd.set(above.connection, own.connection);
      verdict.right++;
    } else verdict.wrong++;
  }
  return { ...verdict, reasons: JSON.stringify(reasons) };
}
