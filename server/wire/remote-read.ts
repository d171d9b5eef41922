/**
 * Requests of remote read: `prometheus.ReadRequest` → queries.
 *
 * @see https://prometheus.io/docs/prometheus/latest/querying/remote_read_api/
 */

import type { Matcher } from "../model/series.ts";
import {
  cursorOver,
  enterMessage,
  leaveMessage,
  type ProtobufCursor,
  readInt64Number,
  readLength,
  readTag,
  readText,
  readVarint32,
  skipField,
} from "./protobuf-reader.ts";
import { WireError } from "./wire-error.ts";

/** Queries of one request. */
const QUERIES_MAX = 1_000;
/** Matchers of all queries of one request. */
const MATCHERS_MAX = 10_000;
/** Response types that a request may list. */
const TYPES_MAX = 64;

/** Tags: field number times 8 plus wire type. */
const REQUEST_QUERY = 10;
const REQUEST_TYPE = 16;
const REQUEST_TYPES = 18;
const QUERY_START = 8;
const QUERY_END = 16;
const QUERY_MATCHER = 26;
const QUERY_HINTS = 34;
const MATCHER_KIND = 8;
const MATCHER_NAME = 18;
const MATCHER_VALUE = 26;
const HINT_FUNCTION = 18;
const HINT_START = 24;
const HINT_END = 32;

/** By the numbers of `LabelMatcher.Type`. */
const MATCHER_KINDS: readonly Matcher["kind"][] = ["=", "!=", "=~", "!~"];

/** One selection; both times included. */
export interface ReadQuery {
  readonly startMs: number;
  readonly endMs: number;
  readonly matchers: readonly Matcher[];
  /** What the asker will do with the samples; it may be ignored. */
  readonly hints: ReadHints | undefined;
}

/** The hints that make a difference here. */
interface ReadHints {
  readonly function: string;
  readonly startMs: number;
  readonly endMs: number;
}

/** A decoded request; `responseTypes` are the numbers of `ReadRequest.ResponseType` in the order of preference. */
export interface ReadRequest {
  readonly queries: readonly ReadQuery[];
  readonly responseTypes: readonly number[];
}

/** A request, or why it cannot be decoded. */
export type ReadRequestOutcome =
  | { readonly kind: "decoded"; readonly request: ReadRequest }
  | { readonly kind: "malformed"; readonly reason: string; readonly offset: number };

/** Decodes a request. Never throws. */
export function decodeReadRequest(bytes: Uint8Array): ReadRequestOutcome {
  try {
    return { kind: "decoded", request: readRequest(cursorOver(bytes)) };
  } catch (error) {
    if (!(error instanceof WireError)) throw error;
    return { kind: "malformed", reason: error.message, offset: error.offset };
  }
}

function readRequest(cursor: ProtobufCursor): ReadRequest {
  const queries: ReadQuery[] = [];
  const responseTypes: number[] = [];
  const left = { matchers: MATCHERS_MAX };
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === REQUEST_QUERY) {
      if (queries.length >= QUERIES_MAX) throw new WireError(`more than ${QUERIES_MAX} queries`, cursor.at);
      queries.push(readQuery(cursor, left));
    } else if (tag === REQUEST_TYPE) responseTypes.push(readVarint32(cursor));
    else if (tag === REQUEST_TYPES) readTypes(cursor, responseTypes);
    else skipField(cursor, tag);
    if (responseTypes.length > TYPES_MAX) throw new WireError(`more than ${TYPES_MAX} response types`, cursor.at);
  }
  return { queries, responseTypes };
}

function readTypes(cursor: ProtobufCursor, into: number[]): void {
  const end = readLength(cursor);
  const outer = cursor.end;
  cursor.end = end;
  while (cursor.at < end && into.length <= TYPES_MAX) into.push(readVarint32(cursor));
  cursor.at = end;
  cursor.end = outer;
}

function readQuery(cursor: ProtobufCursor, left: { matchers: number }): ReadQuery {
  const outer = enterMessage(cursor);
  const matchers: Matcher[] = [];
  let startMs = 0;
  let endMs = 0;
  let hints: ReadHints | undefined;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === QUERY_START) startMs = readInt64Number(cursor);
    else if (tag === QUERY_END) endMs = readInt64Number(cursor);
    else if (tag === QUERY_HINTS) hints = readHints(cursor);
    else if (tag === QUERY_MATCHER) {
      if (--left.matchers < 0) throw new WireError(`more than ${MATCHERS_MAX} matchers`, cursor.at);
      matchers.push(readMatcher(cursor));
    } else skipField(cursor, tag);
  }
  leaveMessage(cursor, outer);
  return { startMs, endMs, matchers, hints };
}

function readMatcher(cursor: ProtobufCursor): Matcher {
  const outer = enterMessage(cursor);
  let kind: Matcher["kind"] | undefined = "=";
  let name = "";
  let value = "";
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === MATCHER_KIND) kind = MATCHER_KINDS[readVarint32(cursor)];
    else if (tag === MATCHER_NAME) name = readText(cursor);
    else if (tag === MATCHER_VALUE) value = readText(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outer);
  if (kind === undefined) throw new WireError("invalid matcher type", cursor.at);
  return { name, kind, value };
}

function readHints(cursor: ProtobufCursor): ReadHints {
  const outer = enterMessage(cursor);
  let name = "";
  let startMs = 0;
  let endMs = 0;
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    if (tag === HINT_FUNCTION) name = readText(cursor);
    else if (tag === HINT_START) startMs = readInt64Number(cursor);
    else if (tag === HINT_END) endMs = readInt64Number(cursor);
    else skipField(cursor, tag);
  }
  leaveMessage(cursor, outer);
  return { function: name, startMs, endMs };
}
