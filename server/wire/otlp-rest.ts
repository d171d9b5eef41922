/**
 * What OTLP says of a resource or scope beside attributes, name and version, as the text that batches and the store keep
 * of it (`Resource.rest`, `Scope.rest`): JSON whose members are named as in OTLP JSON.
 */

import type { Attribute } from "../model/span-batch.ts";
import { readKeyValue, writeKeyValue } from "./any-value.ts";
import { keyValueToJson, readKeyValueJson } from "./any-value-json.ts";
import type { JsonCursor } from "./json-reader.ts";
import {
  firstElement,
  firstKey,
  jsonCursorOver,
  nextElement,
  nextKey,
  readString,
  readUint32Json,
  skipNull,
  skipValue,
} from "./json-reader.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import { enterMessage, leaveMessage, readTag, readText, readVarint32, skipField } from "./protobuf-reader.ts";
import type { ProtobufWriter } from "./protobuf-writer.ts";

/** Attributes kept of a scope; those beyond are left out and counted. */
const ATTRIBUTES_MAX = 1024;
/** UTF-16 units of a text of this kind; a longer one is left out whole and counted. */
const REST_UNITS_MAX = 65_536;

/** Reference to an entity of a resource. */
interface EntityRef {
  schemaUrl: string;
  type: string;
  readonly idKeys: string[];
  readonly descriptionKeys: string[];
}

/** What stands beside a resource or scope. Reused: `clearRest` before each. */
export interface OtlpRest {
  /** Of a scope only. */
  attributes: Attribute[];
  droppedAttributes: number;
  /** Of a resource only. */
  entityRefs: EntityRef[];
  schemaUrl: string;
  /** Attributes that were too many. */
  attributesOver: number;
}

/** An empty one. */
export function newRest(): OtlpRest {
  return { attributes: [], droppedAttributes: 0, entityRefs: [], schemaUrl: "", attributesOver: 0 };
}

/** Empties `rest` for the next resource or scope. */
export function clearRest(rest: OtlpRest): void {
  if (rest.attributes.length > 0) rest.attributes = [];
  if (rest.entityRefs.length > 0) rest.entityRefs = [];
  rest.droppedAttributes = 0;
  rest.schemaUrl = "";
  rest.attributesOver = 0;
}

/** Adds an attribute of a scope unless there are too many. */
function keepScopeAttribute(rest: OtlpRest, attribute: Attribute): void {
  if (rest.attributes.length < ATTRIBUTES_MAX) rest.attributes.push(attribute);
  else rest.attributesOver++;
}

/** The text, and how many things were left out of it: earlier values of a repeated key, what was too many or too long. */
export function restText(rest: OtlpRest): { readonly text: string; readonly leftOut: number } {
  const { attributes, droppedAttributes, entityRefs, schemaUrl } = rest;
  if (attributes.length === 0 && droppedAttributes === 0 && entityRefs.length === 0 && schemaUrl === "") {
    return { text: "", leftOut: rest.attributesOver };
  }
  const members: string[] = [];
  const unique = new Map(attributes.map((attribute) => [attribute.key, attribute]));
  if (unique.size > 0) {
    members.push(`"attributes":[${[...unique.values()].map((each) => keyValueToJson(each.key, each)).join(",")}]`);
  }
  if (droppedAttributes > 0) members.push(`"droppedAttributesCount":${droppedAttributes}`);
  if (entityRefs.length > 0) members.push(`"entityRefs":${JSON.stringify(entityRefs.map(entityRefMembers))}`);
  if (schemaUrl !== "") members.push(`"schemaUrl":${JSON.stringify(schemaUrl)}`);
  const text = `{${members.join(",")}}`;
  const leftOut = attributes.length - unique.size + rest.attributesOver;
  return text.length > REST_UNITS_MAX ? { text: "", leftOut: leftOut + 1 } : { text, leftOut };
}

/** Empty members are not written, as in OTLP JSON. */
function entityRefMembers({ schemaUrl, type, idKeys, descriptionKeys }: EntityRef): object {
  return {
    ...(schemaUrl === "" ? {} : { schemaUrl }),
    ...(type === "" ? {} : { type }),
    ...(idKeys.length === 0 ? {} : { idKeys }),
    ...(descriptionKeys.length === 0 ? {} : { descriptionKeys }),
  };
}

/** Reads an EntityRef message; the cursor stands before its length. */
export function readEntityRef(cursor: ProtobufCursor): EntityRef {
  const outerEnd = enterMessage(cursor);
  const ref: EntityRef = { schemaUrl: "", type: "", idKeys: [], descriptionKeys: [] };
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) ref.schemaUrl = readText(cursor);
    else if (tag === 18) ref.type = readText(cursor);
    else if (tag === 26) ref.idKeys.push(readText(cursor));
    else if (tag === 34) ref.descriptionKeys.push(readText(cursor));
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  return ref;
}

/** Reads the OTLP JSON of an EntityRef. */
export function readEntityRefJson(cursor: JsonCursor): EntityRef {
  const ref: EntityRef = { schemaUrl: "", type: "", idKeys: [], descriptionKeys: [] };
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "schemaUrl") ref.schemaUrl = readString(cursor);
    else if (name === "type") ref.type = readString(cursor);
    else if (name === "idKeys") readStrings(cursor, ref.idKeys);
    else if (name === "descriptionKeys") readStrings(cursor, ref.descriptionKeys);
    else skipValue(cursor);
  }
  return ref;
}

function readStrings(cursor: JsonCursor, into: string[]): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    into.push(skipNull(cursor) ? "" : readString(cursor));
  }
}

/** Reads an InstrumentationScope message into `scope` and, what is beside name and version, `rest`. */
export function readScope(cursor: ProtobufCursor, scope: { name: string; version: string }, rest: OtlpRest): void {
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) scope.name = readText(cursor);
    else if (tag === 18) scope.version = readText(cursor);
    else if (tag === 26) keepScopeAttribute(rest, readKeyValue(cursor));
    else if (tag === 32) rest.droppedAttributes = readVarint32(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

/** As `readScope`, for JSON. */
export function readScopeJson(cursor: JsonCursor, scope: { name: string; version: string }, rest: OtlpRest): void {
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (skipNull(cursor)) continue;
    if (name === "name") scope.name = readString(cursor);
    else if (name === "version") scope.version = readString(cursor);
    else if (name === "droppedAttributesCount") rest.droppedAttributes = readUint32Json(cursor);
    else if (name !== "attributes") skipValue(cursor);
    else {
      for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
        if (!skipNull(cursor)) keepScopeAttribute(rest, readKeyValueJson(cursor));
      }
    }
  }
}

/** Reads back a text that `restText` made. */
export function parseRest(text: string): OtlpRest {
  const rest = newRest();
  if (text === "") return rest;
  const cursor = jsonCursorOver(text);
  for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
    if (name === "schemaUrl") rest.schemaUrl = readString(cursor);
    else if (name === "droppedAttributesCount") rest.droppedAttributes = readUint32Json(cursor);
    else if (name === "attributes") {
      for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
        rest.attributes.push(readKeyValueJson(cursor));
      }
    } else if (name === "entityRefs") {
      for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
        rest.entityRefs.push(readEntityRefJson(cursor));
      }
    } else skipValue(cursor);
  }
  return rest;
}

/** Writes fields 2 and 3 of a Resource. */
export function writeResourceRest(writer: ProtobufWriter, { droppedAttributes, entityRefs }: OtlpRest): void {
  if (droppedAttributes > 0) writer.writeUint32(2, droppedAttributes);
  for (const { schemaUrl, type, idKeys, descriptionKeys } of entityRefs) {
    const message = writer.openMessage(3);
    if (schemaUrl !== "") writer.writeText(1, schemaUrl);
    if (type !== "") writer.writeText(2, type);
    for (const key of idKeys) writer.writeText(3, key);
    for (const key of descriptionKeys) writer.writeText(4, key);
    writer.closeMessage(message);
  }
}

/** Writes fields 3 and 4 of an InstrumentationScope. */
export function writeScopeRest(writer: ProtobufWriter, { attributes, droppedAttributes }: OtlpRest): void {
  for (const attribute of attributes) writeKeyValue(writer, 3, attribute);
  if (droppedAttributes > 0) writer.writeUint32(4, droppedAttributes);
}

/** Members of a Resource in JSON beside `attributes`. */
export function resourceRestMembers({ droppedAttributes, entityRefs }: OtlpRest): string[] {
  const members: string[] = [];
  if (droppedAttributes > 0) members.push(`"droppedAttributesCount":${droppedAttributes}`);
  if (entityRefs.length > 0) members.push(`"entityRefs":${JSON.stringify(entityRefs.map(entityRefMembers))}`);
  return members;
}

/** Members of an InstrumentationScope in JSON beside `name` and `version`. */
export function scopeRestMembers({ attributes, droppedAttributes }: OtlpRest): string[] {
  const members: string[] = [];
  if (attributes.length > 0) {
    members.push(`"attributes":[${attributes.map((each) => keyValueToJson(each.key, each)).join(",")}]`);
  }
  if (droppedAttributes > 0) members.push(`"droppedAttributesCount":${droppedAttributes}`);
  return members;
}

/** The member `schemaUrl` with a comma before it; empty where there is none. */
export function schemaUrlMember({ schemaUrl }: OtlpRest): string {
  return schemaUrl === "" ? "" : `,"schemaUrl":${JSON.stringify(schemaUrl)}`;
}
