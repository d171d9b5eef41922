/** What the scripted conversations of Redis and PostgreSQL must give. The texts are those of `reports.jsonl`. */

import type { FieldCheck, FieldSpan } from "./expectations.ts";

const SIDES = ["client", "server"];
const STATUS = "db.response.status_code";
const TEXT = "db.query.text";
const SYSTEM = "db.system.name";

/** By id of the report. */
export const DATABASE_CASES: Readonly<Record<string, { readonly repeat: number; readonly check: FieldCheck }>> = {
  "D-01": {
    repeat: 1,
    check: (spans) =>
      named(spans, ["GET", "SET"]) || all(spans, isRedis, "only Redis is spoken, whatever a value holds"),
  },
  "RD-02": {
    repeat: 1,
    check: (spans) =>
      named(spans, ["HELLO", "CLIENT TRACKING", "GET", "SUBSCRIBE", "GET", "GET"]) ||
      all(spans, ({ status }) => status !== "error", "pushes and nulls fail nothing") ||
      sides(spans, (own) => {
        const second = own.filter(({ name }) => name === "GET")[1];
        return second !== undefined && second.durationMs >= 30 && second.durationMs < 75;
      }),
  },
  "PG-01": {
    repeat: 1,
    check: (spans) =>
      named(spans, ["SELECT items", "SELECT SELECT"]) ||
      sides(spans, ([first, second]) => {
        const isCancelled = first?.status === "error" && first.attributes[STATUS] === "57014";
        return isCancelled && second?.status !== "error" && second?.attributes[TEXT] === "SELECT ?; SELECT ?";
      }),
  },
  "PG-02": { repeat: 1, check: preparedStatements },
};

function preparedStatements(spans: readonly FieldSpan[]): string {
  const wanted = ["SELECT items", "SELECT items", "UPDATE stock", "UPDATE stock", "DELETE carts"];
  const fault = named(spans, wanted);
  if (fault !== "") return fault;
  return sides(spans, (own, kind) => {
    const [one, two, fine, failed, gone] = own;
    const isSlow = (one?.durationMs ?? 0) >= 12 && (two?.durationMs ?? 0) >= 12;
    const isFailed = failed?.attributes[STATUS] === "22P02" && (failed.status === "error") === (kind === "client");
    return isSlow && isFailed && fine?.status !== "error" && gone?.status !== "error";
  });
}

function isRedis({ protocol, attributes }: FieldSpan): boolean {
  return protocol === "redis" && attributes[SYSTEM] === "redis";
}

/** Each side must have spans of exactly these names, in this order. */
function named(spans: readonly FieldSpan[], wanted: readonly string[]): string {
  const faults: string[] = [];
  for (const kind of SIDES) {
    const found = spans.filter((span) => span.kind === kind).map(({ name }) => name);
    if (found.join("\n") !== wanted.join("\n"))
      faults.push(`${kind}: found ${JSON.stringify(found)}, expected ${JSON.stringify(wanted)}`);
  }
  return faults.join("\n");
}

function sides(spans: readonly FieldSpan[], holds: (own: readonly FieldSpan[], kind: string) => boolean): string {
  const faults = SIDES.map((kind) => {
    const own = spans.filter((span) => span.kind === kind);
    return holds(own, kind) ? "" : `${kind}: ${JSON.stringify(own)}`;
  });
  return faults.filter((fault) => fault !== "").join("\n");
}

function all(spans: readonly FieldSpan[], holds: (span: FieldSpan) => boolean, rule: string): string {
  const broken = spans.find((span) => !holds(span));
  return broken === undefined ? "" : `${rule}: ${JSON.stringify(broken)}`;
}
