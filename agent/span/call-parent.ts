/** The parent of a call inside its process, and the words for why it was drawn or why none was. */

import type { WorkUnit } from "../../server/model/capture-event.ts";
import type { LoopCause } from "./loop-causes.ts";

/** Why a parent was drawn. `thread` is also the lone request's. */
export type LinkReason =
  | "thread"
  | "goroutine"
  | "goroutine-start"
  | "loop"
  | "loop-order"
  | "proxy-loop"
  | "proxy-order"
  | "task"
  | "handover"
  | "request-id"
  | "inspector";

/** Why none was drawn. */
export type UnlinkedReason =
  | "no_open_request"
  | "several_open_requests"
  | "self_check"
  | "unit_serves_none"
  | "cause_unknown"
  | "also_called_outside"
  | "connection_unread"
  | "task_answers_none"
  | "thread_answers_none"
  | "told_none"
  | "told_nothing"
  | "undecided";

/**
 * Parent of a call, or why there is none. Where there is none yet, what may still tell it: an answer to come, or the proof
 * of the rule that guesses it.
 */
export type CallParent<Request> =
  | { readonly request: Request; readonly reason: LinkReason; readonly waits?: undefined }
  | { readonly request: undefined; readonly reason: UnlinkedReason; readonly waits?: "answer" | "proof" };

/** What is known of the moment of a call beside its thread. */
export interface CallMoment<Request> {
  readonly work: WorkUnit;
  /** What the event loop was about; undefined where that is not known or there is none. */
  readonly cause: LoopCause<Request> | undefined;
}

/** An answer to come may tell it. */
export const UNDECIDED = { request: undefined, reason: "undecided", waits: "answer" } as const;
/** The proof of the rule that guesses it may. */
export const ON_TRIAL = { request: undefined, reason: "self_check", waits: "proof" } as const;

/** There is no parent. */
export function noParent(reason: UnlinkedReason): { readonly request: undefined; readonly reason: UnlinkedReason } {
  return { request: undefined, reason };
}

/** The rule by which a loop's cause tells a parent. */
export function loopReason(work: WorkUnit, cause: LoopCause<unknown>): LinkReason {
  if (work.kind !== "loop") return "proxy-loop";
  return cause.byOrder ? "loop-order" : "loop";
}
