/** Plays a conversation of one connection, by turns, through the connection room and its parser. */

import { do_not_optimize } from "mitata";
import type { ConnectionSink } from "../agent/connection/connection-sink.ts";
import { Connections } from "../agent/connection/connections.ts";
import type { SocketSlice } from "../server/model/capture-event.ts";

/** A player that reuses its objects, and counts what was finished so that nothing goes unread. */
export class ParsePlayer {
  #finished = 0;
  readonly #sink: ConnectionSink;
  readonly #slice: SocketSlice = {
    socket: 1,
    direction: 0,
    timeNs: 0,
    seq: 0,
    total: 0,
    bytes: new Uint8Array(0),
    tid: 7,
    pid: 7,
  };

  constructor() {
    this.#sink = {
      exchangeStarted: () => undefined,
      exchangeFinished: (_connection, exchange) => {
        this.#finished++;
        do_not_optimize(exchange);
      },
      connectionClosed: () => undefined,
    };
  }

  /** Exchanges finished since the player was made. */
  get finished(): number {
    return this.#finished;
  }

  /** @param messages Of client and server by turns. */
  play(messages: readonly Uint8Array[], port: number): void {
    const connections = new Connections(this.#sink, { redaction: true });
    const slice = this.#slice;
    const seq = [1, 1];
    connections.opened({
      socket: 1,
      sight: "both",
      role: "client",
      local: { addr: "127.0.0.1", port: 40_000 },
      remote: { addr: "127.0.0.1", port },
      netns: 0,
      joinedLate: false,
      timeNs: 1,
      localOwner: undefined,
      remoteOwner: undefined,
    });
    for (let index = 0; index < messages.length; index++) {
      const bytes = messages[index] as Uint8Array;
      const direction = (index % 2) as 0 | 1;
      slice.direction = direction;
      slice.bytes = bytes;
      slice.total = bytes.length;
      slice.seq = seq[direction] as number;
      seq[direction] = (slice.seq + bytes.length) >>> 0;
      slice.timeNs = index;
      connections.slice(slice);
    }
    connections.closed(1, messages.length, false);
  }
}
