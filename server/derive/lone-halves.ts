/** Halves of calls that stay alone: what they are counted as. */

import { KIND_CONSUMER, KIND_PRODUCER, KIND_SERVER } from "../model/span-batch.ts";
import type { EdgeCall } from "./edge-series.ts";
import {
  FLAG_CARRIED,
  FLAG_DATABASE,
  FLAG_GHOST,
  FLAG_KERNEL,
  FLAG_QUIET,
  FLAG_ROOT,
  type HalfEdge,
  SIDE_SERVER,
} from "./half-edges.ts";

/** Client of a root span without a name for its caller. */
const UNKNOWN_CALLER = "user";
/** Client, in the minutes only, of a server span whose parent never came. */
export const UNSEEN_PARENT = "unknown";

/** An edge's names. */
export type Sides = Pick<EdgeCall, "client" | "server" | "type">;

/** Whether a half can be found by what both sides know. */
export function isKeyed(half: HalfEdge): boolean {
  return half.side !== SIDE_SERVER || (half.flags & FLAG_ROOT) === 0;
}

/** Whether the other side of a half may come after it was given up, and pair by its key alone. */
export function canBeLate(half: HalfEdge): boolean {
  return half.connection === 0 && (half.flags & (FLAG_GHOST | FLAG_QUIET | FLAG_ROOT | FLAG_CARRIED)) === 0;
}

/** The edge that a half which stays alone is counted as; from `UNSEEN_PARENT` it is one of the minutes only. */
export function aloneEdge({ side, kind, flags, service, peer }: HalfEdge): Sides | undefined {
  if (side !== SIDE_SERVER) {
    const type = (flags & FLAG_DATABASE) === 0 ? "virtual_node" : "database";
    return peer === "" ? undefined : { client: service, server: peer, type };
  }
  if ((flags & (FLAG_ROOT | FLAG_KERNEL)) !== 0) {
    return { client: peer === "" ? UNKNOWN_CALLER : peer, server: service, type: "virtual_node" };
  }
  return kind === KIND_SERVER ? { client: UNSEEN_PARENT, server: service, type: "virtual_node" } : undefined;
}

/** Client, server and type under which a half is counted as unpaired. */
export function unpairedSides({ side, kind, service }: HalfEdge): { client: string; server: string; type: string } {
  const isServer = side === SIDE_SERVER;
  const type = kind === KIND_PRODUCER || kind === KIND_CONSUMER ? "messaging_system" : "";
  return { client: isServer ? "" : service, server: isServer ? service : "", type };
}
