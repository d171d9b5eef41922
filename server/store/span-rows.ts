/** Rows of `span` read back: as one whole span, or appended to a batch. */

import {
  DuckDBBlobValue,
  type DuckDBConnection,
  DuckDBMapValue,
  DuckDBUUIDValue,
  type DuckDBValue,
} from "@duckdb/node-api";
import { spanIdToHex } from "../model/hex.ts";
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

/**
 * Columns that `readSpan` takes, in the order that the functions below expect. Each costs some 30 us a query, so none that
 * it has no use for.
 */
export const SHOWN_COLUMNS = [
  "span_id",
  "parent_span_id",
  "resource_id",
  "service",
  "instance",
  "scope_name",
  "scope_version",
  "scope_rest",
  "name",
  "kind",
  "status",
  "status_message",
  "start_ns",
  "duration_ns",
  "source",
  "link_reason",
  "flags",
  "trace_state",
  "attribute_kinds",
  "attribute_repeats",
  "attributes",
  "events",
  "links",
  ...TYPED_ATTRIBUTES.map(({ column }) => column),
] as const;
const TYPED_AT = SHOWN_COLUMNS.length - TYPED_ATTRIBUTES.length;
/** Columns that `readForReplay` takes besides. */
const REPLAY_COLUMNS = [
  "trace_id",
  "protocol",
  "client_addr",
  "client_port",
  "server_addr",
  "server_port",
  "pid",
  "weight",
  "duplicate_of",
  "commit_sequence",
] as const;
const REPLAY_AT = SHOWN_COLUMNS.length;

/** Columns that `readForReplay` takes. */
export const READ_COLUMNS: readonly string[] = [...SHOWN_COLUMNS, ...REPLAY_COLUMNS];

/** Resources by id; one that is not stored is added under its name alone. */
export type ResourcesById = Map<bigint, Resource>;

/** Values of `READ_COLUMNS` or `SHOWN_COLUMNS`. */
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
  return bigintOf(row[2]);
}

/** Commit that a row came with. */
export function sequenceOfRow(row: Row): number {
  return numberOf(row[REPLAY_AT + 9]);
}

/** A row as one whole span of the trace that was asked for. */
export function readSpan(row: Row, traceId: string, resources: ResourcesById): StoredSpan {
  const startNs = bigintOf(row[12]);
  const resource = resourceOfRow(row, resources);
  return {
    traceId,
    spanId: spanIdToHex(bigintOf(row[0])),
    parentSpanId: row[1] === null ? "" : spanIdToHex(bigintOf(row[1])),
    service: textOf(row[3]),
    instance: textOf(row[4]),
    name: textOf(row[8]),
    kind: indexIn(SPAN_KINDS, row[9]),
    status: indexIn(SPAN_STATUSES, row[10]),
    statusMessage: textOf(row[11]),
    startNs,
    endNs: startNs + bigintOf(row[13]),
    source: textOf(row[14]),
    linkReason: textOf(row[15]),
    traceState: textOf(row[17]),
    flags: numberOf(row[16]),
    scopeName: textOf(row[5]),
    scopeVersion: textOf(row[6]),
    scopeRest: textOf(row[7]),
    resourceRest: resource.rest ?? "",
    resource: resource.attributes,
    attributes: attributesOf(row),
    events: bytesOf(row[21]),
    links: bytesOf(row[22]),
  };
}

/** A row as `SpanBatchBuilder.append` takes it, with what the builder's indices stand for. */
export function readForReplay(
  row: Row,
  resources: ResourcesById,
): { span: Omit<SpanToAppend, "resource" | "scope">; resource: Resource; scope: Scope } {
  const [traceId, protocol, clientAddr, clientPort, serverAddr, serverPort, pid, weight, duplicateOf] =
    row.slice(REPLAY_AT);
  const [traceIdHigh, traceIdLow] = traceIdOf(traceId);
  const startNs = bigintOf(row[12]);
  return {
    resource: resourceOfRow(row, resources),
    scope: { name: textOf(row[5]), version: textOf(row[6]), ...(row[7] === null ? {} : { rest: textOf(row[7]) }) },
    span: {
      traceIdHigh,
      traceIdLow,
      spanId: bigintOf(row[0]),
      parentSpanId: bigintOf(row[1]),
      startNs,
      endNs: startNs + bigintOf(row[13]),
      name: textOf(row[8]),
      kind: indexIn(SPAN_KINDS, row[9]),
      status: indexIn(SPAN_STATUSES, row[10]),
      statusMessage: textOf(row[11]),
      source: indexIn(SPAN_SOURCES, row[14]),
      linkReason: textOf(row[15]),
      protocol: textOf(protocol),
      clientAddr: textOf(clientAddr),
      clientPort: numberOrZero(clientPort),
      serverAddr: textOf(serverAddr),
      serverPort: numberOrZero(serverPort),
      pid: numberOrZero(pid),
      weight: numberOf(weight),
      duplicateOf: bigintOf(duplicateOf),
      flags: numberOf(row[16]),
      traceState: textOf(row[17]),
      attributes: attributesOf(row),
      events: bytesOf(row[21]),
      links: bytesOf(row[22]),
    },
  };
}

function numberOrZero(value: DuckDBValue | undefined): number {
  return value === null ? 0 : numberOf(value);
}

/** Where the resource was not kept, its name is: the row carries service and instance itself. */
function resourceOfRow(row: Row, resources: ResourcesById): Resource {
  const id = resourceIdOf(row);
  const known = resources.get(id);
  if (known !== undefined) return known;
  const service = textOf(row[3]);
  const named: Resource = {
    service,
    instance: textOf(row[4]),
    attributes: [{ key: "service.name", kind: "s", value: service }],
  };
  resources.set(id, named);
  return named;
}

function attributesOf(row: Row): Attribute[] {
  return joinAttributes({
    kinds: textOf(row[18]),
    repeats: textOf(row[19]),
    entries: entriesOf(row[20]),
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
