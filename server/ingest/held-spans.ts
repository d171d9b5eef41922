/**
 * Spans of the agent that wait for the same call as the program's own instrumentation saw it.
 *
 * Invariants: a held row is released exactly once; it becomes a duplicate only of a row that is stored; at most
 * `heldMax` rows are held, and those that came first are released where more come.
 */

import type { SpanBatch } from "../model/span-batch.ts";
import { type Call, hashOf, isSameCall } from "./call-index.ts";
import { selectRows } from "./select-rows.ts";

/** Rows held at one time; their batches are kept whole. */
const HELD_MAX = 16_384;
const ALL_ATTRIBUTES = Number.POSITIVE_INFINITY;

/** The program's own span that a held one is a twin of, and what became of its commit. */
export interface Twin extends Call {
  readonly commit: { readonly state: "running" | "stored" | "failed" };
}

/** A row to hold; `twin` is set where its commit is under way. */
export interface RowToHold {
  readonly row: number;
  readonly call: Call;
  readonly twin: Twin | undefined;
}

/** Rows to commit, and the calls among them that count. */
export interface ReleasedRows {
  readonly batch: SpanBatch;
  readonly counted: readonly Call[];
  readonly duplicates: number;
  /** Says whether the rows were committed. */
  readonly settled: (stored: boolean) => void;
}

interface Held {
  readonly row: number;
  readonly call: Call;
  twin: Twin | undefined;
}

interface Group {
  readonly batch: SpanBatch;
  readonly untilMs: number;
  waiting: Held[];
  /** Rows that are not committed. */
  left: number;
  isLost: boolean;
  readonly whenStored: (stored: boolean) => void;
}

/** Why rows were released without a twin. */
export interface GivenUp {
  timeout: number;
  full: number;
}

/** See the file's head. */
export class HeldSpans {
  readonly givenUp: GivenUp = { timeout: 0, full: 0 };
  readonly #holdMs: number;
  readonly #heldMax: number;
  #groups: Group[] = [];
  readonly #byHash = new Map<number, Held[]>();
  #count = 0;

  constructor(holdMs: number, heldMax = HELD_MAX) {
    this.#holdMs = holdMs;
    this.#heldMax = heldMax;
  }

  get count(): number {
    return this.#count;
  }

  /** Holds rows of a batch, in growing order. Resolves once all are committed: false where one could not be. */
  hold(batch: SpanBatch, rows: readonly RowToHold[], nowMs: number): Promise<boolean> {
    const waiting = rows.map(({ row, call, twin }): Held => ({ row, call, twin }));
    const { promise, resolve } = Promise.withResolvers<boolean>();
    const left = waiting.length;
    this.#groups.push({
      batch,
      untilMs: nowMs + this.#holdMs,
      waiting,
      left,
      isLost: false,
      whenStored: resolve,
    });
    this.#count += waiting.length;
    for (const held of waiting) {
      const hash = hashOf(held.call);
      const list = this.#byHash.get(hash);
      if (list === undefined) this.#byHash.set(hash, [held]);
      else list.push(held);
    }
    return promise;
  }

  /**
   * Makes a program's span the twin of what is held of its call: every attempt of a client span, one server span.
   *
   * @returns Whether there was any.
   */
  match(twin: Twin, everyAttempt: boolean): boolean {
    const same = (this.#byHash.get(hashOf(twin)) ?? []).filter(
      (held) => (held.twin === undefined || held.twin.commit.state === "failed") && isSameCall(held.call, twin),
    );
    same.sort((a, b) => Math.abs(a.call.startNs - twin.startNs) - Math.abs(b.call.startNs - twin.startNs));
    const found = everyAttempt ? same : same.slice(0, 1);
    for (const held of found) held.twin = twin;
    return found.length > 0;
  }

  /** Rows whose twin is stored, and those that waited long enough or have no room; with `all`, the rest as well. */
  release(nowMs: number, all: boolean): ReleasedRows[] {
    if (this.#count === 0) return [];
    const released: ReleasedRows[] = [];
    for (const group of this.#groups) {
      const isOver = this.#count > this.#heldMax;
      const isLate = group.untilMs <= nowMs;
      const due = group.waiting.filter((held) => {
        const state = held.twin?.commit.state ?? "failed";
        return state === "stored" || all || (state === "failed" && (isLate || isOver));
      });
      if (due.length === 0) continue;
      const part = this.#take(group, due);
      released.push(part);
      if (!all) this.givenUp[isLate ? "timeout" : "full"] += part.counted.length;
    }
    this.#groups = this.#groups.filter(({ waiting }) => waiting.length > 0);
    return released;
  }

  #take(group: Group, due: readonly Held[]): ReleasedRows {
    const taken = new Set(due);
    group.waiting = group.waiting.filter((held) => !taken.has(held));
    this.#count -= due.length;
    const batch = selectRows(
      group.batch,
      Uint32Array.from(due, ({ row }) => row),
      ALL_ATTRIBUTES,
    );
    const duplicateOf = batch.duplicateOf.slice();
    const counted: Call[] = [];
    for (const [at, held] of due.entries()) {
      this.#forget(held);
      if (held.twin?.commit.state === "stored") duplicateOf[at] = held.twin.spanId;
      else counted.push(held.call);
    }
    const settled = (stored: boolean) => {
      group.left -= due.length;
      group.isLost ||= !stored;
      if (group.left === 0) group.whenStored(!group.isLost);
    };
    return { batch: { ...batch, duplicateOf }, counted, duplicates: due.length - counted.length, settled };
  }

  #forget(held: Held): void {
    const hash = hashOf(held.call);
    const left = (this.#byHash.get(hash) ?? []).filter((other) => other !== held);
    if (left.length === 0) this.#byHash.delete(hash);
    else this.#byHash.set(hash, left);
  }
}
