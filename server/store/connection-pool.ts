/** Connections that are used by one caller at a time. */

import type { DuckDBConnection, DuckDBInstance } from "@duckdb/node-api";

interface Turn {
  readonly connection: DuckDBConnection;
  free: Promise<unknown>;
  waiting: number;
}

/** A fixed number of connections; callers wait for the one with the shortest line. */
export class ConnectionPool {
  readonly #turns: readonly Turn[];

  private constructor(connections: readonly DuckDBConnection[]) {
    this.#turns = connections.map((connection) => ({ connection, free: Promise.resolve(), waiting: 0 }));
  }

  static async open(instance: DuckDBInstance, size: number): Promise<ConnectionPool> {
    const connections: DuckDBConnection[] = [];
    while (connections.length < size) connections.push(await instance.connect());
    return new ConnectionPool(connections);
  }

  use<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    const turn = this.#turns.reduce((least, other) => (other.waiting < least.waiting ? other : least));
    turn.waiting++;
    const done = turn.free
      .then(() => work(turn.connection))
      .finally(() => {
        turn.waiting--;
      });
    turn.free = done.catch(() => undefined);
    return done;
  }

  /** Waits for what runs. */
  async close(): Promise<void> {
    for (const { connection, free } of this.#turns) {
      await free;
      connection.disconnectSync();
    }
  }
}
