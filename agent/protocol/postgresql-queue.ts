/**
 * What one PostgreSQL client asked for and the server has not finished, oldest first.
 *
 * Invariants: at most `WAITING_MAX` items; the group that the client is sending is the last of them. A simple query, a
 * function call, a startup and a `Sync` are each ended by one `ReadyForQuery`; a group by its own result.
 */

import type { MessageMark } from "./exchange.ts";
import { extend, type Item, type ItemKind, makeItem } from "./postgresql-item.ts";

/** What one connection may have under way; what is later is counted and left out. */
export const WAITING_MAX = 4096;

/** The items of one connection. */
export class PgQueue {
  #items: Item[] = [];
  #group: Item | undefined;
  /** After an error, what the client sends up to its next `Sync` is not looked at by the server. */
  skipsToSync = false;

  get length(): number {
    return this.#items.length;
  }

  get first(): Item | undefined {
    return this.#items[0];
  }

  get last(): Item | undefined {
    return this.#items.at(-1);
  }

  get items(): readonly Item[] {
    return this.#items;
  }

  /** The group that the client is sending. */
  get group(): Item | undefined {
    return this.#group;
  }

  /** Items that a `ReadyForQuery` will end. */
  get ends(): number {
    return this.#items.filter(({ kind }) => kind !== "group").length;
  }

  /** Puts an item behind the others; undefined where there is no room. A group is open until it is closed. */
  add(kind: ItemKind, mark: MessageMark): Item | undefined {
    if (this.#items.length >= WAITING_MAX) return undefined;
    const item = makeItem(kind, mark);
    this.#items.push(item);
    if (kind === "group") this.#group = item;
    return item;
  }

  /** A message belongs to the open group, if there is one. */
  touchGroup(mark: MessageMark): void {
    if (this.#group !== undefined) extend(this.#group.request, mark);
  }

  /** Nothing more belongs to the group. @returns It, where nothing is left that it waits for. */
  closeGroup(): Item | undefined {
    const group = this.#group;
    this.#group = undefined;
    if (group === undefined) return undefined;
    group.isClosed = true;
    return !group.executes && group.replies === "" ? group : undefined;
  }

  /** What the server answers at present: the oldest that has no result yet. */
  get answered(): Item | undefined {
    const at = this.#items.findIndex((item) => !item.isAnswered);
    const item = this.#items[at];
    // Nothing but ReadyForQuery answers a Sync; errors may, where what is before it was answered.
    return item?.kind === "sync" ? this.#items[at - 1] : item;
  }

  /** What copies, if anything does. */
  get copying(): Item | undefined {
    const item = this.#items.find(({ kind }) => kind === "query" || kind === "group");
    return item?.response === undefined ? undefined : item;
  }

  /** While data is copied in, a `Sync` that was sent before is not looked at: the client sends another. */
  dropSync(item: Item): void {
    const at = this.#items.indexOf(item);
    if (this.#items[at + 1]?.kind === "sync") this.#items.splice(at + 1, 1);
  }

  /**
   * The result of a group came. What is followed by a Sync waits for it: only then is its work committed.
   *
   * @returns Whether it is over, and left.
   */
  resultRead(item: Item): boolean {
    item.isAnswered = true;
    const at = this.#items.indexOf(item);
    if (this.#items[at + 1]?.kind === "sync") return false;
    this.#items.splice(at, 1);
    return true;
  }

  /** A group failed. @returns What the server passes over, up to the next Sync. */
  fail(failed: Item): Item[] {
    failed.isAnswered = true;
    failed.isClosed = true;
    const at = this.#items.indexOf(failed);
    let end = at + 1;
    while (end < this.#items.length && this.#items[end]?.kind === "group") end++;
    const skipped = this.#items.splice(at + 1, end - at - 1);
    this.#group = undefined;
    if (this.#items[at + 1] === undefined) this.skipsToSync = true;
    return skipped;
  }

  /** `ReadyForQuery`. @returns What it ends: a query, or everything up to a Sync; undefined where nothing can be ready. */
  ready(): Item[] | undefined {
    const end = this.#items.findIndex(({ kind }) => kind !== "group");
    // Groups without a Sync cannot be ready yet.
    return end < 0 ? undefined : this.#items.splice(0, end + 1);
  }

  /** Takes out the first. */
  shift(): void {
    this.#items.shift();
  }

  /** Takes out all. */
  clear(): Item[] {
    const forgotten = this.#items;
    this.#items = [];
    this.#group = undefined;
    this.skipsToSync = false;
    return forgotten;
  }
}
