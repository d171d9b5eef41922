/**
 * Span events and links pass through as the protobuf they came in. This module proves that such bytes can be decoded
 * and, where a string is not UTF-8 or a value nested too deeply, copies them with the string repaired, the value empty.
 */

import { isUtf8 } from "node:buffer";
import { ATTRIBUTE_NESTING_MAX } from "./any-value-json.ts";
import { skipNestedValue } from "./nested-value.ts";
import type { ProtobufCursor } from "./protobuf-reader.ts";
import {
  enterMessage,
  leaveMessage,
  readByteView,
  readLength,
  readTag,
  skipField,
  WIRE_BYTES,
} from "./protobuf-reader.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";

/** What must be looked into: string fields, and fields that hold messages. All else is skipped. */
interface MessageShape {
  readonly text: readonly number[];
  readonly messages: ReadonlyMap<number, MessageShape>;
  /** Whether the message is a level of attribute nesting. */
  readonly nests: boolean;
}

const anyValueFields = new Map<number, MessageShape>();
const ANY_VALUE: MessageShape = { text: [1], messages: anyValueFields, nests: true };
const KEY_VALUE: MessageShape = { text: [1], messages: new Map([[2, ANY_VALUE]]), nests: false };
anyValueFields.set(5, { text: [], messages: new Map([[1, ANY_VALUE]]), nests: false });
anyValueFields.set(6, { text: [], messages: new Map([[1, KEY_VALUE]]), nests: false });

/** Span.Event of OTLP. */
export const EVENT_SHAPE: MessageShape = { text: [2], messages: new Map([[3, KEY_VALUE]]), nests: false };
/** Span.Link of OTLP. */
export const LINK_SHAPE: MessageShape = { text: [3], messages: new Map([[4, KEY_VALUE]]), nests: false };

/**
 * Reads the message field whose tag starts at `tagStart` and has just been read.
 *
 * @returns The field, tag included: a view of the body, or a repaired copy. Throws `WireError` where it cannot be decoded.
 */
export function readRawField(cursor: ProtobufCursor, tagStart: number, tag: number, shape: MessageShape): Uint8Array {
  const valueStart = cursor.at;
  const mendedBefore = cursor.textRepaired + cursor.valuesCut;
  checkMessage(cursor, shape, 0);
  if (cursor.textRepaired + cursor.valuesCut === mendedBefore) return cursor.bytes.subarray(tagStart, cursor.at);
  const writer = new ProtobufWriter();
  cursor.at = valueStart;
  copyMessage(cursor, shape, { writer, field: tag >>> 3, depth: 0 });
  return writer.take();
}

function checkMessage(cursor: ProtobufCursor, shape: MessageShape, depth: number): void {
  if (isTooDeep(shape, depth)) {
    skipNestedValue(cursor);
    return;
  }
  const inner = shape.nests ? depth + 1 : depth;
  const outerEnd = enterMessage(cursor);
  while (cursor.at < cursor.end) {
    const tag = readTag(cursor);
    const field = tag >>> 3;
    const message = (tag & 7) === WIRE_BYTES ? shape.messages.get(field) : undefined;
    if (message !== undefined) {
      checkMessage(cursor, message, inner);
    } else if ((tag & 7) === WIRE_BYTES && shape.text.includes(field)) {
      if (!isUtf8(readByteView(cursor))) cursor.textRepaired++;
    } else {
      skipField(cursor, tag);
    }
  }
  leaveMessage(cursor, outerEnd);
}

interface CopyTo {
  readonly writer: ProtobufWriter;
  /** Number under which the copy is written. */
  readonly field: number;
  readonly depth: number;
}

/** Copies a message that `checkMessage` accepted. */
function copyMessage(cursor: ProtobufCursor, shape: MessageShape, { writer, field: as, depth }: CopyTo): void {
  const outerEnd = enterMessage(cursor);
  const copy = writer.openMessage(as);
  const inner = shape.nests ? depth + 1 : depth;
  while (!isTooDeep(shape, depth) && cursor.at < cursor.end) {
    const tagStart = cursor.at;
    const tag = readTag(cursor);
    const field = tag >>> 3;
    const message = (tag & 7) === WIRE_BYTES ? shape.messages.get(field) : undefined;
    if (message !== undefined) {
      copyMessage(cursor, message, { writer, field, depth: inner });
    } else if ((tag & 7) === WIRE_BYTES && shape.text.includes(field)) {
      const end = readLength(cursor);
      writer.writeText(field, cursor.buffer.toString("utf8", cursor.at, end));
      cursor.at = end;
    } else {
      skipField(cursor, tag);
      writer.writeRaw(cursor.bytes.subarray(tagStart, cursor.at));
    }
  }
  writer.closeMessage(copy);
  leaveMessage(cursor, outerEnd);
}

function isTooDeep(shape: MessageShape, depth: number): boolean {
  return shape.nests && depth > ATTRIBUTE_NESTING_MAX;
}
