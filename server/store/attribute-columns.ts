/**
 * How a row's attributes are split into typed columns, a MAP and the few that fit neither, and put together again.
 *
 * `attribute_kinds` has one character per attribute in the order they came: an upper-case letter names the typed column
 * (`A` is the first) that holds the value, `+` the next entry of `attribute_repeats`, anything else is the
 * `AttributeKind` of the next entry of the MAP. A key stands at most once in the MAP, as Parquet and DuckLake want it;
 * a key that comes again goes to `attribute_repeats`, JSON `[[key, kind, value], …]`.
 */

import type { Attribute, AttributeKind } from "../model/span-batch.ts";
import { TYPED_ATTRIBUTES } from "../model/sql-tables.ts";

export const KIND_REPEAT = "+".charCodeAt(0);
export const KIND_TYPED_FIRST = "A".charCodeAt(0);
const KINDS = "sidbjxn";
const INTEGER_MAX = 2_147_483_647;
const INTEGER_DIGITS_MAX = 10;
const ZERO = "0".charCodeAt(0);
const MINUS = "-".charCodeAt(0);

const typedByKey = new Map(TYPED_ATTRIBUTES.map(({ key }, index) => [key, index]));

/** Index into `TYPED_ATTRIBUTES` of a key; -1 for keys without a column. */
export function typedIndexOf(key: string): number {
  return typedByKey.get(key) ?? -1;
}

/**
 * Reads the text `bytes[start, start + length)` as a 32-bit integer.
 *
 * @returns undefined where printing the number would not give the same text.
 */
export function canonicalInteger(bytes: Uint8Array, start: number, length: number): number | undefined {
  const negative = bytes[start] === MINUS && length > 0 ? 1 : 0;
  const digits = length - negative;
  const first = bytes[start + negative];
  if (digits < 1 || digits > INTEGER_DIGITS_MAX || (first === ZERO && length > 1)) return undefined;
  let value = 0;
  for (let at = start + negative; at < start + length; at++) {
    const digit = (bytes[at] ?? 0) - ZERO;
    if (digit < 0 || digit > 9) return undefined;
    value = 10 * value + digit;
  }
  if (value > INTEGER_MAX) return undefined;
  return negative === 1 ? -value : value;
}

/** A row's attributes as they stand in the columns. */
export interface StoredAttributes {
  readonly kinds: string;
  /** Entries of the MAP in order. */
  readonly entries: readonly (readonly [key: string, value: string])[];
  /** `attribute_repeats`; empty where NULL. */
  readonly repeats: string;
  /** Value of the typed column, as text. */
  typed(index: number): string | undefined;
}

/** The attributes of a row in the order they came. */
export function joinAttributes(stored: StoredAttributes): Attribute[] {
  const attributes: Attribute[] = [];
  const repeats = stored.repeats === "" ? [] : parseRepeats(stored.repeats);
  let entry = 0;
  let repeat = 0;
  for (let at = 0; at < stored.kinds.length; at++) {
    const code = stored.kinds.charCodeAt(at);
    if (code === KIND_REPEAT) {
      const attribute = repeats[repeat++];
      if (attribute !== undefined) attributes.push(attribute);
    } else if (code >= KIND_TYPED_FIRST && code < KIND_TYPED_FIRST + TYPED_ATTRIBUTES.length) {
      const typed = TYPED_ATTRIBUTES[code - KIND_TYPED_FIRST];
      const value = stored.typed(code - KIND_TYPED_FIRST);
      if (typed !== undefined && value !== undefined) attributes.push({ key: typed.key, kind: typed.kind, value });
    } else {
      const pair = stored.entries[entry++];
      if (pair !== undefined) attributes.push({ key: pair[0], kind: kindOf(stored.kinds.charAt(at)), value: pair[1] });
    }
  }
  return attributes;
}

/** Splits attributes that have no typed columns, such as those of a resource. */
export function splitAttributes(attributes: readonly Attribute[]): Omit<StoredAttributes, "typed"> {
  const seen = new Set<string>();
  const entries: (readonly [string, string])[] = [];
  const repeats: Attribute[] = [];
  let kinds = "";
  for (const attribute of attributes) {
    // Keys that differ only in lone surrogates are one key once they are UTF-8.
    const key = attribute.key.toWellFormed();
    if (seen.has(key)) {
      repeats.push(attribute);
      kinds += "+";
    } else {
      seen.add(key);
      entries.push([key, attribute.value.toWellFormed()]);
      kinds += attribute.kind;
    }
  }
  return { kinds, entries, repeats: printRepeats(repeats) };
}

/** Text of `attribute_repeats`; empty for none. */
export function printRepeats(repeats: readonly Attribute[]): string {
  return repeats.length === 0 ? "" : JSON.stringify(repeats.map(({ key, kind, value }) => [key, kind, value]));
}

function parseRepeats(text: string): Attribute[] {
  // Only `printRepeats` writes the column.
  const parsed = JSON.parse(text) as [string, string, string][];
  return parsed.map(([key, kind, value]) => ({ key, kind: kindOf(kind), value }));
}

function kindOf(letter: string): AttributeKind {
  if (!KINDS.includes(letter)) return "s";
  // The letter is one of the kinds by the line above.
  return letter as AttributeKind;
}
