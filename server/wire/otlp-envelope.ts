/**
 * What the requests of all signals of OTLP have in common: items (spans, log records, metrics) inside scopes inside
 * resources.
 */

import { isUtf8 } from "node:buffer";
import type { Attribute, Scope } from "../model/span-batch.ts";
import { readKeyValue, readValueColumns, type ValueColumns } from "./any-value.ts";
import { readKeyValueJson } from "./any-value-json.ts";
import type { JsonCursor } from "./json-reader.ts";
import {
  expectEnd,
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
import {
  clearRest,
  newRest,
  type OtlpRest,
  readEntityRef,
  readEntityRefJson,
  readScope,
  readScopeJson,
} from "./otlp-rest.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import {
  cursorOver,
  enterMessage,
  leaveMessage,
  readLength,
  readTag,
  readText,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import type { RequestKeys } from "./request-keys.ts";
import type { RequestTexts } from "./request-texts.ts";
import { WireError } from "./wire-error.ts";

const OPEN_OBJECT = "{".charCodeAt(0);
/** Read of a body in JSON that holds no object. */
const HEAD_BYTES = 1_024;

/** Takes resources and scopes as they are read; what they are called with is theirs until the next call. */
export interface EnvelopeSink {
  /** JSON alone: items are read only once all of their scope is known, whose `beginScope` then tells the schema URL. */
  readonly wantsWholeScopes?: boolean;
  keepResourceAttribute(attributes: Attribute[], attribute: Attribute): void;
  beginResource(attributes: Attribute[], rest?: OtlpRest): void;
  beginScope(scope: Scope, rest?: OtlpRest): void;
  /** JSON alone: `rest` stood behind the items of the resource, all of which were read. */
  amendResource(rest: OtlpRest): void;
  amendScope(rest: OtlpRest): void;
}

/** What a body was mended in, or why it is no request. Without any of the content. */
export type EnvelopeOutcome =
  | {
      readonly kind: "read";
      /** Strings with invalid UTF-8 or lone surrogates, as far as the reader met them. */
      readonly textRepaired: number;
      readonly valuesCut: number;
    }
  | MalformedBody;

/** Bytes that are no request. */
export interface MalformedBody {
  readonly kind: "malformed";
  readonly reason: string;
  /** Byte (protobuf) or UTF-16 unit (JSON) where decoding stopped. */
  readonly offset: number;
}

/** One a thread: a request is read in one turn. */
const resourceRest = newRest();
const scopeRest = newRest();

/**
 * Reads a whole request in protobuf. Unknown fields are skipped, also known ones of another wire type.
 *
 * @param readItem Reads the span, log record or metric before whose length the cursor stands.
 */
export function readEnvelope(
  bytes: Uint8Array,
  sink: EnvelopeSink,
  readItem: (cursor: ProtobufCursor) => void,
): EnvelopeOutcome {
  const cursor = cursorOver(bytes);
  try {
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag === 10) readResourceItems(cursor, sink, readItem);
      else skipField(cursor, tag);
    }
  } catch (error) {
    if (error instanceof WireError) return { kind: "malformed", reason: error.message, offset: error.offset };
    throw error;
  }
  return { kind: "read", textRepaired: cursor.textRepaired, valuesCut: cursor.valuesCut };
}

/** Fields may come in any order, so the resource is looked for before the items are read. */
function readResourceItems(
  cursor: ProtobufCursor,
  sink: EnvelopeSink,
  readItem: (cursor: ProtobufCursor) => void,
): void {
  const outerEnd = enterMessage(cursor);
  const start = cursor.at;
  const attributes: Attribute[] = [];
  clearRest(resourceRest);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) readResource(cursor, sink, attributes);
    else if (tag === 26) resourceRest.schemaUrl = readText(cursor);
    else skipField(cursor, tag);
  }
  sink.beginResource(attributes, resourceRest);
  cursor.at = start;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 18) readScopeItems(cursor, sink, readItem);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readResource(cursor: ProtobufCursor, sink: EnvelopeSink, attributes: Attribute[]): void {
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) sink.keepResourceAttribute(attributes, readKeyValue(cursor));
    else if (tag === 16) resourceRest.droppedAttributes = readVarint32(cursor);
    else if (tag === 26) resourceRest.entityRefs.push(readEntityRef(cursor));
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

function readScopeItems(cursor: ProtobufCursor, sink: EnvelopeSink, readItem: (cursor: ProtobufCursor) => void): void {
  const outerEnd = enterMessage(cursor);
  const start = cursor.at;
  const scope = { name: "", version: "" };
  clearRest(scopeRest);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) readScope(cursor, scope, scopeRest);
    else if (tag === 26) scopeRest.schemaUrl = readText(cursor);
    else skipField(cursor, tag);
  }
  sink.beginScope(scope, scopeRest);
  cursor.at = start;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 18) readItem(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
}

/** Names of the lists of one signal in JSON, from the outside in. */
export interface EnvelopeNames {
  readonly resources: string;
  readonly scopes: string;
  readonly items: string;
}

/**
 * Reads a whole request in JSON. Ids are hex of any case, 64-bit integers keep all digits, `null` is the default, unknown
 * keys (snake_case ones too) are skipped.
 *
 * @param readItem Reads the span, log record or metric before which the cursor stands, which may be `null`.
 */
export function readEnvelopeJson(
  bytes: Uint8Array,
  names: EnvelopeNames,
  sink: EnvelopeSink,
  readItem: (cursor: JsonCursor) => void,
): EnvelopeOutcome {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // What holds no object is refused at its first token, and needs no text as large as itself for that.
  const readBytes = bytes.includes(OPEN_OBJECT) ? bytes.length : Math.min(bytes.length, HEAD_BYTES);
  const cursor = jsonCursorOver(buffer.toString("utf8", 0, readBytes));
  const reader = new JsonEnvelope(cursor, names, sink, readItem);
  try {
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (skipNull(cursor)) continue;
      if (name === names.resources) reader.readResources();
      else skipValue(cursor);
    }
    expectEnd(cursor);
  } catch (error) {
    if (error instanceof WireError) return { kind: "malformed", reason: error.message, offset: error.offset };
    throw error;
  }
  return {
    kind: "read",
    textRepaired: cursor.textRepaired + (isUtf8(bytes) ? 0 : 1),
    valuesCut: cursor.valuesCut,
  };
}

/**
 * Items that stand before their resource or scope are passed over and read once it is known. A schema URL mostly stands
 * behind the items, and is told of them afterwards.
 */
class JsonEnvelope {
  readonly #cursor: JsonCursor;
  readonly #names: EnvelopeNames;
  readonly #sink: EnvelopeSink;
  readonly #readItem: (cursor: JsonCursor) => void;

  constructor(cursor: JsonCursor, names: EnvelopeNames, sink: EnvelopeSink, readItem: (cursor: JsonCursor) => void) {
    this.#cursor = cursor;
    this.#names = names;
    this.#sink = sink;
    this.#readItem = readItem;
  }

  readResources(): void {
    const cursor = this.#cursor;
    for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
      if (!skipNull(cursor)) this.#readResourceItems();
    }
  }

  #readResourceItems(): void {
    const cursor = this.#cursor;
    const later: number[] = [];
    const attributes: Attribute[] = [];
    let known = false;
    let schemaUrl = "";
    clearRest(resourceRest);
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (skipNull(cursor)) continue;
      if (name === "schemaUrl") schemaUrl = readString(cursor);
      else if (name === "resource" && !known) {
        this.#readResource(attributes);
        this.#sink.beginResource(attributes, resourceRest);
        known = true;
      } else if (name === this.#names.scopes && known) {
        this.#readScopes();
      } else if (name === this.#names.scopes) this.#passOver(later);
      else skipValue(cursor);
    }
    if (!known) this.#sink.beginResource(attributes);
    this.#readLater(later, () => this.#readScopes());
    if (schemaUrl === "") return;
    resourceRest.schemaUrl = schemaUrl;
    this.#sink.amendResource(resourceRest);
  }

  #readResource(attributes: Attribute[]): void {
    const cursor = this.#cursor;
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (skipNull(cursor)) continue;
      if (name === "droppedAttributesCount") resourceRest.droppedAttributes = readUint32Json(cursor);
      else if (name === "attributes") {
        for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
          if (!skipNull(cursor)) this.#sink.keepResourceAttribute(attributes, readKeyValueJson(cursor));
        }
      } else if (name === "entityRefs") {
        for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
          if (!skipNull(cursor)) resourceRest.entityRefs.push(readEntityRefJson(cursor));
        }
      } else skipValue(cursor);
    }
  }

  #readScopes(): void {
    const cursor = this.#cursor;
    for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
      if (!skipNull(cursor)) this.#readScopeItems();
    }
  }

  #readScopeItems(): void {
    const cursor = this.#cursor;
    const later: number[] = [];
    const scope = { name: "", version: "" };
    let known = false;
    let schemaUrl = "";
    const waits = this.#sink.wantsWholeScopes === true;
    clearRest(scopeRest);
    for (let name = firstKey(cursor); name !== undefined; name = nextKey(cursor)) {
      if (skipNull(cursor)) continue;
      if (name === "schemaUrl") schemaUrl = readString(cursor);
      else if (name === "scope" && !known) {
        readScopeJson(cursor, scope, scopeRest);
        if (waits) continue;
        this.#sink.beginScope(scope, scopeRest);
        known = true;
      } else if (name === this.#names.items && known) {
        this.#readItems();
      } else if (name === this.#names.items) this.#passOver(later);
      else skipValue(cursor);
    }
    if (waits) scopeRest.schemaUrl = schemaUrl;
    if (!known) this.#sink.beginScope(scope, scopeRest);
    this.#readLater(later, () => this.#readItems());
    if (schemaUrl === "" || waits) return;
    scopeRest.schemaUrl = schemaUrl;
    this.#sink.amendScope(scopeRest);
  }

  #readItems(): void {
    const cursor = this.#cursor;
    for (let more = firstElement(cursor); more; more = nextElement(cursor)) this.#readItem(cursor);
  }

  /** Past a list that is read later, and whose repaired strings are counted then. */
  #passOver(later: number[]): void {
    const cursor = this.#cursor;
    const { textRepaired } = cursor;
    later.push(cursor.at);
    skipValue(cursor);
    cursor.textRepaired = textRepaired;
  }

  #readLater(starts: readonly number[], read: () => void): void {
    if (starts.length === 0) return;
    const cursor = this.#cursor;
    const end = cursor.at;
    for (const start of starts) {
      cursor.at = start;
      read();
    }
    cursor.at = end;
  }
}

/** Takes the attributes of one row, by numbers of keys and texts. */
export interface AttributeSink {
  readonly texts: RequestTexts;
  readonly keys: RequestKeys;
  attribute(key: number, kind: number, value: number): void;
}

const value: ValueColumns = { kind: 0, text: 0 };
/** Longer values of attributes in JSON are rarely equal: to look for an equal one costs more than to keep both. */
const SHARED_UNITS_MAX = 8;
const NO_VALUE = "n".charCodeAt(0);
const KIND_TEXT = "s".charCodeAt(0);
const KIND_INTEGER = "i".charCodeAt(0);
/** Fields of KeyValue, and of AnyValue. */
const TAG_KEY = 10;
const TAG_VALUE = 18;
const TAG_STRING = 10;
const TAG_INT = 24;
/** A length below this takes one byte. */
const SHORT_LENGTH = 0x80;

/** Reads a KeyValue into a row. */
export function readAttribute(cursor: ProtobufCursor, sink: AttributeSink): void {
  if (!readPlainAttribute(cursor, sink)) readAnyAttribute(cursor, sink);
}

/**
 * Reads a KeyValue as nearly all are: a key, then a text or a whole number, each once and in short lengths.
 *
 * A dozen a span: so places are compared instead of entering and leaving three messages. Whatever is not exactly of that
 * form is left to `readAnyAttribute`. @returns Whether it was read; else the cursor stands where it was.
 */
function readPlainAttribute(cursor: ProtobufCursor, sink: AttributeSink): boolean {
  const { at, bytes } = cursor;
  // What lies beyond the end of the bytes is undefined, and no comparison holds with it.
  const length = bytes[at] as number;
  const end = at + 1 + length;
  const keyStart = at + 3;
  const keyEnd = keyStart + (bytes[at + 2] as number);
  if (!(length < SHORT_LENGTH && end <= cursor.end && bytes[at + 1] === TAG_KEY && bytes[keyEnd] === TAG_VALUE)) {
    return false;
  }
  // The two ends agree, so all between them is within the message, and each length takes one byte.
  const valueStart = keyEnd + 2;
  if (valueStart + (bytes[keyEnd + 1] as number) !== end) return false;
  const textStart = valueStart + 2;
  if (bytes[valueStart] === TAG_STRING && textStart + (bytes[valueStart + 1] as number) === end) {
    cursor.at = end;
    const text = sink.texts.at(textStart, end);
    sink.attribute(sink.keys.at(keyStart, keyEnd), KIND_TEXT, text);
    return true;
  }
  if (bytes[valueStart] !== TAG_INT || textStart > end) return false;
  const number = shortVarint(bytes, valueStart + 1, end);
  if (number < 0) return false;
  cursor.at = end;
  const text = sink.texts.decimal(number);
  sink.attribute(sink.keys.at(keyStart, keyEnd), KIND_INTEGER, text);
  return true;
}

/** A varint of one to three bytes that ends at `end`; -1 for any other. */
function shortVarint(bytes: Uint8Array, start: number, end: number): number {
  const last = end - 1;
  if (last - start > 2 || (bytes[last] as number) >= 0x80) return -1;
  let value = 0;
  let shift = 0;
  for (let at = start; at < last; at++, shift += 7) {
    const byte = bytes[at] as number;
    if (byte < 0x80) return -1;
    value |= (byte & 0x7f) << shift;
  }
  return value | ((bytes[last] as number) << shift);
}

function readAnyAttribute(cursor: ProtobufCursor, sink: AttributeSink): void {
  const outerEnd = enterMessage(cursor);
  let keyStart = 0;
  let keyEnd = 0;
  value.kind = NO_VALUE;
  value.text = 0;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === 10) {
      keyEnd = readLength(cursor);
      keyStart = cursor.at;
      cursor.at = keyEnd;
    } else if (tag === 18) readValueColumns(cursor, sink.texts, value);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outerEnd);
  sink.attribute(sink.keys.at(keyStart, keyEnd), value.kind, value.text);
}

/** Reads a list of KeyValues into a row. */
export function readAttributesJson(cursor: JsonCursor, sink: AttributeSink): void {
  for (let more = firstElement(cursor); more; more = nextElement(cursor)) {
    if (skipNull(cursor)) continue;
    const { key, kind, value } = readKeyValueJson(cursor);
    const text = value.length > SHARED_UNITS_MAX ? sink.texts.of(value) : sink.texts.shared(value);
    sink.attribute(sink.keys.of(key), kind.charCodeAt(0), text);
  }
}

/** Reads a string as a text of the request. */
export function readTextIndex(cursor: ProtobufCursor, texts: RequestTexts): number {
  const end = readLength(cursor);
  const start = cursor.at;
  cursor.at = end;
  return texts.at(start, end);
}
