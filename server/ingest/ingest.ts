/**
 * The way in for spans: check, commit, acknowledge, derive.
 *
 * Invariants: a batch is acknowledged after its commit; derived streams see batches in the order of their commits;
 * `received = stored + rejected + lost` holds in the counters whenever no batch is under way.
 */

import { isKernelSource } from "../derive/batch-rows.ts";
import { DERIVED_METADATA, type DerivedStreams } from "../derive/derived-streams.ts";
import { retainBatch } from "../model/batch-lease.ts";
import { ThalwegError } from "../model/errors.ts";
import { SPAN_SOURCES, type SpanBatch } from "../model/span-batch.ts";
import type { CommitReceipt } from "../store/writer.ts";
import { CallTwins, type TwinClaim, type TwinUndecided } from "./call-twins.ts";
import { batchBytes, type CheckedBatch, checkBatch } from "./check-batch.ts";
import { DerivedFlush } from "./derived-flush.ts";
import type { FlushDeps } from "./flush-deps.ts";
import { HostJoins } from "./host-joins.ts";
import { OverflowWatch } from "./overflow-watch.ts";
import { restoreStreams } from "./restore-streams.ts";
import { type Claim, SeenSpans, type Undecided } from "./seen-spans.ts";
import { selectRows } from "./select-rows.ts";
import { ATTRIBUTES_MAX } from "./short-texts.ts";

/** Bytes of batches that may wait for their commit at one time; beyond them the sender is refused. */
const PENDING_BYTES_MAX = 128 * 2 ** 20;
const RETRY_AFTER_SECONDS = 2;
/** Spans stored before the start that are known when they come again. */
const REMEMBERED_SPANS_MAX = 65_536;
/** How long a refusal of the store is told where nobody sends spans any more. */
const TROUBLE_MS = 15_000;
const REPLAY = SPAN_SOURCES.indexOf("replay");
/** How often it is looked for held spans that can be stored. */
const RELEASE_EVERY_MS = 250;
const CAPTURED: SpanOrigin = { signal: "traces", transport: "capture" };

/** How spans came; the `transport` label. Nobody sends again what came by `capture` or `replay`. */
export type Transport = "grpc" | "http" | "capture" | "replay";

/** Where a batch comes from. */
export interface SpanOrigin {
  readonly signal: "traces";
  readonly transport: Transport;
  /** Rows the decoder left out already, by reason; they are received and rejected too. */
  readonly rejected?: ReadonlyMap<string, number>;
  /** What the decoder mended in rows of the batch, in the words of `thalweg_ingest_mended_total`. */
  readonly mended?: ReadonlyMap<string, number>;
}

/** What became of a batch. */
export interface AcceptedSpans {
  readonly stored: number;
  /** The rows as they are stored: those left out are not among them, and what was mended is. */
  readonly batch: SpanBatch;
  /** Rows of the batch that were left out, by reason. */
  readonly rejected: ReadonlyMap<string, number>;
  /** What was mended here in rows that are stored, in the words of `thalweg_ingest_mended_total`. */
  readonly mended: ReadonlyMap<string, number>;
}

/** What became of a request's spans, in the words the faces use. */
export type ReceiveOutcome =
  | ({ readonly kind: "stored" } & Omit<AcceptedSpans, "stored">)
  | { readonly kind: "refused"; readonly reason: string; readonly retryAfterSeconds: number };

/**
 * What ingest works with. `pendingBytesMax`: spans that may wait for their commit, 128 MiB unless given; `holdMs`: how
 * long spans of the agent wait for the program's own span of the same call, 7 s unless given; `hostsWaitMs`: how long
 * those of agents on several hosts wait for each other, 3 s unless given.
 */
export interface IngestDeps extends FlushDeps {
  readonly pendingBytesMax?: number;
  readonly holdMs?: number;
  readonly hostsWaitMs?: number;
}

/** Takes spans; see the file's head. */
export class Ingest {
  readonly #deps: IngestDeps;
  readonly #streams: DerivedStreams;
  readonly #flush: DerivedFlush;
  readonly #seen: SeenSpans;
  readonly #overflow: OverflowWatch;
  readonly #twins: CallTwins;
  readonly #hosts: HostJoins;
  readonly #releaseTimer: NodeJS.Timeout;
  #onHeldSpans: ((batch: SpanBatch) => void) | undefined;
  #pendingBytes = 0;
  #pending = 0;
  #whenIdle: (() => void) | undefined;
  #onLiveSpans: (() => void) | undefined;
  #onAgents: (() => void) | undefined;
  #closed = false;
  /** Who waits for a commit, to be refused where it shows only later whether that holds. */
  readonly #waiting = new Set<(error: ThalwegError) => void>();
  #inDoubt = false;
  /** The last refusal of the store, forgotten at the next commit that succeeds. */
  #trouble: { readonly why: string; readonly atMs: number } | undefined;

  /** Use `openIngest`. */
  constructor(deps: IngestDeps, streams: DerivedStreams, seen: SeenSpans) {
    this.#deps = deps;
    this.#streams = streams;
    this.#seen = seen;
    this.#overflow = new OverflowWatch(streams, deps.log);
    this.#flush = new DerivedFlush(streams, deps, () => this.#overflow.logNew());
    this.#twins = new CallTwins(deps.holdMs === undefined ? {} : { holdMs: deps.holdMs });
    this.#hosts = new HostJoins(deps.hostsWaitMs === undefined ? {} : { waitMs: deps.hostsWaitMs });
    this.#releaseTimer = setInterval(() => this.#releaseHeld(false), RELEASE_EVERY_MS);
    this.#releaseTimer.unref();
    deps.telemetry.onRender(() => this.#tellCounts());
    deps.writer.onReopening((state) => this.#reopening(state));
    for (const metadata of DERIVED_METADATA) deps.writer.describe(metadata);
    this.#flush.appeared();
    this.#flush.start();
  }

  /**
   * Checks and stores a batch; resolves once its rows are durable.
   *
   * @throws ThalwegError `store_unavailable` where nothing of the batch was kept: too much waits, or the store
   * refuses. The rows are counted as rejected where somebody can send them again, else as lost.
   */
  async acceptSpans(batch: SpanBatch, origin: SpanOrigin): Promise<AcceptedSpans> {
    const { telemetry } = this.#deps;
    const { signal, transport } = origin;
    telemetry.count("thalweg_ingest_received_total", { signal, transport }, batch.rows + sumOf(origin.rejected));
    this.#countRejected(origin.rejected);
    const bytes = batchBytes(batch);
    this.#refuseOverload(batch, origin, bytes);
    const checked = checkBatch(batch);
    this.#countRejected(checked.rejected);
    if (checked.batch.rows === 0) return nothingOf(checked);
    this.#tellLiveSpans(checked.batch);
    this.#tellAgents(checked.batch, transport);
    let claim = this.#claim(checked.batch, transport);
    // Nothing is awaited without need: what is under way is counted in the turn in which it came.
    while (claim.kind === "undecided") {
      await this.#decided(claim.decided, checked.batch.rows, origin);
      claim = this.#claim(checked.batch, transport);
    }
    const { fresh: freshRows, settle } = claim;
    const repeated = checked.batch.rows - freshRows.length;
    if (repeated > 0) {
      telemetry.count("thalweg_ingest_rejected_total", { signal, reason: "repeated" }, repeated);
    }
    if (freshRows.length === 0) {
      settle(true);
      return nothingOf(checked);
    }
    const unjoined = repeated === 0 ? checked.batch : selectRows(checked.batch, freshRows, ATTRIBUTES_MAX);
    // Texts are shared: whoever keeps the one needs the memory of the other.
    if (repeated > 0) retainBatch(batch);
    const joining = this.#joinHosts(unjoined, transport);
    const fresh = joining instanceof Promise ? await this.#joined(joining) : joining;
    let twins = this.#claimTwins(fresh, transport);
    while (twins.kind === "undecided") {
      await twins.decided;
      twins = this.#claimTwins(fresh, transport);
    }
    const commit = this.#commitClaim(twins, origin, bytes).then(
      (stored) => {
        settle(true);
        return stored;
      },
      (error: unknown) => {
        settle(false);
        throw error;
      },
    );
    const receipt = await (comesAgain(transport) ? this.#unlessInDoubt(commit) : commit);
    // An agent on another host is answered once all of its spans are stored.
    if (comesAgain(transport) && twins.held !== undefined && !(await this.#unlessInDoubt(twins.held))) {
      settle(false);
      throw new ThalwegError("store_unavailable", { why: "spans that waited could not be stored" });
    }
    for (const [what, count] of [...(origin.mended ?? []), ...checked.mended]) {
      telemetry.count("thalweg_ingest_mended_total", { signal, what }, count);
    }
    // What is held is shown once it is stored, and what was joined as it is stored.
    const shown = transport === "capture" || fresh !== unjoined ? twins.batch : checked.batch;
    return { stored: receipt.spans, batch: shown, rejected: checked.rejected, mended: checked.mended };
  }

  /** Spans of agents in the traces they have over several hosts; nothing waits where no other host sends any. */
  #joinHosts(batch: SpanBatch, transport: Transport): SpanBatch | Promise<SpanBatch> {
    const nowMs = this.#deps.clock.monotonicMs();
    return transport === "replay" || !this.#hosts.isActive(nowMs) ? batch : this.#hosts.join(batch, nowMs);
  }

  /** Waits for a batch that is to be committed. */
  async #joined(joining: Promise<SpanBatch>): Promise<SpanBatch> {
    this.#pending++;
    try {
      return await joining;
    } finally {
      this.#pending--;
      // Where there is a commit it has begun by then.
      setImmediate(() => {
        if (this.#pending === 0) this.#whenIdle?.();
      });
    }
  }

  /**
   * Waits for what is under way, unless the store opens its files again meanwhile: then the sender is refused at once.
   * What it sends again is known as repeated once it shows that it was stored all the same.
   */
  #unlessInDoubt<T>(work: Promise<T>): Promise<T> {
    return new Promise((resolve, reject) => {
      this.#waiting.add(reject);
      if (this.#inDoubt) reject(inDoubt());
      work.then(resolve, reject).finally(() => this.#waiting.delete(reject));
    });
  }

  /** Waits for the commit of spans that came before and are here again. */
  async #decided(decided: Promise<unknown>, rows: number, origin: SpanOrigin): Promise<void> {
    try {
      await (comesAgain(origin.transport) ? this.#unlessInDoubt(decided) : decided);
    } catch (error) {
      this.#countRefused(rows, origin, "store_unavailable");
      throw error;
    }
  }

  #reopening(state: "broken" | "open"): void {
    this.#inDoubt = state === "broken";
    if (!this.#inDoubt) return;
    for (const refuse of this.#waiting) refuse(inDoubt());
    this.#waiting.clear();
  }

  /** As `acceptSpans`, with a refusal as an answer instead of an error. */
  async receive(received: {
    readonly batch: SpanBatch;
    readonly rejected: ReadonlyMap<string, number>;
    readonly mended: ReadonlyMap<string, number>;
    readonly transport: Transport;
  }): Promise<ReceiveOutcome> {
    const { batch, rejected, mended, transport } = received;
    try {
      const accepted = await this.acceptSpans(batch, { signal: "traces", transport, rejected, mended });
      return { kind: "stored", batch: accepted.batch, rejected: accepted.rejected, mended: accepted.mended };
    } catch (error) {
      if (!(error instanceof ThalwegError) || error.code !== "store_unavailable") throw error;
      return { kind: "refused", reason: error.message, retryAfterSeconds: RETRY_AFTER_SECONDS };
    }
  }

  /**
   * Why spans cannot be stored now, one reason a text; empty where they can.
   *
   * A refusal counts until a commit succeeds, or for 15 s where none is tried any more.
   */
  troubles(): string[] {
    const { clock } = this.#deps;
    const reasons: string[] = [];
    if (this.#closed) reasons.push("The server is stopping.");
    const trouble = this.#trouble;
    if (trouble !== undefined && clock.monotonicMs() - trouble.atMs < TROUBLE_MS) reasons.push(trouble.why);
    if (this.#flush.trouble !== undefined) reasons.push(this.#flush.trouble);
    return reasons;
  }

  /** Calls back once, at the next batch with a span that is not a replayed one. */
  onceLive(callback: () => void): void {
    this.#onLiveSpans = callback;
  }

  /** Calls back once, when an agent on another host has sent spans. */
  onceAgents(callback: () => void): void {
    this.#onAgents = callback;
  }

  /** Calls back with spans of the agent that were held for a while, once they are stored. */
  onHeldStored(callback: (batch: SpanBatch) => void): void {
    this.#onHeldSpans = callback;
  }

  /** Stores everything derived so far; series and edges can be asked for afterwards. */
  async flush(): Promise<void> {
    await this.#flush.flush();
  }

  /** Refuses what comes, waits for commits under way, and saves the derived state. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#releaseTimer);
    this.#hosts.release(Number.POSITIVE_INFINITY, true);
    // What is under way may be the twin of what is held.
    await this.#idle();
    this.#releaseHeld(true);
    await this.#idle();
    await this.#flush.close();
  }

  async #idle(): Promise<void> {
    if (this.#pending === 0) return;
    await new Promise<void>((resolve) => {
      this.#whenIdle = resolve;
    });
  }

  #claimTwins(batch: SpanBatch, transport: Transport): TwinClaim | TwinUndecided {
    const nowMs = this.#deps.clock.monotonicMs();
    if (transport === "capture") return this.#twins.claimAgent(batch, nowMs);
    if (transport === "replay") return { kind: "claimed", batch, settle: () => {} };
    if (isOfAgents(batch)) return this.#twins.claimAgent(batch, nowMs);
    return this.#twins.claimOwn(batch, nowMs);
  }

  async #commitClaim(claim: TwinClaim, origin: SpanOrigin, bytes: number): Promise<{ readonly spans: number }> {
    let stored = false;
    try {
      const receipt = claim.batch.rows === 0 ? { spans: 0 } : await this.#commit(claim.batch, origin, bytes);
      stored = true;
      return receipt;
    } finally {
      claim.settle(stored);
    }
  }

  #releaseHeld(all: boolean): void {
    this.#hosts.release(this.#deps.clock.monotonicMs(), all);
    for (const claim of this.#twins.release(this.#deps.clock.monotonicMs(), all)) {
      this.#commitClaim(claim, CAPTURED, batchBytes(claim.batch)).then(
        () => this.#onHeldSpans?.(claim.batch),
        (error: unknown) => this.#deps.log.error({ error }, "captured spans could not be stored"),
      );
    }
  }

  /** Rows that are not stored already: whoever may send again may have done so. */
  #claim(batch: SpanBatch, transport: Transport): Claim | Undecided {
    // An agent on this very host may send what is captured here too.
    if (comesAgain(transport) || (transport === "capture" && this.#hosts.isActive(this.#deps.clock.monotonicMs())))
      return this.#seen.claim(batch);
    return { kind: "claimed", fresh: allRows(batch), settle: () => {} };
  }

  /** The continuation of a commit runs in the order of commits, and derives in the same turn: see the invariants. */
  async #commit(batch: SpanBatch, origin: SpanOrigin, bytes: number): Promise<CommitReceipt> {
    const { writer, clock, telemetry } = this.#deps;
    this.#pending++;
    this.#pendingBytes += bytes;
    let receipt: CommitReceipt | undefined;
    try {
      receipt = await writer.commitSpans(batch);
      this.#trouble = undefined;
      telemetry.count("thalweg_ingest_stored_total", { signal: origin.signal }, receipt.spans);
      if (this.#streams.observe(batch, receipt.sequence, clock.nowMs())) this.#flush.appeared();
      return receipt;
    } catch (error) {
      if (receipt === undefined) {
        this.#countRefused(batch.rows, origin, "store_unavailable");
        const why = error instanceof Error ? error.message : String(error);
        this.#trouble = { why, atMs: clock.monotonicMs() };
      }
      throw error;
    } finally {
      this.#pending--;
      this.#pendingBytes -= bytes;
      if (this.#pending === 0) this.#whenIdle?.();
    }
  }

  #refuseOverload(batch: SpanBatch, origin: SpanOrigin, bytes: number): void {
    const max = this.#deps.pendingBytesMax ?? PENDING_BYTES_MAX;
    const isFull = this.#pending > 0 && this.#pendingBytes + bytes > max;
    if (!isFull && !this.#closed) return;
    this.#countRefused(batch.rows, origin, this.#closed ? "store_unavailable" : "overload");
    const why = this.#closed ? "it is stopping" : `${this.#pendingBytes} bytes of spans wait, the limit is ${max}`;
    throw new ThalwegError("store_unavailable", { why });
  }

  #countRefused(rows: number, { signal, transport }: SpanOrigin, reason: string): void {
    const name = comesAgain(transport) ? "thalweg_ingest_rejected_total" : "thalweg_ingest_lost_total";
    this.#deps.telemetry.count(name, { signal, reason }, rows);
  }

  #countRejected(rejected: ReadonlyMap<string, number> | undefined): void {
    for (const [reason, count] of rejected ?? []) {
      this.#deps.telemetry.count("thalweg_ingest_rejected_total", { signal: "traces", reason }, count);
    }
  }

  #tellLiveSpans(batch: SpanBatch): void {
    const callback = this.#onLiveSpans;
    if (callback === undefined || batch.source.every((source) => source === REPLAY)) return;
    this.#onLiveSpans = undefined;
    callback();
  }

  #tellAgents(batch: SpanBatch, transport: Transport): void {
    if (!comesAgain(transport) || batch.source.every((source) => !isKernelSource(source) || source === REPLAY)) return;
    this.#hosts.agentSeen(this.#deps.clock.monotonicMs());
    this.#onAgents?.();
    this.#onAgents = undefined;
  }

  #tellCounts(): void {
    const { telemetry } = this.#deps;
    const { waiting, expired, dropped, overflowCalls, backfilled, notLookedFor } = this.#streams.graphCounts();
    telemetry.set("thalweg_graph_waiting_spans", {}, waiting);
    telemetry.set("thalweg_graph_backfilled_total", {}, backfilled);
    telemetry.set("thalweg_graph_not_looked_for_total", {}, notLookedFor);
    for (const kind of ["client", "server", "producer", "consumer"]) {
      telemetry.set("thalweg_graph_expired_total", { kind }, expired[kind] ?? 0);
      telemetry.set("thalweg_graph_dropped_total", { kind }, dropped[kind] ?? 0);
    }
    this.#overflow.tell(telemetry);
    telemetry.set("thalweg_duplicates_total", { counted: "program" }, this.#twins.counts.program);
    telemetry.set("thalweg_duplicates_total", { counted: "agent" }, this.#twins.counts.agent);
    telemetry.set("thalweg_held_spans", {}, this.#twins.held);
    const { joined, givenUp } = this.#hosts.counts;
    telemetry.set("thalweg_hosts_waiting_spans", {}, this.#hosts.held);
    for (const how of ["hosts", "hosts-nat", "late"] as const) {
      telemetry.set("thalweg_hosts_joined_total", { how }, joined[how]);
    }
    for (const reason of ["timeout", "full"] as const) {
      telemetry.set("thalweg_hosts_given_up_total", { reason }, givenUp[reason]);
    }
    for (const reason of ["timeout", "full"] as const) {
      telemetry.set("thalweg_held_given_up_total", { reason }, this.#twins.givenUp[reason]);
    }
    telemetry.set("thalweg_derive_overflow_calls_total", { of: "edge" }, overflowCalls);
  }
}

/**
 * Opens the way in: restores what was derived, derives again what was committed since, then takes spans.
 *
 * Call it once for a store, before anything commits spans.
 */
export async function openIngest(deps: IngestDeps): Promise<Ingest> {
  const streams = await restoreStreams(deps);
  const seen = new SeenSpans();
  seen.remember(await deps.writer.recentSpans(REMEMBERED_SPANS_MAX));
  return new Ingest(deps, streams, seen);
}

/** Whether every row was captured, here or by an agent. */
/** The outcome of a batch of which no row is stored. */
function nothingOf({ batch, rejected }: CheckedBatch): AcceptedSpans {
  return { stored: 0, batch, rejected, mended: new Map() };
}

function isOfAgents({ source }: SpanBatch): boolean {
  return source.every(isKernelSource);
}

/** Whether somebody sends again what was refused. */
function comesAgain(transport: Transport): boolean {
  return transport === "grpc" || transport === "http";
}

function inDoubt(): ThalwegError {
  return new ThalwegError("store_unavailable", { why: "its files are opened again" });
}

function allRows({ rows }: SpanBatch): Uint32Array {
  return Uint32Array.from({ length: rows }, (_, row) => row);
}

function sumOf(counts: ReadonlyMap<string, number> | undefined): number {
  let sum = 0;
  for (const count of counts?.values() ?? []) sum += count;
  return sum;
}
