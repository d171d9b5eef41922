/** Spans that Tempo's rules could not pair, or had no room for, by client, server and connection type. */

import type { ByteReader } from "../model/byte-reader.ts";
import type { ByteWriter } from "../model/byte-writer.ts";
import type { MetricMetadata, SampleToAppend } from "../model/series.ts";
import { bornAt, type Cadence, markAllUnwritten, markChanged, pushDue, pushZeros, restoredAt } from "./cadence.ts";
import { labelsOf, OVERFLOW_VALUE } from "./series-labels.ts";

const UNPAIRED = "traces_service_graph_unpaired_spans_total";
const DROPPED = "traces_service_graph_dropped_spans_total";
const BACKFILLED = "traces_service_graph_backfilled_spans_total";
const GROUPS_MAX = 1_000;

/** Type and help of the series that `UnpairedSeriesSet` makes. */
export const UNPAIRED_METADATA: readonly MetricMetadata[] = [
  { name: UNPAIRED, type: "counter", help: "Spans whose other side was not seen in time.", unit: "" },
  { name: DROPPED, type: "counter", help: "Spans the service graph had no room to keep.", unit: "" },
  { name: BACKFILLED, type: "counter", help: "Unpaired or dropped spans whose other side came later.", unit: "" },
];

interface Group {
  readonly client: string;
  readonly server: string;
  readonly type: string;
  unpaired: number;
  dropped: number;
  backfilled: number;
  readonly cadence: Cadence;
}

/** Counts by group; at most `GROUPS_MAX` groups and one for the rest. */
export class UnpairedSeriesSet {
  readonly #groups = new Map<string, Group>();
  readonly #labels = new WeakMap<
    Group,
    Readonly<Record<"unpaired" | "dropped" | "backfilled", SampleToAppend["labels"]>>
  >();

  /** Counts spans of one side; the name of the other side is empty. Returns whether a group was born. */
  count(
    what: "unpaired" | "dropped" | "backfilled",
    sides: { readonly client: string; readonly server: string; readonly type: string },
    weight: number,
    nowMs: number,
  ): boolean {
    const groupsBefore = this.#groups.size;
    let group = this.#groups.get(keyOf(sides));
    if (group === undefined) {
      const { client, server, type } =
        groupsBefore < GROUPS_MAX ? sides : { client: OVERFLOW_VALUE, server: OVERFLOW_VALUE, type: sides.type };
      group = this.#groups.get(keyOf({ client, server, type })) ?? this.#add({ client, server, type }, nowMs);
    }
    group[what] += weight;
    markChanged(group.cadence, nowMs);
    return this.#groups.size > groupsBefore;
  }

  pushZeros(nowMs: number, out: SampleToAppend[], groupsMax: number): Cadence[] {
    return pushZeros(this.#groups.values(), this.#push, nowMs, out, groupsMax);
  }

  pushDue(nowMs: number, out: SampleToAppend[]): void {
    pushDue(this.#groups.values(), this.#push, nowMs, out);
  }

  markUnwritten(): void {
    markAllUnwritten(this.#groups.values());
  }

  write(out: ByteWriter): void {
    out.varint(this.#groups.size);
    for (const { client, server, type, unpaired, dropped, backfilled, cadence } of this.#groups.values()) {
      out.text(client);
      out.text(server);
      out.text(type);
      out.varint(cadence.bornMs);
      out.byte(cadence.zeroed ? 1 : 0);
      out.varint(unpaired);
      out.varint(dropped);
      out.varint(backfilled);
    }
  }

  read(reader: ByteReader, nowMs: number): void {
    for (let left = reader.varint(); left > 0; left--) {
      const sides = { client: reader.text(), server: reader.text(), type: reader.text() };
      const cadence = restoredAt(nowMs, reader.varint(), reader.byte() === 1);
      const group = {
        ...sides,
        cadence,
        unpaired: reader.varint(),
        dropped: reader.varint(),
        backfilled: reader.varint(),
      };
      this.#groups.set(keyOf(sides), group);
    }
  }

  #add(sides: Pick<Group, "client" | "server" | "type">, nowMs: number): Group {
    const group = { ...sides, unpaired: 0, dropped: 0, backfilled: 0, cadence: bornAt(nowMs) };
    this.#groups.set(keyOf(sides), group);
    return group;
  }

  readonly #push = (group: Group, out: SampleToAppend[], timestampMs: number, zero: boolean): void => {
    let labels = this.#labels.get(group);
    if (labels === undefined) {
      const pairs = [
        ["client", group.client],
        ["server", group.server],
        ["connection_type", group.type],
      ] as const;
      labels = {
        unpaired: labelsOf(UNPAIRED, pairs),
        dropped: labelsOf(DROPPED, pairs),
        backfilled: labelsOf(BACKFILLED, pairs),
      };
      this.#labels.set(group, labels);
    }
    out.push({ labels: labels.unpaired, timestampMs, value: zero ? 0 : group.unpaired });
    out.push({ labels: labels.dropped, timestampMs, value: zero ? 0 : group.dropped });
    out.push({ labels: labels.backfilled, timestampMs, value: zero ? 0 : group.backfilled });
  };
}

function keyOf({ client, server, type }: Pick<Group, "client" | "server" | "type">): string {
  return `${client}\u0000${server}\u0000${type}`;
}
