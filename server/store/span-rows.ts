/** Rows of `span` read back: as one whole span, or appended to a batch. */

import {
  DuckDBBlobValue,
  type DuckDBConnection,
  DuckDBMapValue,
  DuckDBUUIDValue,
  type DuckDBValue,
} from "@duckdb/node-api";
import { spanIdToHex, traceIdToHex } from "../model/hex.ts";
import {
  type Attribute,
  type Resource,
  type Scope,
  SPAN_KINDS,
  SPAN_SOURCES,
  SPAN_STATUSES,
} from "../model/span-batch.ts";
import { NO_BYTES, type SpanToAppend } from "../model/span-batch-builder.ts";
import { TYPED_ATTRIBUTES } from "../model/sql-tables.ts";
import type { StoredSpan } from "../model/stored-span.ts";
import { joinAttributes } from "./attribute-columns.ts";
import { bigintOf, numberOf, readRows, textOf } from "./database.ts";

const U64_MASK = 0xffff_ffff_ffff_ffffn;

/** Columns in the order that the functions below expect. */
const READ_COLUMNS = [
  "trace_id",
  "span_id",
  "parent_span_id",
  "resource_id",
  "service",
  "instance",
  "scope_name",
  "scope_version",
  "name",
  "kind",
  "status",
  "status_message",
  "start_ns",
  "duration_ns",
  "source",
  "link_reason",
  "protocol",
  "client_addr",
  "client_port",
  "server_addr",
  "server_port",
  "pid",
  "weight",
  "duplicate_of",
  "flags",
  "trace_state",
  "attribute_kinds",
  "attribute_repeats",
  "attributes",
  "events",
  "links",
  "commit_sequence",
  "scope_rest",
  ...TYPED_ATTRIBUTES.map(({ column }) => column),
] as const;
const TYPED_AT = READ_COLUMNS.length - TYPED_ATTRIBUTES.length;

/** The select list that `readSpan` and `readForReplay` take rows of. */
export const READ_LIST = READ_COLUMNS.join(", ");

/** Resources by id; one that is not stored is added under its name alone. */
export type ResourcesById = Map<bigint, Resource>;

/** Values of `READ_LIST`. */
export type Row = readonly DuckDBValue[];

/** Adds the resources of rows that are not known yet. Ids are hashes of content: one map serves all files. */
export async function learnResources(
  connection: DuckDBConnection,
  alias: string,
  rows: readonly Row[],
  known: ResourcesById,
): Promise<void> {
  const unknown = new Set<bigint>();
  for (const row of rows) if (!known.has(resourceIdOf(row))) unknown.add(resourceIdOf(row));
  if (unknown.size === 0) return;
  const ids = [...unknown].map((id) => `CAST(${id} AS UBIGINT)`).join(", ");
  const found = await readRows(
    connection,
    `SELECT resource_id, service, instance, attributes, attribute_kinds, attribute_repeats, rest
     FROM ${alias}.resource WHERE resource_id IN (${ids})`,
  );
  for (const [id, service, instance, map, kinds, repeats, rest] of found) {
    const attributes = joinAttributes({
      kinds: textOf(kinds),
      entries: entriesOf(map),
      repeats: textOf(repeats),
      typed: () => undefined,
    });
    known.set(bigintOf(id), {
      service: textOf(service),
      instance: textOf(instance),
      attributes,
      ...(rest === null ? {} : { rest: textOf(rest) }),
    });
  }
}

function resourceIdOf(row: Row): bigint {
  return bigintOf(row[3]);
}

/** Commit that a row came with. */
export function sequenceOfRow(row: Row): number {
  return numberOf(row[31]);
}

/** A row as one whole span. */
export function readSpan(row: Row, resources: ResourcesById): StoredSpan {
  const [high, low] = traceIdOf(row[0]);
  const startNs = bigintOf(row[12]);
  const resource = resourceOfRow(row, resources);
  return {
    traceId: traceIdToHex(high, low),
    spanId: spanIdToHex(bigintOf(row[1])),
    parentSpanId: row[2] === null ? "" : spanIdToHex(bigintOf(row[2])),
    service: textOf(row[4]),
    instance: textOf(row[5]),
    name: textOf(row[8]),
    kind: indexIn(SPAN_KINDS, row[9]),
    status: indexIn(SPAN_STATUSES, row[10]),
    statusMessage: textOf(row[11]),
    startNs,
    endNs: startNs + bigintOf(row[13]),
    source: textOf(row[14]),
    linkReason: textOf(row[15]),
    traceState: textOf(row[25]),
    flags: numberOf(row[24]),
    scopeName: textOf(row[6]),
    scopeVersion: textOf(row[7]),
    scopeRest: textOf(row[32]),
    resourceRest: resource.rest ?? "",
    resource: resource.attributes,
    attributes: attributesOf(row),
    events: bytesOf(row[29]),
    links: bytesOf(row[30]),
  };
}

/** A row as `SpanBatchBuilder.append` takes it, with what the builder's indices stand for. */
export function readForReplay(
  row: Row,
  resources: ResourcesById,
): { span: Omit<SpanToAppend, "resource" | "scope">; resource: Resource; scope: Scope } {
  const [traceIdHigh, traceIdLow] = traceIdOf(row[0]);
  const startNs = bigintOf(row[12]);
  return {
    resource: resourceOfRow(row, resources),
    scope: { name: textOf(row[6]), version: textOf(row[7]), ...(row[32] === null ? {} : { rest: textOf(row[32]) }) },
    span: {
      traceIdHigh,
      traceIdLow,
      spanId: bigintOf(row[1]),
      parentSpanId: bigintOf(row[2]),
      startNs,
      endNs: startNs + bigintOf(row[13]),
      name: textOf(row[8]),
      kind: indexIn(SPAN_KINDS, row[9]),
      status: indexIn(SPAN_STATUSES, row[10]),
      statusMessage: textOf(row[11]),
      source: indexIn(SPAN_SOURCES, row[14]),
      linkReason: textOf(row[15]),
      protocol: textOf(row[16]),
      clientAddr: textOf(row[17]),
      clientPort: row[18] === null ? 0 : numberOf(row[18]),
      serverAddr: textOf(row[19]),
      serverPort: row[20] === null ? 0 : numberOf(row[20]),
      pid: row[21] === null ? 0 : numberOf(row[21]),
      weight: numberOf(row[22]),
      duplicateOf: bigintOf(row[23]),
      flags: numberOf(row[24]),
      traceState: textOf(row[25]),
      attributes: attributesOf(row),
      events: bytesOf(row[29]),
      links: bytesOf(row[30]),
    },
  };
}

/** Where the resource was not kept, its name is: the row carries service and instance itself. */
function resourceOfRow(row: Row, resources: ResourcesById): Resource {
  const id = resourceIdOf(row);
  const known = resources.get(id);
  if (known !== undefined) return known;
  const service = textOf(row[4]);
  const named: Resource = {
    service,
    instance: textOf(row[5]),
    attributes: [{ key: "service.name", kind: "s", value: service }],
  };
  resources.set(id, named);
  return named;
}

function attributesOf(row: Row): Attribute[] {
  return joinAttributes({
    kinds: textOf(row[26]),
    repeats: textOf(row[27]),
    entries: entriesOf(row[28]),
    typed: (index) => {
      const value = row[TYPED_AT + index];
      return value === null || value === undefined ? undefined : String(value);
    },
  });
}

function entriesOf(map: DuckDBValue | undefined): [string, string][] {
  if (!(map instanceof DuckDBMapValue)) return [];
  return map.entries.map(({ key, value }) => [textOf(key), textOf(value)]);
}

function traceIdOf(value: DuckDBValue | undefined): [high: bigint, low: bigint] {
  if (!(value instanceof DuckDBUUIDValue)) return [0n, 0n];
  const id = value.toUint128();
  return [id >> 64n, id & U64_MASK];
}

function bytesOf(value: DuckDBValue | undefined): Uint8Array {
  return value instanceof DuckDBBlobValue ? new Uint8Array(value.bytes) : NO_BYTES;
}

function indexIn(words: readonly string[], value: DuckDBValue | undefined): number {
  return Math.max(0, words.indexOf(textOf(value)));
}
