/**
 * Why each span of a trace has its parent, or has none, in a sentence.
 */

import { type Attribute, KIND_SERVER } from "../model/span-batch.ts";
import type { StoredSpan } from "../model/stored-span.ts";

/** Sentences by the reason a parent was drawn for; `link_reason` of the span. */
const DRAWN: Readonly<Record<string, string>> = {
  traceparent: "The request carried this parent in its traceparent header.",
  message: "Both ends of one message were seen: it has one tuple of addresses and one TCP sequence number at both.",
  "message-nat":
    "Both ends of one message were seen behind translated addresses: its TCP sequence number, the caller's port and what was asked are equal.",
  hosts:
    "Both ends of one message were seen, on two hosts: it has one tuple of addresses and one TCP sequence number at both.",
  "hosts-nat":
    "Both ends of one message were seen, on two hosts, behind translated addresses: the TCP sequence numbers of request and answer are equal, and so is what was asked.",
  "one-sight": "One sight of the packets between two processes of this host shows both ends of the message.",
  thread:
    "The call was made inside of this request: by the thread that read it, in a process that was seen to serve each request on one thread; or while it was the only request open in the whole process.",
  goroutine:
    "The call was made by the goroutine that read this request; the process was seen to answer on the same one.",
  "goroutine-start":
    "The call was made by a goroutine that the one serving this request had started, and that made no call before.",
  loop: "The event loop made the call in the turn in which it read this request, or the answer to a call made for it, and after no other event. Nearly all answers of the process were seen to be written where this rule says.",
  "loop-order":
    "The event loop made the call in an immediate of the turn in which it read this request, or the answer to a call made for it. Immediates were matched with the turn's reads in order; nearly all answers of the process were seen to be written where this rule says.",
  "proxy-loop":
    "The worker read this request, or the answer to a call made for it, last before it made the call. Nearly all answers of the process were seen to be written where this rule says.",
  "proxy-order":
    "The proxy's thread made as many calls as it had read requests, this one among both; and when this request was answered, of the answers to those calls only this one's had been read, or by the order of calls, shown to hold in the process, it was the one to be passed on.",
  counted:
    "Both rows stand for calls that the kernel counted to keep the CPU budget of capture: as many at the caller as at this server, of one method and status. Which of them belong together, and what they were made for, was not looked at.",
  "request-id":
    "The call carried the X-Request-ID of this request, or of the answer to it, which no other request of the process had.",
  inspector:
    "The process itself said so, since it was asked to (--inject-node): what runs for this request made the call.",
  handover:
    "Another thread read this request, and the one that made the call wrote the answer: it was the thread's next answer after the call, and meanwhile the thread did one thing after the other. Nearly all answers of the process were seen to come so.",
  task: "The asyncio task that made the call, or the one that awaits it, wrote the answer to this request.",
};

/** Sentences by the reason none was drawn for; `thalweg.unlinked` of the span. */
const UNLINKED: Readonly<Record<string, string>> = {
  no_open_request: "The process had no request open when it made the call: it is work of its own.",
  several_open_requests:
    "The process had several requests open, and nothing was seen that tells which of them the call was made for.",
  self_check:
    "A rule has a guess, but it was not seen to be right often enough in this process: a guess is not drawn below 98 % of its checks, or before there were 20.",
  unit_serves_none: "The thread or goroutine that made the call serves no request.",
  cause_unknown:
    "The call follows a timer, an immediate, a completion of the thread pool, or something else that does not tell for which request it was made.",
  also_called_outside:
    "Calls to this target are also made while no request is open, so that this one may be background work.",
  connection_unread: "The process also serves a connection that cannot be read, which may have asked for the call.",
  task_answers_none: "The asyncio task that made the call was not seen to answer any of the requests open then.",
  thread_answers_none: "The thread that made the call was not seen to answer any of the requests open then.",
  told_none:
    "The process itself said so, since it was asked to (--inject-node): what made the call runs for no HTTP request.",
  told_nothing:
    "Nothing that was seen tells for which request the call was made, and the process, which was asked to (--inject-node), did not tell of it in time.",
  undecided: "The answer that would tell for which request the call was made did not come in time.",
};

/** Sentences by the reason that the trace around a span may lack others; `thalweg.incomplete` of the span. */
const INCOMPLETE: Readonly<Record<string, string>> = {
  events_lost:
    "Capture lost events while the request was open: calls made for it may be missing, and its end may be late.",
  parser_failed:
    "The parser of a connection of this process failed while the request was open: calls made for it there are missing.",
  connections_max:
    "A connection of this process had to make room for another in the agent's table while the request was open: calls made for it there may be missing.",
  joined_late: "Capture began when the connection was open already: what came before on it is missing.",
};

const CAPTURED: ReadonlySet<string> = new Set(["ebpf", "packet", "replay"]);
/** Spans explained between two steps: some milliseconds. */
const STEP_SPANS = 4096;
const INCOMPLETE_KEY = "thalweg.incomplete";
const UNLINKED_KEY = "thalweg.unlinked";

/**
 * The spans, each with attributes `thalweg.parent_reason`, a word, and `thalweg.parent_why`, a sentence; and with
 * `thalweg.incomplete_why` where others of its trace may be missing. Yields now and then,
 * so that other work can be done.
 */
export function* explainedSpans(spans: readonly StoredSpan[]): Generator<void, StoredSpan[]> {
  const known = new Set<string>();
  for (const { spanId } of spans) known.add(spanId);
  const explained: StoredSpan[] = [];
  for (const span of spans) {
    const { reason, why } = explanation(span);
    const incomplete = span.attributes.find(({ key }) => key === INCOMPLETE_KEY)?.value.split(",") ?? [];
    const isMissing = span.parentSpanId !== "" && !known.has(span.parentSpanId);
    const attributes: Attribute[] = [
      ...span.attributes,
      { key: "thalweg.parent_reason", kind: "s", value: reason },
      { key: "thalweg.parent_why", kind: "s", value: isMissing ? `${why} The parent itself is not stored here.` : why },
    ];
    if (incomplete.length > 0) {
      const sentences = incomplete.map((word) => INCOMPLETE[word] ?? `Spans may be missing for the reason ${word}.`);
      attributes.push({ key: "thalweg.incomplete_why", kind: "s", value: sentences.join(" ") });
    }
    explained.push({ ...span, attributes });
    if (explained.length % STEP_SPANS === 0) yield;
  }
  return explained;
}

function explanation(span: StoredSpan): { reason: string; why: string } {
  if (span.parentSpanId !== "") {
    const reason = span.linkReason;
    if (reason === "") return { reason: "sent", why: `The parent was set by who sent the span (${span.source}).` };
    return { reason, why: DRAWN[reason] ?? `The parent was drawn for the reason ${reason}.` };
  }
  const unlinked = span.attributes.find(({ key }) => key === UNLINKED_KEY)?.value;
  if (unlinked !== undefined)
    return { reason: unlinked, why: UNLINKED[unlinked] ?? `None was drawn for the reason ${unlinked}.` };
  if (!CAPTURED.has(span.source))
    return { reason: "sent_as_root", why: `The span was sent without a parent (${span.source}).` };
  return span.kind === KIND_SERVER
    ? {
        reason: "no_client_seen",
        why: "The caller's end of the message was not seen: it is on another host, in a process that is left out, or was read too late.",
      }
    : {
        reason: "thread_unknown",
        why: "The thread that made the call is not known on this rung, so that no rule applies.",
      };
}
