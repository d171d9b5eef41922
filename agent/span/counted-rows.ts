/**
 * Rows for exchanges that were counted in the kernel: one stands for all that are alike, by its `weight`.
 *
 * Where both ends of calls were counted, the two counts are laid beside each other, so that their rows are client and
 * server of one trace: sums by service, name, kind and status are those of the counts, and so are the edges between. Which
 * call of the client is which of the server's is not known, nor what it was made for.
 *
 * Invariants: each counted call is in exactly one row of its end. What finds no other end waits `waitLooks` looks, since a
 * response is counted at its server before it is at its client.
 */

import type { CountedCalls } from "../../server/model/capture-event.ts";
import type { Attribute } from "../../server/model/span-batch.ts";
import { KIND_CLIENT, KIND_SERVER, SPAN_SOURCES, STATUS_ERROR, STATUS_UNSET } from "../../server/model/span-batch.ts";
import { EMPTY_SPAN, type SpanToAppend } from "../../server/model/span-batch-builder.ts";
import { hashText, plainAddress } from "./message-identity.ts";

const SOURCE_EBPF = SPAN_SOURCES.indexOf("ebpf");
const FLAG_SAMPLED = 1;
const waitLooks = 2;
/** Counts that wait for their other end; beyond, none waits. */
const waitingMax = 16_384;
const weightMax = 0xffff_ffff;

/** Calls of one end that have no other end yet. */
interface Waiting {
  readonly calls: CountedCalls;
  left: number;
  looks: number;
}

/** Calls, in one or two rows. */
export interface CountedHop {
  readonly client: CountedCalls | undefined;
  readonly server: CountedCalls | undefined;
  readonly weight: number;
}

/** Lays the counts of clients and of servers beside each other. */
export class CountedHops {
  #waiting: Waiting[] = [];

  /**
   * Takes what was counted since the last look.
   *
   * @param isLast No more comes: nothing waits.
   * @returns What is to become rows now.
   */
  take(counted: readonly CountedCalls[], isLast = false): CountedHop[] {
    for (const calls of counted) this.#waiting.push({ calls, left: calls.calls, looks: 0 });
    const groups = new Map<string, { clients: Waiting[]; servers: Waiting[] }>();
    for (const waiting of this.#waiting) {
      const { method, status, server, role } = waiting.calls;
      const key = `${method} ${status} ${plainAddress(server.addr)} ${server.port}`;
      let group = groups.get(key);
      if (group === undefined) {
        group = { clients: [], servers: [] };
        groups.set(key, group);
      }
      (role === "client" ? group.clients : group.servers).push(waiting);
    }
    const hops: CountedHop[] = [];
    for (const { clients, servers } of groups.values()) pair(clients, servers, hops);
    const isOver = isLast || this.#waiting.length > waitingMax;
    const kept: Waiting[] = [];
    for (const waiting of this.#waiting) {
      if (waiting.left === 0) continue;
      waiting.looks += 1;
      if (waiting.looks <= waitLooks && !isOver) kept.push(waiting);
      else
        addHops(
          hops,
          waiting.calls.role === "client" ? { client: waiting.calls } : { server: waiting.calls },
          waiting.left,
        );
    }
    this.#waiting = kept;
    return hops;
  }
}

function pair(clients: readonly Waiting[], servers: readonly Waiting[], hops: CountedHop[]): void {
  let at = 0;
  for (const client of clients) {
    for (let server = servers[at]; server !== undefined && client.left > 0; server = servers[at]) {
      const both = Math.min(client.left, server.left);
      if (both > 0) addHops(hops, { client: client.calls, server: server.calls }, both);
      client.left -= both;
      server.left -= both;
      if (server.left === 0) at += 1;
    }
  }
}

function addHops(hops: CountedHop[], ends: { client?: CountedCalls; server?: CountedCalls }, calls: number): void {
  for (let left = calls; left > 0; left -= weightMax) {
    hops.push({ client: ends.client, server: ends.server, weight: Math.min(left, weightMax) });
  }
}

/** What the rows of counted calls need beside the counts. */
export interface CountedRowSetting {
  /** Unix nanoseconds of the look. */
  readonly nowUnixNano: bigint;
  /** Number of the hop, never the same twice while the agent runs. */
  readonly number: number;
  /** Tells agents and their runs apart. */
  readonly salt: string;
}

/** The row of one end of a counted hop; all fields but `resource` and `scope`. */
export function countedRow(hop: CountedHop, kind: "client" | "server", setting: CountedRowSetting): SpanToAppend {
  const calls = kind === "client" ? hop.client : hop.server;
  if (calls === undefined) throw new Error(`a counted hop without a ${kind} has no row of it`);
  const { method, status, server } = calls;
  const id = (purpose: string): bigint => idOf(`${setting.salt} ${setting.number} ${purpose}`);
  const hasClient = hop.client !== undefined;
  const isFailed = status === 0 || status >= (kind === "client" ? 400 : 500);
  const error = status === 0 ? "no_answer" : String(status);
  const addr = plainAddress(server.addr);
  const attributes: Attribute[] = [{ key: "http.request.method", kind: "s", value: method }];
  if (status > 0) attributes.push({ key: "http.response.status_code", kind: "i", value: String(status) });
  attributes.push({ key: "server.address", kind: "s", value: addr });
  attributes.push({ key: "server.port", kind: "i", value: String(server.port) });
  if (isFailed) attributes.push({ key: "error.type", kind: "s", value: error });
  attributes.push({ key: "thalweg.counted", kind: "b", value: "true" });
  return {
    ...EMPTY_SPAN,
    traceIdHigh: id("trace high"),
    traceIdLow: id("trace low"),
    spanId: id(kind),
    parentSpanId: kind === "server" && hasClient ? id("client") : 0n,
    linkReason: kind === "server" && hasClient ? "counted" : "",
    startNs: setting.nowUnixNano - BigInt(Math.round(calls.meanNs)),
    endNs: setting.nowUnixNano,
    name: method,
    kind: kind === "client" ? KIND_CLIENT : KIND_SERVER,
    status: isFailed ? STATUS_ERROR : STATUS_UNSET,
    source: SOURCE_EBPF,
    protocol: "http",
    serverAddr: addr,
    serverPort: server.port,
    pid: calls.pid,
    weight: hop.weight,
    flags: FLAG_SAMPLED,
    attributes,
  };
}

/** 64 bits, never 0. */
function idOf(text: string): bigint {
  const high = BigInt(hashText(text, 1) >>> 0);
  const low = BigInt(hashText(text, 2) >>> 0);
  const id = (high << 32n) | low;
  return id === 0n ? 1n : id;
}
