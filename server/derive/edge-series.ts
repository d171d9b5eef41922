/**
 * The edges of the service graph: counters and histograms under Tempo's names, and calls by minute for the store.
 *
 * The two differ on purpose. The series follow Tempo's rules to the letter; the minutes also hold calls that those
 * rules leave unpaired (client `unknown`), so that every server span stands in one edge into its service.
 *
 * Invariants: at most `EDGES_MAX` edges and one overflow edge for each server; what waits to be stored by minute is
 * kept until `takeMinutes`, at most `MINUTES_PENDING_MAX` minutes an edge, later calls then share the last.
 */

import type { ByteReader } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";
import { logBucketOf } from "../model/log-histogram.ts";
import type { MetricMetadata, SampleToAppend } from "../model/series.ts";
import { bornAt, type Cadence, markAllUnwritten, markChanged, pushDue, pushZeros, restoredAt } from "./cadence.ts";
import {
  emptyHistogram,
  HistogramSeries,
  type LatencyHistogram,
  latencyBounds,
  observeLatency,
  readHistogram,
  writeHistogram,
} from "./latency-histogram.ts";
import { addLogCount, emptyLogCounts, type LogCounts, sparseLogCounts } from "./log-counts.ts";
import { labelsOf, OVERFLOW_VALUE } from "./series-labels.ts";

const EDGES_MAX = 2_000;
const OVERFLOW_EDGES_MAX = 1_000;
const MINUTES_PENDING_MAX = 60;
/** At the limit, edges without a call for so long make room; coming back, they start from 0. */
const IDLE_MS = 3_600_000;
const MAKE_ROOM_EVERY_MS = 60_000;

/** Edge types by number; the text is the `connection_type`. */
const EDGE_TYPES = ["", "database", "messaging_system", "virtual_node"] as const;
/** `connection_type` of an edge. */
type EdgeType = (typeof EDGE_TYPES)[number];

/** Tempo's bounds (100 ms times powers of two up to 12.8 s), and finer ones below 100 ms. */
const EDGE_BOUNDS = latencyBounds([2, 4, 6, 8, 10, 50, ...Array.from({ length: 8 }, (_, k) => 100 * 2 ** k)]);

const REQUESTS = "traces_service_graph_request_total";
const FAILED = "traces_service_graph_request_failed_total";
const SERVER_SECONDS = "traces_service_graph_request_server_seconds";
const CLIENT_SECONDS = "traces_service_graph_request_client_seconds";
const MESSAGING_SECONDS = "traces_service_graph_request_messaging_system_seconds";

/** Type and help of the series that `EdgeSeriesSet` makes. */
export const EDGE_METADATA: readonly MetricMetadata[] = [
  { name: REQUESTS, type: "counter", help: "Calls between two nodes of the service graph.", unit: "" },
  { name: FAILED, type: "counter", help: "Failed calls between two nodes of the service graph.", unit: "" },
  { name: SERVER_SECONDS, type: "histogram", help: "Duration of calls as the server saw them.", unit: "seconds" },
  { name: CLIENT_SECONDS, type: "histogram", help: "Duration of calls as the client saw them.", unit: "seconds" },
  { name: MESSAGING_SECONDS, type: "histogram", help: "Time from sending to receiving a message.", unit: "seconds" },
];

/** One call, or several that a sampled span stands for. */
export interface EdgeCall {
  client: string;
  server: string;
  type: EdgeType;
  weight: number;
  failed: boolean;
  /** Undefined: this side was not seen. */
  serverNs: number | undefined;
  clientNs: number | undefined;
  /** Undefined where the call is no message, or the clocks disagree. */
  messagingNs: number | undefined;
  /** Unix milliseconds of the minute it belongs to. */
  bucketMs: number;
  /** The server is not a service that sent a span, so it may have any name. */
  virtualServer: boolean;
  /** Counted in the store's minutes only, not in Tempo's series; then `weight` may be below 0, to take back a call. */
  minutesOnly: boolean;
}

/** Calls of one edge in one minute; the shape of the store's `EdgeMinute`. */
export interface MinuteRow {
  readonly bucketMs: number;
  readonly client: string;
  readonly server: string;
  readonly connectionType: EdgeType;
  readonly requests: number;
  readonly errors: number;
  readonly serverBuckets: readonly (readonly [index: number, count: number])[];
  readonly clientBuckets: readonly (readonly [index: number, count: number])[];
}

interface Minute {
  readonly bucketMs: number;
  requests: number;
  errors: number;
  readonly server: LogCounts;
  readonly client: LogCounts;
}

interface Edge {
  readonly client: string;
  readonly server: string;
  readonly type: EdgeType;
  requests: number;
  failed: number;
  readonly serverLatency: LatencyHistogram;
  readonly clientLatency: LatencyHistogram;
  readonly messagingLatency: LatencyHistogram;
  readonly cadence: Cadence;
  /** The edge has series, not only minutes. */
  hasSeries: boolean;
  minutes: Minute[];
}

interface EdgeWriter {
  readonly requests: SampleToAppend["labels"];
  readonly failed: SampleToAppend["labels"];
  readonly server: HistogramSeries;
  readonly client: HistogramSeries;
  readonly messaging: HistogramSeries | undefined;
}

/** All edges. */
export class EdgeSeriesSet {
  readonly #edges = new Map<string, Map<string, Edge[]>>();
  #all: Edge[] = [];
  readonly #withMinutes = new Set<Edge>();
  readonly #writers = new WeakMap<Edge, EdgeWriter>();
  readonly #edgesMax: number;
  #overflowEdges = 0;
  #overflowCalls = 0;
  #madeRoomMs = Number.NEGATIVE_INFINITY;

  constructor(edgesMax: number = EDGES_MAX) {
    this.#edgesMax = edgesMax;
  }

  /** Calls counted in overflow edges, because there were too many edges. */
  get overflowCalls(): number {
    return this.#overflowCalls;
  }

  /** Nodes with an overflow edge, with the calls the series hold of it. */
  overflow(): { name: string; calls: number }[] {
    const calls = new Map<string, number>();
    for (const { client, server, requests } of this.#all) {
      if (client !== OVERFLOW_VALUE && server !== OVERFLOW_VALUE) continue;
      const name = client === OVERFLOW_VALUE ? server : client;
      calls.set(name, (calls.get(name) ?? 0) + requests);
    }
    return [...calls].map(([name, count]) => ({ name, calls: count }));
  }

  /**
   * Counts a call; `call` is read, not kept.
   *
   * @returns Whether an edge appeared.
   */
  count(call: Readonly<EdgeCall>, nowMs: number): boolean {
    const edgesBefore = this.#all.length;
    const edge = this.#edgeOf(call, nowMs, call.virtualServer);
    this.#countMinute(edge, call);
    edge.cadence.changedMs = nowMs;
    if (call.minutesOnly) return this.#all.length > edgesBefore;
    const appeared = !edge.hasSeries;
    if (appeared) {
      edge.hasSeries = true;
      edge.cadence.bornMs = nowMs;
    }
    edge.requests += call.weight;
    if (call.failed) edge.failed += call.weight;
    // As Tempo: the side that was not seen counts as 0 seconds.
    observeLatency(edge.serverLatency, EDGE_BOUNDS, call.serverNs ?? 0, call.weight);
    observeLatency(edge.clientLatency, EDGE_BOUNDS, call.clientNs ?? 0, call.weight);
    if (call.messagingNs !== undefined) {
      observeLatency(edge.messagingLatency, EDGE_BOUNDS, call.messagingNs, call.weight);
    }
    markChanged(edge.cadence, nowMs);
    return appeared;
  }

  /** Calls since the last time, by edge and minute. The caller stores them, or gives them back. */
  takeMinutes(): MinuteRow[] {
    const rows: MinuteRow[] = [];
    for (const edge of this.#withMinutes) {
      const { client, server, type: connectionType } = edge;
      for (const { bucketMs, requests, errors, server: serverLog, client: clientLog } of edge.minutes) {
        const serverBuckets = sparseLogCounts(serverLog);
        const clientBuckets = sparseLogCounts(clientLog);
        if (requests === 0 && errors === 0 && serverBuckets.length === 0 && clientBuckets.length === 0) continue;
        rows.push({ bucketMs, client, server, connectionType, requests, errors, serverBuckets, clientBuckets });
      }
      edge.minutes = [];
    }
    this.#withMinutes.clear();
    return rows;
  }

  /** Adds back rows that could not be stored. */
  giveBack(rows: readonly MinuteRow[], nowMs: number): void {
    for (const row of rows) {
      const edge = this.#edgeOf({ client: row.client, server: row.server, type: row.connectionType }, nowMs, false);
      const minute = this.#minuteOf(edge, row.bucketMs);
      minute.requests += row.requests;
      minute.errors += row.errors;
      for (const [bucket, count] of row.serverBuckets) addLogCount(minute.server, bucket, count);
      for (const [bucket, count] of row.clientBuckets) addLogCount(minute.client, bucket, count);
    }
  }

  pushZeros(nowMs: number, out: SampleToAppend[], groupsMax: number): Cadence[] {
    return pushZeros(this.#withSeries(), this.#push, nowMs, out, groupsMax);
  }

  pushDue(nowMs: number, out: SampleToAppend[]): void {
    pushDue(this.#withSeries(), this.#push, nowMs, out);
  }

  markUnwritten(): void {
    markAllUnwritten(this.#all);
  }

  write(out: ByteWriter): void {
    out.varint(this.#all.length);
    for (const edge of this.#all) {
      out.text(edge.client);
      out.text(edge.server);
      out.byte(EDGE_TYPES.indexOf(edge.type));
      out.byte((edge.cadence.zeroed ? 1 : 0) + (edge.hasSeries ? 2 : 0));
      out.varint(edge.cadence.bornMs);
      out.varint(edge.requests);
      out.varint(edge.failed);
      writeHistogram(out, edge.serverLatency);
      writeHistogram(out, edge.clientLatency);
      writeHistogram(out, edge.messagingLatency);
    }
  }

  read(reader: ByteReader, nowMs: number): void {
    for (let left = reader.varint(); left > 0; left--) {
      const client = reader.text();
      const server = reader.text();
      const type = EDGE_TYPES[reader.byte()] ?? "";
      const flags = reader.byte();
      const cadence = restoredAt(nowMs, reader.varint(), (flags & 1) !== 0);
      const requests = reader.varint();
      const failed = reader.varint();
      this.#add({
        client,
        server,
        type,
        cadence,
        requests,
        failed,
        serverLatency: readHistogram(reader, EDGE_BOUNDS),
        clientLatency: readHistogram(reader, EDGE_BOUNDS),
        messagingLatency: readHistogram(reader, EDGE_BOUNDS),
        hasSeries: (flags & 2) !== 0,
        minutes: [],
      });
    }
  }

  *#withSeries(): Generator<Edge> {
    for (const edge of this.#all) if (edge.hasSeries) yield edge;
  }

  /** @param foldServer Beyond the limit the server's name is given up, else the client's. */
  #edgeOf(call: Pick<EdgeCall, "client" | "server" | "type">, nowMs: number, foldServer: boolean): Edge {
    const { client, server, type } = call;
    const known = this.#edges
      .get(client)
      ?.get(server)
      ?.find((edge) => edge.type === type);
    if (known !== undefined) return known;
    const isOverflow = client === OVERFLOW_VALUE || server === OVERFLOW_VALUE;
    if (!isOverflow && !this.#hasRoom(nowMs)) {
      this.#overflowCalls++;
      const folded = foldServer ? { client, server: OVERFLOW_VALUE, type } : { client: OVERFLOW_VALUE, server, type };
      return this.#edgeOf(folded, nowMs, foldServer);
    }
    if (isOverflow && this.#overflowEdges >= OVERFLOW_EDGES_MAX && client !== server) {
      return this.#edgeOf({ client: OVERFLOW_VALUE, server: OVERFLOW_VALUE, type }, nowMs, foldServer);
    }
    const edge: Edge = {
      client,
      server,
      type,
      requests: 0,
      failed: 0,
      serverLatency: emptyHistogram(EDGE_BOUNDS),
      clientLatency: emptyHistogram(EDGE_BOUNDS),
      messagingLatency: emptyHistogram(EDGE_BOUNDS),
      cadence: bornAt(nowMs),
      hasSeries: false,
      minutes: [],
    };
    this.#add(edge);
    return edge;
  }

  #hasRoom(nowMs: number): boolean {
    const full = () => this.#all.length - this.#overflowEdges >= this.#edgesMax;
    if (full() && nowMs - this.#madeRoomMs >= MAKE_ROOM_EVERY_MS) {
      this.#madeRoomMs = nowMs;
      const kept = this.#all.filter((edge) => nowMs - edge.cadence.changedMs < IDLE_MS || edge.minutes.length > 0);
      this.#edges.clear();
      this.#overflowEdges = 0;
      this.#all = [];
      for (const edge of kept) this.#add(edge);
    }
    return !full();
  }

  #add(edge: Edge): void {
    if (edge.client === OVERFLOW_VALUE || edge.server === OVERFLOW_VALUE) this.#overflowEdges++;
    this.#all.push(edge);
    let byServer = this.#edges.get(edge.client);
    if (byServer === undefined) {
      byServer = new Map();
      this.#edges.set(edge.client, byServer);
    }
    const byType = byServer.get(edge.server);
    if (byType === undefined) byServer.set(edge.server, [edge]);
    else byType.push(edge);
  }

  #countMinute(edge: Edge, call: Readonly<EdgeCall>): void {
    const minute = this.#minuteOf(edge, call.bucketMs);
    minute.requests += call.weight;
    if (call.failed) minute.errors += call.weight;
    if (call.serverNs !== undefined) addLogCount(minute.server, logBucketOf(call.serverNs), call.weight);
    if (call.clientNs !== undefined) addLogCount(minute.client, logBucketOf(call.clientNs), call.weight);
  }

  #minuteOf(edge: Edge, bucketMs: number): Minute {
    const { minutes } = edge;
    for (let at = minutes.length - 1; at >= 0; at--) {
      const minute = minutes[at];
      if (minute !== undefined && minute.bucketMs === bucketMs) return minute;
    }
    const last = minutes[minutes.length - 1];
    if (last !== undefined && minutes.length >= MINUTES_PENDING_MAX) return last;
    const minute = { bucketMs, requests: 0, errors: 0, server: emptyLogCounts(), client: emptyLogCounts() };
    minutes.push(minute);
    this.#withMinutes.add(edge);
    return minute;
  }

  readonly #push = (edge: Edge, out: SampleToAppend[], timestampMs: number, zero: boolean): void => {
    let writer = this.#writers.get(edge);
    if (writer === undefined) {
      writer = writerOf(edge);
      this.#writers.set(edge, writer);
    }
    out.push({ labels: writer.requests, timestampMs, value: zero ? 0 : edge.requests });
    out.push({ labels: writer.failed, timestampMs, value: zero ? 0 : edge.failed });
    writer.server.push(out, edge.serverLatency, timestampMs, zero);
    writer.client.push(out, edge.clientLatency, timestampMs, zero);
    writer.messaging?.push(out, edge.messagingLatency, timestampMs, zero);
  };
}

function writerOf({ client, server, type }: Edge): EdgeWriter {
  const labels = [
    ["client", client],
    ["server", server],
    ["connection_type", type],
  ] as const;
  return {
    requests: labelsOf(REQUESTS, labels),
    failed: labelsOf(FAILED, labels),
    server: new HistogramSeries(SERVER_SECONDS, labels, EDGE_BOUNDS),
    client: new HistogramSeries(CLIENT_SECONDS, labels, EDGE_BOUNDS),
    messaging: type === "messaging_system" ? new HistogramSeries(MESSAGING_SECONDS, labels, EDGE_BOUNDS) : undefined,
  };
}
