/** Cuts texts that are too long, in a batch's table and in resources. */

import type { Attribute, Resource } from "../model/span-batch.ts";
import { extendTextTable, type TextReader, type TextTable, textReader } from "../model/text-table.ts";

/** UTF-16 units of a span's name, a service's name and an attribute's key. */
export const NAME_UNITS_MAX = 1_024;
/** UTF-16 units of an attribute's value. */
export const VALUE_UNITS_MAX = 65_536;
/** Attributes of one span, log record or resource. */
export const ATTRIBUTES_MAX = 1_024;

const KIND_TEXT = "s".charCodeAt(0);
/** Kinds whose text has a form that a cut would break. */
const FORMED_KINDS: ReadonlySet<number> = new Set(["j", "x"].map((kind) => kind.charCodeAt(0)));

/** Texts of one batch; those that are cut get new places behind the others. */
export class ShortTexts {
  readonly #table: TextTable;
  readonly #read: TextReader;
  readonly #added: string[] = [];
  /** By limit and place, where the cut text is. */
  readonly #shortened = new Map<string, number>();

  constructor(table: TextTable) {
    this.#table = table;
    this.#read = textReader(table);
  }

  /** Texts that were cut so far. */
  get count(): number {
    return this.#shortened.size;
  }

  /** The table with the cut texts. */
  get table(): TextTable {
    return this.#added.length === 0 ? this.#table : extendTextTable(this.#table, this.#added);
  }

  /** Whether any text may be too long for a name, and all must be looked at. */
  get hasLong(): boolean {
    const { lengths } = this.#table;
    for (let index = 0; index < lengths.length; index++) if ((lengths[index] ?? 0) > NAME_UNITS_MAX) return true;
    return false;
  }

  /** Place of a text of at most `unitsMax` units: its own, or that of its beginning. */
  short(index: number, unitsMax: number): number {
    const { lengths } = this.#table;
    // A text has at most as many units as bytes.
    if ((lengths[index] ?? 0) <= unitsMax) return index;
    const key = `${unitsMax} ${index}`;
    const known = this.#shortened.get(key);
    if (known !== undefined) return known;
    const text = this.#read(index);
    if (text.length <= unitsMax) return index;
    const at = lengths.length + this.#added.push(cut(text, unitsMax)) - 1;
    this.#shortened.set(key, at);
    return at;
  }

  /** Kind of a value that is cut where it is too long: JSON and bytes become text. */
  shortKind(kind: number, index: number, unitsMax: number): number {
    return FORMED_KINDS.has(kind) && this.short(index, unitsMax) !== index ? KIND_TEXT : kind;
  }
}

/** Resources with texts cut; undefined where none was too long. */
export function shortResources(resources: readonly Resource[]): { resources: Resource[]; count: number } | undefined {
  let count = 0;
  const short = resources.map((resource) => {
    if (!isLong(resource)) return resource;
    count++;
    return shortResource(resource);
  });
  return count === 0 ? undefined : { resources: short, count };
}

function isLong({ service, instance, attributes }: Resource): boolean {
  if (service.length > NAME_UNITS_MAX || instance.length > NAME_UNITS_MAX) return true;
  if (attributes.length > ATTRIBUTES_MAX) return true;
  return attributes.some(({ key, value }) => key.length > NAME_UNITS_MAX || value.length > VALUE_UNITS_MAX);
}

function shortResource(resource: Resource): Resource {
  return {
    ...resource,
    service: cut(resource.service, NAME_UNITS_MAX),
    instance: cut(resource.instance, NAME_UNITS_MAX),
    attributes: resource.attributes.slice(0, ATTRIBUTES_MAX).map(shortAttribute),
  };
}

function shortAttribute({ key, kind, value }: Attribute): Attribute {
  const isFormed = FORMED_KINDS.has(kind.charCodeAt(0));
  return {
    key: cut(key, NAME_UNITS_MAX),
    kind: isFormed && value.length > VALUE_UNITS_MAX ? "s" : kind,
    value: cut(value, VALUE_UNITS_MAX),
  };
}

/** The first `units` of a text, without half of a surrogate pair at the end. */
function cut(text: string, units: number): string {
  if (text.length <= units) return text;
  const head = text.slice(0, units);
  return head.isWellFormed() ? head : head.slice(0, -1);
}
