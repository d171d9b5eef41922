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
  readonly #onError: (error: unknown) => void;

  private constructor(connections: readonly DuckDBConnection[], onError: (error: unknown) => void) {
    this.#onError = onError;
    this.#turns = connections.map((connection) => ({ connection, free: Promise.resolve(), waiting: 0 }));
  }

  /** @param onError Told of every error of a caller's work. */
  static async open(
    instance: DuckDBInstance,
    size: number,
    onError: (error: unknown) => void,
  ): Promise<ConnectionPool> {
    const connections: DuckDBConnection[] = [];
    while (connections.length < size) connections.push(await instance.connect());
    return new ConnectionPool(connections, onError);
  }

  use<T>(work: (connection: DuckDBConnection) => Promise<T>): Promise<T> {
    const turn = this.#turns.reduce((least, other) => (other.waiting < least.waiting ? other : least));
    turn.waiting++;
    const done = turn.free
      .then(() => work(turn.connection))
      .finally(() => {
        turn.waiting--;
      });
    turn.free = done.catch((error: unknown) => this.#onError(error));
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
