/**
 * What the messages of a PostgreSQL server say of the item they answer.
 *
 * @see https://www.postgresql.org/docs/current/protocol-flow.html
 */

import { enterTag } from "./postgresql-exchange.ts";
import type { Item } from "./postgresql-item.ts";
import { endOfText, textOf } from "./postgresql-text.ts";

/** What follows from a message: the item goes on, is answered, copies, or the message does not belong to it. */
export type ReplyOutcome = "goes_on" | "answered" | "copy_in" | "copy_both" | "mismatch";

/** Enters a message into the item that it answers. Errors and `ReadyForQuery` are the caller's. */
export function takeReply(item: Item, type: string, bytes: Uint8Array): ReplyOutcome {
  if (item.kind === "startup") return type === "R" ? "goes_on" : "mismatch";
  const isGroup = item.kind === "group";
  if (isGroup && type === "t") return "goes_on";
  if (isGroup && item.replies !== "") return takeExpected(item, type);
  switch (type) {
    case "D":
      if (item.rows !== -2) item.rows = Math.max(0, item.rows) + 1;
      return "goes_on";
    case "T":
      if (!isGroup && item.rows === -1) item.rows = 0;
      return "goes_on";
    case "C":
      if (item.exchange !== undefined) enterTag(item.exchange, textOf(bytes, 0, endOfText(bytes, 0)));
      return isGroup ? "answered" : "goes_on";
    case "I":
    case "s":
      return isGroup ? "answered" : type === "s" ? "mismatch" : "goes_on";
    case "G":
      return isGroup ? "copy_in" : "goes_on";
    case "W":
      return "copy_both";
    case "1":
    case "2":
    case "3":
      return "mismatch";
    default:
      return type === "t" ? "mismatch" : "goes_on";
  }
}

/** The confirmations of a group, in order, before the result of its `Execute`. */
function takeExpected(item: Item, type: string): ReplyOutcome {
  const [expected] = item.replies;
  const isIt = type === expected || (expected === "T" && type === "n");
  // Copies and rows of a portal come only after its description; the connection may have been joined between.
  if (!isIt) return "mismatch";
  item.replies = item.replies.slice(1);
  if (type === "1") item.prepared.shift();
  if (type === "T" && item.rows === -1) item.rows = 0;
  return item.replies === "" && item.isClosed && !item.executes ? "answered" : "goes_on";
}
