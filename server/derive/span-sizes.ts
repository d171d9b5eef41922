/**
 * How many bytes spans take as OTLP protobuf, counted from a batch's columns, so that a span read back from the store
 * has the size it had when it arrived.
 *
 * @see opentelemetry.proto.trace.v1.Span; fields at their default are not written.
 */

import type { SpanBatch } from "../model/span-batch.ts";
import { type BatchHalves, isZero } from "./batch-rows.ts";

/** Both ids that are always there, with their tags and lengths. */
const IDS_BYTES = 18 + 10;
const PARENT_BYTES = 10;
const FIXED64_BYTES = 9;
/** A tag of two bytes and a fixed32. */
const FLAGS_BYTES = 6;
const SMALL_ENUM_BYTES = 2;
/** Char codes of an `AttributeKind`. */
const CODE_S = 115;
const CODE_I = 105;
const CODE_D = 100;
const CODE_B = 98;
const CODE_J = 106;
const CODE_X = 120;
/** A key and a text this short have all their lengths in one byte each, which are then eight with the tags. */
const SHORT_MAX = 121;
const SHORT_FRAME_BYTES = 8;
/** Lists in lists deeper than what ingest lets in are not looked into. */
const NESTING_MAX = 128;
const MINUS = 45;
const DIGIT_0 = 48;
/** Digits of a number that stays a safe integer. */
const DIGITS_MAX = 15;

/** Sizes of the spans of one batch. */
export class SpanSizes {
  readonly #batch: SpanBatch;
  readonly #rows: BatchHalves;
  /** By text: size of the value of a list or map, found once; 0 where not looked at. */
  #nested: Uint32Array | undefined;

  constructor(batch: SpanBatch, rows: BatchHalves) {
    this.#batch = batch;
    this.#rows = rows;
  }

  /** Bytes of a row's Span message. */
  sizeOf(row: number): number {
    const { traceState, name, kind, flags, eventsEnd, linksEnd } = this.#batch;
    const { parentSpanId, startNs, endNs } = this.#rows;
    const before = row - 1;
    let size = IDS_BYTES + this.#textField(traceState[row] ?? 0) + this.#textField(name[row] ?? 0);
    if (!isZero(parentSpanId, row)) size += PARENT_BYTES;
    if (kind[row] !== 0) size += SMALL_ENUM_BYTES;
    if (!isZero(startNs, row)) size += FIXED64_BYTES;
    if (!isZero(endNs, row)) size += FIXED64_BYTES;
    if (flags[row] !== 0) size += FLAGS_BYTES;
    size += (eventsEnd[row] ?? 0) - (row === 0 ? 0 : (eventsEnd[before] ?? 0));
    size += (linksEnd[row] ?? 0) - (row === 0 ? 0 : (linksEnd[before] ?? 0));
    return size + this.#status(row) + this.#attributes(row);
  }

  #status(row: number): number {
    const { status, statusMessage } = this.#batch;
    const inner = this.#textField(statusMessage[row] ?? 0) + (status[row] === 0 ? 0 : SMALL_ENUM_BYTES);
    return inner === 0 ? 0 : delimited(inner);
  }

  #attributes(row: number): number {
    const { attributeEnd, attributeKey, attributeKind, attributeValue, text } = this.#batch;
    const { lengths } = text;
    const end = attributeEnd[row] ?? 0;
    let size = 0;
    for (let at = row === 0 ? 0 : (attributeEnd[row - 1] ?? 0); at < end; at++) {
      const value = attributeValue[at] ?? 0;
      const code = attributeKind[at] ?? 0;
      const keyLength = lengths[attributeKey[at] ?? 0] ?? 0;
      const length = lengths[value] ?? 0;
      if (code === CODE_S && keyLength + length <= SHORT_MAX) {
        size += keyLength + length + SHORT_FRAME_BYTES;
      } else {
        const inner = code === CODE_S ? delimited(length) : this.#value(code, value);
        size += delimited(delimited(keyLength) + delimited(inner));
      }
    }
    return size;
  }

  /** Bytes of an AnyValue that is no string. */
  #value(code: number, value: number): number {
    const { lengths } = this.#batch.text;
    const length = lengths[value] ?? 0;
    if (code === CODE_I) return 1 + this.#integer(value, length);
    if (code === CODE_D) return FIXED64_BYTES;
    if (code === CODE_B) return 2;
    if (code === CODE_X) return delimited(this.#base64Bytes(value, length));
    if (code === CODE_J) return this.#nestedValue(value);
    return 0;
  }

  #integer(value: number, length: number): number {
    const { bytes, starts } = this.#batch.text;
    const start = starts[value] ?? 0;
    if (bytes[start] === MINUS) return 10;
    if (length > DIGITS_MAX) return bigVarintBytes(BigInt(this.#textOf(value)));
    let number = 0;
    for (let at = start; at < start + length; at++) number = number * 10 + (bytes[at] ?? DIGIT_0) - DIGIT_0;
    return varintBytes(number);
  }

  #base64Bytes(value: number, length: number): number {
    const { bytes, starts } = this.#batch.text;
    const end = (starts[value] ?? 0) + length;
    const padding = bytes[end - 1] !== 61 ? 0 : bytes[end - 2] !== 61 ? 1 : 2;
    return Math.floor(((length - padding) * 3) / 4);
  }

  #nestedValue(value: number): number {
    this.#nested ??= new Uint32Array(this.#batch.text.lengths.length);
    const known = this.#nested[value] ?? 0;
    if (known !== 0) return known;
    const size = jsonValueBytes(this.#textOf(value));
    this.#nested[value] = size;
    return size;
  }

  #textOf(value: number): string {
    const { bytes, starts, lengths } = this.#batch.text;
    const start = starts[value] ?? 0;
    return Buffer.from(bytes.buffer, bytes.byteOffset + start, lengths[value] ?? 0).toString("utf8");
  }

  #textField(index: number): number {
    const length = this.#batch.text.lengths[index] ?? 0;
    return length === 0 ? 0 : delimited(length);
  }
}

/** Bytes of a field with a tag of one byte, a length and so much content. */
function delimited(length: number): number {
  return 1 + varintBytes(length) + length;
}

function varintBytes(value: number): number {
  if (value < 128) return 1;
  let bytes = 1;
  for (let left = value; left >= 128; left = Math.floor(left / 128)) bytes++;
  return bytes;
}

function bigVarintBytes(value: bigint): number {
  let bytes = 1;
  for (let left = BigInt.asUintN(64, value); left >= 128n; left >>= 7n) bytes++;
  return bytes;
}

/** Bytes of an AnyValue in OTLP JSON. A text that is none, which ingest does not let in, counts as its length. */
function jsonValueBytes(text: string): number {
  try {
    return anyValueBytes(JSON.parse(text), 0);
  } catch {
    return Buffer.byteLength(text);
  }
}

function anyValueBytes(value: unknown, depth: number): number {
  if (typeof value !== "object" || value === null || depth > NESTING_MAX) return 0;
  for (const [key, content] of Object.entries(value)) {
    switch (key) {
      case "stringValue":
        return delimited(Buffer.byteLength(String(content)));
      case "boolValue":
        return 2;
      case "intValue":
        return 1 + bigVarintBytes(BigInt(String(content)));
      case "doubleValue":
        return FIXED64_BYTES;
      case "bytesValue":
        return delimited(Buffer.from(String(content), "base64").length);
      case "arrayValue":
        return delimited(sumOver(content, (each) => delimited(anyValueBytes(each, depth + 1))));
      case "kvlistValue":
        return delimited(sumOver(content, (each) => delimited(keyValueBytes(each, depth + 1))));
    }
  }
  return 0;
}

function keyValueBytes(pair: unknown, depth: number): number {
  if (typeof pair !== "object" || pair === null) return 0;
  const { key, value } = pair as { readonly key?: unknown; readonly value?: unknown }; // an object, looked at below
  const keyBytes = typeof key === "string" && key !== "" ? delimited(Buffer.byteLength(key)) : 0;
  return keyBytes + (value === undefined ? 0 : delimited(anyValueBytes(value, depth)));
}

function sumOver(list: unknown, sizeOf: (each: unknown) => number): number {
  if (typeof list !== "object" || list === null) return 0;
  const { values } = list as { readonly values?: unknown }; // an object; whether it is a list is asked next
  let sum = 0;
  for (const each of Array.isArray(values) ? values : []) sum += sizeOf(each);
  return sum;
}
