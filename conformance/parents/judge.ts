/**
 * Compares the parents that were drawn with what the services say they did. Pure.
 */

import type { SeenSpan, Sighting } from "./capture-child.ts";

/** What became of the calls of a cell. `expected = drawn + missing`, `drawn = right + wrong`. */
export interface Verdict {
  /** Calls that the services say they made for a request: spans that are no root. */
  readonly expected: number;
  readonly drawn: number;
  readonly right: number;
  readonly wrong: number;
  readonly missing: number;
  /** The same of the last-request rule. */
  readonly lastRequest: { readonly drawn: number; readonly right: number; readonly wrong: number };
  /** How often each reason stands beside a drawn and a missing parent. */
  readonly reasons: Readonly<Record<string, number>>;
}

const CALL = /^call (\d+ \d+ \d+) for (\d+ \d+ \d+)$/;

/** Reads lines such as `call PORT TO ORDINAL for PORT AT ORDINAL` into parents by call; other lines are passed over. */
export function readTruth(lines: readonly string[]): Map<string, string> {
  const truth = new Map<string, string>();
  for (const line of lines) {
    const [, call, cause] = CALL.exec(line) ?? [];
    if (call !== undefined && cause !== undefined) truth.set(call, cause);
  }
  return truth;
}

/**
 * Judges one cell.
 *
 * @param truth Parent by call, both as `clientPort serverPort ordinal`.
 * @param seen All spans since the services started, since messages are counted by connection.
 */
export function judge(truth: ReadonlyMap<string, string>, seen: Sighting): Verdict {
  const calls = byOrdinal(seen.spans, "client", lastOrdinals(truth.keys()));
  const requests = byOrdinal(seen.spans, "server", lastOrdinals(truth.values()));
  const reasons: Record<string, number> = {};
  const count = (reason: string) => {
    reasons[reason] = (reasons[reason] ?? 0) + 1;
  };
  let right = 0;
  let wrong = 0;
  for (const [call, cause] of truth) {
    const span = calls.get(call);
    if (span === undefined) count("no span");
    else if (span.parent === "") count(`none: ${span.unlinked}`);
    else if (span.parent === requests.get(cause)?.id) {
      right++;
      count(span.reason);
    } else {
      wrong++;
      count(`wrong: ${span.reason}`);
    }
  }
  const drawn = right + wrong;
  return {
    expected: truth.size,
    drawn,
    right,
    wrong,
    missing: truth.size - drawn,
    lastRequest: judgeRule(truth, new Map(seen.lastRequest)),
    reasons,
  };
}

function judgeRule(truth: ReadonlyMap<string, string>, parents: ReadonlyMap<string, string>): Verdict["lastRequest"] {
  let drawn = 0;
  let right = 0;
  for (const [call, cause] of truth) {
    const parent = parents.get(call);
    if (parent === undefined) continue;
    drawn++;
    if (parent === cause) right++;
  }
  return { drawn, right, wrong: drawn - right };
}

/** The highest number told of each connection. */
function lastOrdinals(messages: Iterable<string>): Map<string, number> {
  const last = new Map<string, number>();
  for (const message of messages) {
    const at = message.lastIndexOf(" ");
    const pair = message.slice(0, at);
    last.set(pair, Math.max(last.get(pair) ?? 0, Number(message.slice(at + 1))));
  }
  return last;
}

/**
 * Spans of a kind by `clientPort serverPort ordinal`. Where fewer were seen on a connection than are told of, those at its
 * beginning are taken for the missing ones: capture of TLS may come too late for them.
 */
function byOrdinal(spans: readonly SeenSpan[], kind: string, last: ReadonlyMap<string, number>): Map<string, SeenSpan> {
  const sorted = spans.filter((span) => span.kind === kind).sort((a, b) => compare(a.startNs, b.startNs));
  const seen = new Map<string, number>();
  const pairOf = (span: SeenSpan) => `${span.clientPort} ${span.serverPort}`;
  for (const span of sorted) seen.set(pairOf(span), (seen.get(pairOf(span)) ?? 0) + 1);
  const ordinals = new Map<string, number>();
  const named = new Map<string, SeenSpan>();
  for (const span of sorted) {
    const pair = pairOf(span);
    const missing = Math.max(0, (last.get(pair) ?? 0) - (seen.get(pair) ?? 0));
    const ordinal = (ordinals.get(pair) ?? missing) + 1;
    ordinals.set(pair, ordinal);
    named.set(`${pair} ${ordinal}`, span);
  }
  return named;
}

/** Nanoseconds of today all have as many digits. */
function compare(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
