/**
 * The rule of other tracers, on the same events: what a thread sends next belongs to what it received last.
 *
 * As DeepFlow's `trace_process` has it: a message that comes in puts a mark on its thread, the next message that goes out
 * takes the mark away, and the answer to a call marks the thread with what the call belonged to. Only the first call of a
 * message counts. Coroutines are looked at where the capture names them.
 *
 * @see DeepFlow, agent/src/ebpf/kernel/include/socket_trace.h
 */

import type { SocketOpened, SocketSlice } from "../../server/model/capture-event.ts";

interface Seen {
  readonly isClient: boolean;
  readonly pair: string;
  direction: -1 | 0 | 1;
  requests: number;
  /** What the call under way was made for. */
  cause: string | undefined;
}

/** Names of the parents that the rule gives, by the name of the call: `clientPort serverPort ordinal`. */
export class LastRequestRule {
  readonly parents = new Map<string, string>();
  readonly #sockets = new Map<number, Seen>();
  readonly #marks = new Map<string, string | undefined>();
  readonly #ordinals = new Map<string, number>();

  opened(event: SocketOpened): void {
    const isClient = event.role === "client";
    const [client, server] = isClient ? [event.local, event.remote] : [event.remote, event.local];
    const pair = `${client.port} ${server.port}`;
    this.#sockets.set(event.socket, { isClient, pair, direction: -1, requests: 0, cause: undefined });
  }

  slice(event: SocketSlice): void {
    // Records of TLS are no messages: what they hold is told beside them.
    if (event.tls !== undefined && event.tls.kind !== "clear") return;
    const seen = this.#sockets.get(event.socket);
    if (seen === undefined || seen.direction === event.direction) return;
    seen.direction = event.direction;
    const thread = `${event.pid}:${event.tid}`;
    const isRequest = (event.direction === 0) === seen.isClient;
    if (event.direction === 1) {
      this.#marks.set(thread, isRequest ? this.#named(seen) : seen.cause);
      return;
    }
    const mark = this.#marks.get(thread);
    this.#marks.delete(thread);
    if (!isRequest) return;
    seen.cause = mark;
    const name = this.#named(seen);
    if (mark !== undefined) this.parents.set(name, mark);
  }

  closed(socket: number): void {
    this.#sockets.delete(socket);
  }

  #named(seen: Seen): string {
    const key = `${seen.isClient} ${seen.pair}`;
    const ordinal = (this.#ordinals.get(key) ?? 0) + 1;
    this.#ordinals.set(key, ordinal);
    return `${seen.pair} ${ordinal}`;
  }
}
