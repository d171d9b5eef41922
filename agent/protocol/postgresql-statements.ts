/**
 * Prepared statements and portals of one PostgreSQL connection, by name.
 *
 * Invariant: at most `STATEMENTS_MAX` statements and `PORTALS_MAX` portals; the ones defined first make room.
 */

import type { SqlStatement } from "./sql-template.ts";

const STATEMENTS_MAX = 1024;
const PORTALS_MAX = 256;

/** What a portal runs: a statement, or the name of one that was not seen. */
export interface Bound {
  readonly statement: SqlStatement | undefined;
  readonly name: string;
}

/** The names of one connection. */
export class PgStatements {
  readonly #statements = new Map<string, SqlStatement>();
  readonly #portals = new Map<string, Bound>();

  /** Defines a statement. @returns What had the name before. */
  prepare(name: string, statement: SqlStatement): SqlStatement | undefined {
    const before = this.#statements.get(name);
    this.#statements.delete(name);
    makeRoom(this.#statements, STATEMENTS_MAX);
    this.#statements.set(name, statement);
    return before;
  }

  /** The server refused a definition: the name means what it meant. */
  restore(name: string, before: SqlStatement | undefined): void {
    if (before === undefined) this.#statements.delete(name);
    else this.#statements.set(name, before);
  }

  statement(name: string): SqlStatement | undefined {
    return this.#statements.get(name);
  }

  bind(portal: string, name: string): void {
    this.#portals.delete(portal);
    makeRoom(this.#portals, PORTALS_MAX);
    this.#portals.set(portal, { statement: this.#statements.get(name), name });
  }

  portal(name: string): Bound | undefined {
    return this.#portals.get(name);
  }

  close(kind: number, name: string): void {
    if (kind === 0x53) this.#statements.delete(name);
    else this.#portals.delete(name);
  }

  /**
   * Definitions may have been missed. What has no name, and portals, are defined anew all the time; names of statements
   * are not, since drivers count them up.
   */
  forget(): void {
    this.#statements.delete("");
    this.#portals.clear();
  }
}

function makeRoom<Value>(map: Map<string, Value>, max: number): void {
  if (map.size < max) return;
  for (const oldest of map.keys()) {
    map.delete(oldest);
    return;
  }
}
