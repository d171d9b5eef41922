/**
 * Which resources a day file holds already, so that each stands there once.
 *
 * Used by all writers, one at a time: resources become known when the transaction that brings them has ended.
 */

import { createHash } from "node:crypto";
import { type DuckDBConnection, DuckDBMapValue, type DuckDBValue, MAP, UBIGINT, VARCHAR } from "@duckdb/node-api";
import type { Resource } from "../model/span-batch.ts";
import { splitAttributes } from "./attribute-columns.ts";
import { readRows } from "./database.ts";
import type { DayFile } from "./day-files.ts";

/** Resources of one day file that are kept; rows of later ones keep service and instance only. */
const RESOURCES_PER_FILE_MAX = 200_000;
/** Resources of one INSERT: each statement costs as much as the rows of many. */
const RESOURCES_PER_INSERT = 64;
/** The columns of `resource`; told, since the driver cannot tell the type of an empty map from its entries. */
const RESOURCE_TYPES = [UBIGINT, VARCHAR, VARCHAR, MAP(VARCHAR, VARCHAR), VARCHAR, VARCHAR, VARCHAR];

/** A resource of a batch with the id its content gives it. */
export interface StagedResource {
  readonly id: bigint;
  readonly resource: Resource;
}

/** Ids of resources by content: every request brings its resources anew. */
const idsByContent = new Map<string, bigint>();
const KNOWN_RESOURCES_MAX = 10_000;
const KNOWN_CONTENT_LENGTH_MAX = 8_192;
const resourceIds = new WeakMap<Resource, bigint>();

/** The resource with 64 bits of its content's SHA-256: the same one has the same id in every file and on every host. */
export function stageResource(resource: Resource): StagedResource {
  const known = resourceIds.get(resource);
  if (known !== undefined) return { id: known, resource };
  const content = JSON.stringify([
    resource.service,
    resource.instance,
    resource.attributes.map(({ key, kind, value }) => [key, kind, value]),
    ...(resource.rest === undefined || resource.rest === "" ? [] : [resource.rest]),
  ]);
  let id = idsByContent.get(content);
  if (id === undefined) {
    id = createHash("sha256").update(content).digest().readBigUInt64LE(0);
    if (idsByContent.size >= KNOWN_RESOURCES_MAX) idsByContent.clear();
    if (content.length <= KNOWN_CONTENT_LENGTH_MAX) idsByContent.set(content, id);
  }
  resourceIds.set(resource, id);
  return { id, resource };
}

/** The resources of the file written last. */
export class ResourceBook {
  readonly #connection: DuckDBConnection;
  #known: { file: DayFile; ids: Set<bigint> } | undefined;
  /** Resources that were not kept since their file is full. */
  dropped = 0;

  constructor(connection: DuckDBConnection) {
    this.#connection = connection;
  }

  /** Those of the batches that `file` does not hold yet, as far as there is room. */
  async unknownIn(
    file: DayFile,
    batches: readonly { readonly resources: readonly StagedResource[] }[],
  ): Promise<StagedResource[]> {
    const ids = await this.#idsOf(file);
    const unknown = new Map<bigint, StagedResource>();
    for (const { resources } of batches) {
      for (const staged of resources) if (!ids.has(staged.id)) unknown.set(staged.id, staged);
    }
    const room = Math.max(0, RESOURCES_PER_FILE_MAX - ids.size);
    if (unknown.size > room) this.dropped += unknown.size - room;
    return [...unknown.values()].slice(0, room);
  }

  /** Inserts resources within the transaction that is open. */
  async insert(file: DayFile, resources: readonly StagedResource[]): Promise<void> {
    for (let from = 0; from < resources.length; from += RESOURCES_PER_INSERT) {
      const rows = resources.slice(from, from + RESOURCES_PER_INSERT).map(resourceRow);
      await this.#connection.run(
        `INSERT INTO ${file.alias}.resource VALUES ${rows.map((_, at) => resourcePlaces(at)).join(", ")}`,
        rows.flat(),
        rows.flatMap(() => RESOURCE_TYPES),
      );
    }
  }

  /** Tells that the transaction which inserted them is committed. */
  committed(file: DayFile, resources: readonly StagedResource[]): void {
    if (this.#known?.file === file) for (const { id } of resources) this.#known.ids.add(id);
  }

  async #idsOf(file: DayFile): Promise<Set<bigint>> {
    if (this.#known?.file === file) return this.#known.ids;
    const rows = await readRows(this.#connection, `SELECT resource_id FROM ${file.alias}.resource`);
    const ids = new Set<bigint>();
    for (const [id] of rows) if (typeof id === "bigint") ids.add(id);
    this.#known = { file, ids };
    return ids;
  }
}

/** The columns of `resource`. */
function resourceRow({ id, resource }: StagedResource): DuckDBValue[] {
  const { kinds, entries, repeats } = splitAttributes(resource.attributes);
  return [
    id,
    resource.service,
    resource.instance === "" ? null : resource.instance,
    new DuckDBMapValue(entries.map(([key, value]) => ({ key, value }))),
    kinds,
    repeats === "" ? null : repeats,
    resource.rest === undefined || resource.rest === "" ? null : resource.rest,
  ];
}

function resourcePlaces(row: number): string {
  const first = row * RESOURCE_TYPES.length + 1;
  return `(${RESOURCE_TYPES.map((_, column) => `$${first + column}`).join(", ")})`;
}
