/**
 * Mappings, lists and scalars of a YAML document by their keys, with what is wrong and in which line.
 */

import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Node,
  type Pair,
  parseAllDocuments,
  stringify,
  type YAMLMap,
} from "yaml";
import { parseDuration } from "../../grammar/promql-duration.ts";
import { quoteGo } from "../../grammar/promql-error.ts";

/** Mappings that may be merged into each other by `<<`. */
const MERGES_MAX = 20;

/** Values of a mapping by key. */
export type Fields = ReadonlyMap<string, Node>;

/** One document; `faults` and `warnings` gather what is wrong, in the order it was met. */
export class YamlFields {
  readonly faults: string[] = [];
  readonly warnings: string[] = [];
  readonly #lines = new LineCounter();
  #document: Document | undefined;

  /** The document's outermost node; undefined where there is none or it is no YAML, which is a fault then. */
  read(text: string): Node | undefined {
    const documents = parseAllDocuments(text, { lineCounter: this.#lines, uniqueKeys: true });
    const [first, second] = Array.isArray(documents) ? documents : [];
    if (first === undefined) return undefined;
    for (const error of first.errors) {
      const { line } = this.#lines.linePos(error.pos[0]);
      this.faults.push(`yaml: line ${line}: ${error.message.split("\n")[0]?.replace(/ at line \d+.*$/, "") ?? ""}`);
    }
    if (this.faults.length > 0 || first.contents === null) return undefined;
    this.#document = first;
    if (second !== undefined) {
      this.warnings.push("multiple YAML documents are not supported, only the first document is processed");
    }
    return first.contents;
  }

  /** What an alias stands for; undefined for `null`. */
  resolved(node: Node | null | undefined): Node | undefined {
    if (node === null || node === undefined || this.#document === undefined) return undefined;
    // What an anchor marks is a node of this document.
    const found = isAlias(node) ? (node.resolve(this.#document) as Node | undefined) : node;
    return found === undefined || isNull(found) ? undefined : found;
  }

  /**
   * A mapping as text, aliases resolved.
   *
   * @param defaults What is shown of keys that it lacks, or has as null.
   * @param shown What is shown of each value, by the keys that lead to it.
   */
  print(
    mapping: Node,
    defaults: Readonly<Record<string, unknown>>,
    shown: (keys: readonly string[], text: string) => string,
  ): string {
    // A mapping of this library becomes an object; `null` and `undefined` say nothing.
    const own = Object.entries(mapping.toJS(this.#document as Document) as object).filter(
      ([, value]) => value !== null,
    );
    return stringify(mapTexts({ ...defaults, ...Object.fromEntries(own) }, [], shown), { lineWidth: 0 });
  }

  /** `LINE:COLUMN` of where a node starts. */
  place(node: Node | undefined): string {
    const { line, col } = this.#lines.linePos(node?.range?.[0] ?? 0);
    return `${line}:${col}`;
  }

  line(node: Node | undefined): number {
    return this.#lines.linePos(node?.range?.[0] ?? 0).line;
  }

  /** Adds a fault with the line of a node in front. */
  fault(node: Node | undefined, what: string): void {
    this.faults.push(`yaml: line ${this.line(node)}: ${what}`);
  }

  /** Values of a mapping by key; unknown keys are faults. */
  fields(given: Node | undefined, known: readonly string[], what: string): Fields {
    const fields = new Map<string, Node>();
    const node = this.resolved(given);
    if (node === undefined) return fields;
    if (!isMap(node)) {
      this.fault(node, `cannot unmarshal into ${what}: it takes a mapping`);
      return fields;
    }
    for (const { key, name, value } of this.#pairs(node)) {
      if (!known.includes(name)) this.fault(key, `field ${name} not found in ${what}`);
      else if (value !== undefined) fields.set(name, value);
    }
    return fields;
  }

  items(given: Node | undefined, what: string): readonly Node[] {
    const node = this.resolved(given);
    if (node === undefined) return [];
    // A list of this library holds nodes.
    if (isSeq(node)) return node.items as Node[];
    this.fault(node, `cannot unmarshal into ${what}: it takes a list`);
    return [];
  }

  /** A scalar as it was written, but for quotes. */
  text(fields: Fields, name: string): string {
    const node = fields.get(name);
    return node === undefined ? "" : this.textOf(node);
  }

  /** @see text */
  textOf(given: Node): string {
    const node = this.resolved(given);
    if (node === undefined || isScalar(node)) return scalarText(node);
    this.fault(node, `cannot unmarshal ${kindOf(node)} into string`);
    return "";
  }

  durationMs(fields: Fields, name: string): number | undefined {
    const node = fields.get(name);
    if (node === undefined) return undefined;
    const outcome = parseDuration(this.text(fields, name));
    if (outcome.kind === "ok") return outcome.milliseconds;
    this.fault(node, `${name}: ${outcome.reason}`);
    return undefined;
  }

  /** A whole number; 0 where there is none. */
  integer(fields: Fields, name: string): number {
    const text = this.text(fields, name);
    if (text === "" || /^[+-]?\d+$/.test(text)) return Number(text);
    this.fault(fields.get(name), `cannot unmarshal ${quoteGo(text)} into int`);
    return 0;
  }

  /** A number; 0 where there is none. */
  number(fields: Fields, name: string): number {
    const text = this.text(fields, name);
    if (text === "" || /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i.test(text)) return Number(text);
    this.fault(fields.get(name), `cannot unmarshal ${quoteGo(text)} into float64`);
    return 0;
  }

  /** Truth; `fallback` where there is none. */
  flag(fields: Fields, name: string, fallback: boolean): boolean {
    const text = this.text(fields, name);
    if (text === "") return fallback;
    if (/^(true|false)$/i.test(text)) return text.toLowerCase() === "true";
    this.fault(fields.get(name), `cannot unmarshal ${quoteGo(text)} into bool`);
    return fallback;
  }

  /** Names and texts of a mapping. */
  texts(fields: Fields, name: string): ReadonlyMap<string, string> {
    const texts = new Map<string, string>();
    for (const [label, value] of this.entries(fields.get(name), "map[string]string")) {
      texts.set(label, value === undefined ? "" : this.textOf(value));
    }
    return texts;
  }

  /** Entries of a mapping with any keys. */
  entries(given: Node | undefined, what: string): readonly (readonly [key: string, value: Node | undefined])[] {
    const node = this.resolved(given);
    if (node === undefined) return [];
    if (isMap(node)) return this.#pairs(node).map(({ name, value }) => [name, value] as const);
    this.fault(node, `cannot unmarshal ${kindOf(node)} into ${what}`);
    return [];
  }

  /** Entries of a mapping with those that `<<` brings in, which its own win over; aliases are what they stand for. */
  #pairs(node: YAMLMap, depth = 0): { readonly key: Node; readonly name: string; readonly value: Node | undefined }[] {
    const own: { key: Node; name: string; value: Node | undefined }[] = [];
    const merged: typeof own = [];
    // Keys and values of a parsed mapping are nodes.
    for (const { key, value: given } of node.items as Pair<Node, Node | null>[]) {
      const value = this.resolved(given);
      if (!isMergeKey(key)) {
        own.push({ key, name: scalarText(this.resolved(key)), value });
        continue;
      }
      const sources = isSeq(value) ? (value.items as Node[]).map((item) => this.resolved(item)) : [value];
      for (const source of sources) {
        if (isMap(source) && depth < MERGES_MAX) merged.push(...this.#pairs(source, depth + 1));
        else this.fault(key, "map merge requires map or sequence of maps as the value");
      }
    }
    const names = new Set(own.map(({ name }) => name));
    for (const pair of merged) {
      if (names.has(pair.name)) continue;
      names.add(pair.name);
      own.push(pair);
    }
    return own;
  }
}

function isMergeKey(key: Node): boolean {
  return isScalar(key) && key.value === "<<" && key.type === "PLAIN";
}

function isNull(node: Node): boolean {
  return isScalar(node) && node.value === null;
}

/** YAML would make numbers and truth of what is meant as text. */
function scalarText(node: Node | undefined): string {
  if (!isScalar(node)) return "";
  return typeof node.value === "string" ? node.value : (node.source ?? String(node.value));
}

function kindOf(node: Node): string {
  return isMap(node) ? "!!map" : isSeq(node) ? "!!seq" : "!!str";
}

/** Texts in mappings and lists; items of a list have its keys. */
function mapTexts(
  value: unknown,
  keys: readonly string[],
  shown: (keys: readonly string[], text: string) => string,
): unknown {
  if (typeof value !== "object" || value === null) return typeof value === "string" ? shown(keys, value) : value;
  if (Array.isArray(value)) return value.map((each) => mapTexts(each, keys, shown));
  return Object.fromEntries(Object.entries(value).map(([key, each]) => [key, mapTexts(each, [...keys, key], shown)]));
}
