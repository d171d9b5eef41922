/**
 * What the SYN thread tells the packet rung: who owns the ends of a connection at the moment of its SYN.
 */

import type { MessagePort } from "node:worker_threads";
import type { Endpoint, Owner, ProcessSeen } from "../../server/model/capture-event.ts";

/** Owners of one new connection. `processes` holds the ones that were not told before, read while they lived. */
export interface SynReport {
  readonly client: Endpoint;
  readonly server: Endpoint;
  readonly timeNs: number;
  /** Undefined for an end on another host. */
  readonly clientOwner: Owner | undefined;
  readonly serverOwner: Owner | undefined;
  readonly processes: readonly ProcessSeen[];
}

/** What the thread is started with. */
export interface SynThreadSettings {
  /** As for `loadNative`. */
  readonly nativeDirectory: string | undefined;
  /** Takes arrays of `SynReport`; the first one, empty, says that the thread sees SYNs. */
  readonly reports: MessagePort;
  /** One Int32: 0 while the thread is wanted. */
  readonly stop: SharedArrayBuffer;
}

/** Names a connection by its ends. */
export function connectionKey(client: Endpoint, server: Endpoint): string {
  return `${client.addr} ${client.port} ${server.addr} ${server.port}`;
}
