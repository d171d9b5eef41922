/**
 * What a client of PostgreSQL asked for and the server has not finished.
 */

import type { Exchange, MessageMark } from "./exchange.ts";
import type { SqlStatement } from "./sql-template.ts";

/** What the client may ask for; `group` is a run of extended messages up to an `Execute`. */
export type ItemKind = "startup" | "query" | "function" | "group" | "sync";

/** Something that the client asked for. */
export interface Item {
  readonly kind: ItemKind;
  exchange: Exchange | undefined;
  /** First message to last. */
  readonly request: MessageMark;
  response: MessageMark | undefined;
  /** Of a group: answers that must come before that of its `Execute`, a letter each. */
  replies: string;
  /** Of a group: it is closed by an `Execute`. */
  executes: boolean;
  isClosed: boolean;
  /** Its result was seen; it waits for `ReadyForQuery`. */
  isAnswered: boolean;
  hasFailed: boolean;
  /** Rows that were seen; -1 where it returns none, -2 where some may be missing. */
  rows: number;
  /** Definitions that are not confirmed, with what the names meant before. */
  readonly prepared: { readonly name: string; readonly before: SqlStatement | undefined }[];
  /** What it prepares, for an error's sake. */
  statement: SqlStatement | undefined;
}

/** Something that the client begins to ask for. */
export function makeItem(kind: ItemKind, mark: MessageMark): Item {
  return {
    kind,
    exchange: undefined,
    request: { ...mark },
    response: undefined,
    replies: "",
    executes: false,
    isClosed: false,
    isAnswered: false,
    hasFailed: false,
    rows: -1,
    prepared: [],
    statement: undefined,
  };
}

/** The mark of an answer goes on. */
export function answer(item: Item, mark: MessageMark): void {
  if (item.response === undefined) item.response = { ...mark };
  else extend(item.response, mark);
}

/** `more` belongs to the message of `mark`. */
export function extend(mark: MessageMark, more: MessageMark): void {
  mark.endNs = more.endNs;
  mark.lastTid = more.lastTid;
  mark.bytes += more.bytes;
}
