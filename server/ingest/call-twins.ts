/**
 * Finds calls that both a program's own instrumentation and the agent saw, so that each counts once.
 *
 * Twins have one trace, one side (client or server), one program (service name or process id), and: the agent's client
 * span is a child of the program's client span, whose id the call carried as `traceparent`; two server spans have that
 * same parent. The program's span counts and the agent's is its duplicate. So the agent's spans of programs that lately
 * sent such spans are held until the twin comes, `holdMs` at most; a twin that comes later than that is the duplicate.
 *
 * Invariants: of two twins known to each other at most one is a duplicate, and only of a row that is stored; what is
 * held is released exactly once. Pure: times are passed in.
 */

import { halvesOf, isKernelSource } from "../derive/batch-rows.ts";
import { releaseBatch, retainBatch } from "../model/batch-lease.ts";
import { KIND_CLIENT, KIND_SERVER, SPAN_SOURCES, type SpanBatch } from "../model/span-batch.ts";
import { textReader } from "../model/text-table.ts";
import { type Call, CallIndex, callOf, isCallRow, processIdOf } from "./call-index.ts";
import { HeldSpans, type ReleasedRows } from "./held-spans.ts";
import { selectRows } from "./select-rows.ts";

/** How long the agent's spans wait for their twins: SDKs export every 5 s unless told otherwise. */
const HOLD_MS = 7_000;
/** Spans of either sort that are remembered: two generations of so many, of a minute each. */
const GENERATION_CALLS_MAX = 65_536;
const GENERATION_MS = 60_000;
/** Rows of programs' batches kept to be looked through when the agent sees a call that carries `traceparent`. */
const UNREAD_ROWS_MAX = 16_384;
/** Programs known to send spans; beyond it the one that was silent longest is forgotten. */
const SENDERS_MAX = 8_192;
const SENDER_MS = 600_000;
const CARRIED = "traceparent";
const REPLAY = SPAN_SOURCES.indexOf("replay");
const ALL_ATTRIBUTES = Number.POSITIVE_INFINITY;

/** What became of a commit. */
interface Commit {
  state: "running" | "stored" | "failed";
}

/** A program's own span. */
interface OwnCall extends Call {
  readonly commit: Commit;
  /** It is a duplicate itself, or a server span that stands for one of the agent's already. */
  taken: boolean;
}

/** A span of the agent that counts, or is about to. */
interface AgentCall extends Call {
  readonly commit: Commit;
  /** A program's span is its duplicate already. */
  taken: boolean;
}

/** A batch as it is to be committed, which may have no rows; `settle` says whether it was. */
export interface TwinClaim {
  readonly kind: "claimed";
  readonly batch: SpanBatch;
  /** Rows were held: resolves once all of them are committed, false where one could not be. */
  readonly held?: Promise<boolean>;
  settle(stored: boolean): void;
}

/** Rows are twins of spans whose commit is under way: claim again once it is decided. */
export interface TwinUndecided {
  readonly kind: "undecided";
  readonly decided: Promise<void>;
}

interface Unread {
  readonly batch: SpanBatch;
  readonly commit: Commit;
}

/** See the file's head. */
export class CallTwins {
  /** Duplicates stored since the start, by whose span counts. */
  readonly counts = { program: 0, agent: 0 };
  readonly #held: HeldSpans;
  readonly #own = new CallIndex<OwnCall>(GENERATION_CALLS_MAX, GENERATION_MS);
  readonly #agent = new CallIndex<AgentCall>(GENERATION_CALLS_MAX, GENERATION_MS);
  /** When a program last sent spans of a side, by side and its service name or process id. */
  readonly #senders = new Map<string, number>();
  #unread: Unread[] = [];
  #unreadRows = 0;
  /** Commits of the agent's spans that are under way. */
  #running = 0;
  #whenEnded: { readonly promise: Promise<void>; readonly resolve: () => void } | undefined;

  constructor(limits: { readonly holdMs?: number; readonly heldMax?: number } = {}) {
    this.#held = new HeldSpans(limits.holdMs ?? HOLD_MS, limits.heldMax);
  }

  /** Rows that are held. */
  get held(): number {
    return this.#held.count;
  }

  /** Rows that were held and had no twin, since the start, by why they were released. */
  get givenUp(): Readonly<Record<"timeout" | "full", number>> {
    return this.#held.givenUp;
  }

  /** Takes a batch that programs sent. While the agent sees no calls that carry an id, this costs nothing a row. */
  claimOwn(batch: SpanBatch, nowMs: number): TwinClaim | TwinUndecided {
    this.#age(nowMs);
    const commit: Commit = { state: "running" };
    if (this.#agent.count === 0 && this.#held.count === 0) {
      this.#keepUnread({ batch, commit });
      return { kind: "claimed", batch, settle: (stored) => decide(commit, stored) };
    }
    if (this.#running > 0 && this.#meetsRunning(batch)) {
      return { kind: "undecided", decided: this.#ended() };
    }
    const duplicateOf = batch.duplicateOf.slice();
    const counted: AgentCall[] = [];
    this.#readOwn({ batch, commit }, nowMs, (own, row) => {
      const isClient = own.side === KIND_CLIENT;
      if (this.#held.match(own, isClient)) {
        own.taken = !isClient;
        return;
      }
      const agents = this.#agent.nearest(own, (call) => !call.taken && call.commit.state === "stored");
      if (agents === undefined) return;
      agents.taken = true;
      own.taken = true;
      counted.push(agents);
      duplicateOf[row] = agents.spanId;
    });
    return {
      kind: "claimed",
      batch: counted.length === 0 ? batch : { ...batch, duplicateOf },
      settle: (stored) => {
        decide(commit, stored);
        if (stored) this.counts.agent += counted.length;
        else for (const call of counted) call.taken = false;
      },
    };
  }

  /** Takes a batch of the agent's; rows that are held are left out of the batch returned. */
  claimAgent(batch: SpanBatch, nowMs: number): TwinClaim {
    this.#age(nowMs);
    const carried = carriedRows(batch);
    if (carried.length === 0) return { kind: "claimed", batch, settle: () => {} };
    this.#readUnread(nowMs);
    const rows = halvesOf(batch);
    const duplicateOf = batch.duplicateOf.slice();
    const counted: Call[] = [];
    const held: { row: number; call: Call; twin: OwnCall | undefined }[] = [];
    let duplicates = 0;
    for (const row of carried) {
      const call = callOf(batch, rows, row, true);
      const twin = this.#own.nearest(call, (own) => !own.taken && own.commit.state !== "failed");
      if (twin !== undefined) twin.taken = call.side === KIND_SERVER;
      if (twin?.commit.state === "stored") {
        duplicateOf[row] = twin.spanId;
        duplicates++;
      } else if (twin !== undefined || this.#isSender(call, nowMs)) held.push({ row, call, twin });
      else counted.push(call);
    }
    const whenStored = held.length > 0 ? this.#held.hold(batch, held, nowMs) : undefined;
    const patched = duplicates === 0 ? batch : { ...batch, duplicateOf };
    const now = held.length === 0 ? patched : selectRows(patched, rowsWithout(batch.rows, held), ALL_ATTRIBUTES);
    const claim = this.#agentClaim({ batch: now, counted, duplicates, settled: () => {} }, nowMs);
    return whenStored === undefined ? claim : { ...claim, held: whenStored };
  }

  /** Held rows whose twin is stored or that waited long enough; with `all`, every row. */
  release(nowMs: number, all: boolean): TwinClaim[] {
    return this.#held.release(nowMs, all).map((released) => this.#agentClaim(released, nowMs));
  }

  #agentClaim({ batch, counted, duplicates, settled }: ReleasedRows, nowMs: number): TwinClaim {
    const commit: Commit = { state: "running" };
    for (const call of counted) this.#agent.add({ ...call, commit, taken: false }, nowMs);
    this.#running++;
    return {
      kind: "claimed",
      batch,
      settle: (stored) => {
        decide(commit, stored);
        settled(stored);
        this.#running--;
        if (stored) this.counts.program += duplicates;
        this.#whenEnded?.resolve();
        this.#whenEnded = undefined;
      },
    };
  }

  #age(nowMs: number): void {
    this.#own.age(nowMs);
    this.#agent.age(nowMs);
  }

  #keepUnread(unread: Unread): void {
    retainBatch(unread.batch);
    this.#unread.push(unread);
    this.#unreadRows += unread.batch.rows;
    while (this.#unreadRows > UNREAD_ROWS_MAX) {
      const oldest = this.#unread.shift();
      if (oldest === undefined) break;
      this.#unreadRows -= oldest.batch.rows;
      releaseBatch(oldest.batch);
    }
  }

  #readUnread(nowMs: number): void {
    for (const unread of this.#unread) {
      this.#readOwn(unread, nowMs, () => {});
      releaseBatch(unread.batch);
    }
    this.#unread = [];
    this.#unreadRows = 0;
  }

  /** Remembers a batch's calls and who sent them. */
  #readOwn({ batch, commit }: Unread, nowMs: number, each: (own: OwnCall, row: number) => void): void {
    const rows = halvesOf(batch);
    const pids = batch.resources.map(processIdOf);
    const told = new Set<number>();
    for (let row = 0; row < batch.rows; row++) {
      if (!isCallRow(batch, rows, row) || batch.source[row] === REPLAY) continue;
      const resource = batch.resource[row] ?? 0;
      const own: OwnCall = { ...callOf(batch, rows, row, false), pid: pids[resource] ?? 0, commit, taken: false };
      if (!told.has(8 * resource + own.side)) {
        told.add(8 * resource + own.side);
        for (const sender of sendersOf(own)) this.#tellSender(sender, nowMs);
      }
      each(own, row);
      this.#own.add(own, nowMs);
    }
  }

  #meetsRunning(batch: SpanBatch): boolean {
    const rows = halvesOf(batch);
    const pids = batch.resources.map(processIdOf);
    for (let row = 0; row < batch.rows; row++) {
      if (!isCallRow(batch, rows, row)) continue;
      const call = { ...callOf(batch, rows, row, false), pid: pids[batch.resource[row] ?? 0] ?? 0 };
      if (this.#agent.nearest(call, ({ taken, commit }) => !taken && commit.state === "running")) return true;
    }
    return false;
  }

  #ended(): Promise<void> {
    this.#whenEnded ??= Promise.withResolvers<void>();
    return this.#whenEnded.promise;
  }

  #tellSender(sender: string, nowMs: number): void {
    this.#senders.delete(sender);
    this.#senders.set(sender, nowMs);
    if (this.#senders.size <= SENDERS_MAX) return;
    const [oldest] = this.#senders.keys();
    if (oldest !== undefined) this.#senders.delete(oldest);
  }

  #isSender(call: Call, nowMs: number): boolean {
    return sendersOf(call).some(
      (sender) => nowMs - (this.#senders.get(sender) ?? Number.NEGATIVE_INFINITY) < SENDER_MS,
    );
  }
}

function decide(commit: Commit, stored: boolean): void {
  commit.state = stored ? "stored" : "failed";
}

function sendersOf({ side, service, pid }: Call): string[] {
  return pid === 0 ? [`${side} ${service}`] : [`${side} ${service}`, `${side}#${pid}`];
}

/** Rows of the agent whose parent id the call carried. */
function carriedRows(batch: SpanBatch): number[] {
  const text = textReader(batch.text);
  const rows = halvesOf(batch);
  const carried: number[] = [];
  for (let row = 0; row < batch.rows; row++) {
    if (batch.linkReason[row] === 0 || !isKernelSource(batch.source[row] ?? 0) || batch.source[row] === REPLAY)
      continue;
    if (isCallRow(batch, rows, row) && text(batch.linkReason[row]) === CARRIED) carried.push(row);
  }
  return carried;
}

function rowsWithout(rows: number, held: readonly { readonly row: number }[]): Uint32Array {
  const without = new Set(held.map(({ row }) => row));
  return Uint32Array.from({ length: rows }, (_, row) => row).filter((row) => !without.has(row));
}
