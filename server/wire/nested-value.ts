/**
 * Passes over attribute values that are nested more deeply than any is read, without recursion.
 */

import type { ProtobufCursor } from "./protobuf-reader.ts";
import { readLength, readTag, skipField } from "./protobuf-reader.ts";
import { WireError } from "./wire-error.ts";

/** Levels of nested values beyond which a body is refused: what protobuf libraries take at most. */
const LEVELS_MAX = 10_000;

/** Fields by tag that hold messages, and what those messages are. */
const ANY_VALUE = 0;
const ARRAY_VALUE = 1;
const KEY_VALUE_LIST = 2;
const KEY_VALUE = 3;
const INNER: readonly ReadonlyMap<number, number>[] = [
  new Map([
    [42, ARRAY_VALUE],
    [50, KEY_VALUE_LIST],
  ]),
  new Map([[10, ANY_VALUE]]),
  new Map([[10, KEY_VALUE]]),
  new Map([[18, ANY_VALUE]]),
];

/**
 * Passes over the AnyValue before whose length the cursor stands, and counts it as cut.
 *
 * Throws `WireError` where it cannot be decoded, or is nested deeper than `LEVELS_MAX`.
 */
export function skipNestedValue(cursor: ProtobufCursor): void {
  const outerEnd = cursor.end;
  const ends: number[] = [];
  const kinds: number[] = [];
  const enter = (kind: number) => {
    const end = readLength(cursor);
    ends.push(cursor.end);
    cursor.end = end;
    if (kinds.push(kind) > 3 * LEVELS_MAX) throw new WireError(`nested deeper than ${LEVELS_MAX}`, cursor.at);
  };
  enter(ANY_VALUE);
  while (kinds.length > 0) {
    if (cursor.at >= cursor.end) {
      cursor.end = ends.pop() ?? outerEnd;
      kinds.pop();
      continue;
    }
    const tag = readTag(cursor);
    const inner = INNER[kinds.at(-1) ?? ANY_VALUE]?.get(tag);
    if (inner === undefined) skipField(cursor, tag);
    else enter(inner);
  }
  cursor.valuesCut++;
}
