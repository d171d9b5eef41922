/**
 * Resources and scopes of one request: equal ones are one, and only those that rows were kept of are handed out.
 *
 * Rows are written to as they are kept: `resource` and `scope` say which ones the next row is of, and what comes to be
 * known only behind the rows (a schema URL in JSON) is put in place by `amendResource` and `amendScope`.
 */

import type { Attribute, Resource, Scope } from "../model/span-batch.ts";
import { type OtlpRest, restText } from "./otlp-rest.ts";
import { ATTRIBUTES_MAX } from "./row-attributes.ts";

/** Up to here comparing keys pairwise is faster than a set. */
const PAIRWISE_ATTRIBUTES_MAX = 24;
/** Stands for a scope that was not sent. */
const NO_SCOPE: Scope = { name: "", version: "" };

/** Columns that say by row which resource and scope it is of. */
interface OriginColumns {
  readonly resource: Uint32Array;
  readonly scope: Uint32Array;
}

/** Made once a thread; `clear` before each request. */
export class RequestOrigins {
  #resources: Resource[] = [];
  #resourceByContent = new Map<string, number>();
  #scopes: Scope[] = [];
  #scopeByContent = new Map<string, number>();
  #attributes: readonly Attribute[] = [];
  #rest = "";
  #currentScope = NO_SCOPE;
  /** The first row that can be of that resource or scope. */
  #resourceRow = 0;
  #scopeRow = 0;
  /** Whether it stands in the list because of these rows alone, and so at its end. */
  #resourceIsNew = false;
  #scopeIsNew = false;
  /** Index of that resource or scope, -1 until its first row is kept. */
  #resourceIndex = -1;
  #scopeIndex = -1;
  /** Attributes left out: earlier values of a repeated key, or too many. */
  leftOut = 0;

  clear(): void {
    this.#resources = [];
    this.#resourceByContent.clear();
    this.#scopes = [];
    this.#scopeByContent.clear();
    this.leftOut = 0;
    this.beginResource([], undefined, 0);
  }

  get resources(): Resource[] {
    return this.#resources;
  }

  get scopes(): Scope[] {
    return this.#scopes;
  }

  /** Attributes of the resource at hand. */
  get attributes(): readonly Attribute[] {
    return this.#attributes;
  }

  /** Adds an attribute to those of a resource unless there are too many. */
  keepAttribute(attributes: Attribute[], attribute: Attribute): void {
    if (attributes.length < ATTRIBUTES_MAX) attributes.push(attribute);
    else this.leftOut++;
  }

  /** Begins a resource that carries `attributes`, which are kept, and beside them `rest`. @param row The next row. */
  beginResource(attributes: Attribute[], rest: OtlpRest | undefined, row: number): void {
    this.leftOut += dropRepeated(attributes);
    this.#attributes = attributes;
    this.#rest = this.#restText(rest);
    this.#resourceIndex = -1;
    this.#resourceRow = row;
    this.#resourceIsNew = false;
    this.beginScope(NO_SCOPE, undefined, row);
  }

  /** @see beginResource */
  beginScope(scope: Scope, rest: OtlpRest | undefined, row: number): void {
    const text = this.#restText(rest);
    this.#currentScope = text === "" ? scope : { ...scope, rest: text };
    this.#scopeIndex = -1;
    this.#scopeRow = row;
    this.#scopeIsNew = false;
  }

  /** Index of the resource of a row that is kept. */
  resource(): number {
    if (this.#resourceIndex < 0) this.#useResource();
    return this.#resourceIndex;
  }

  /** Index of the scope of a row that is kept. */
  scope(): number {
    if (this.#scopeIndex < 0) this.#useScope();
    return this.#scopeIndex;
  }

  /** Puts `rest` in place of what was given with the resource whose rows were read last. @param row The next row. */
  amendResource(rest: OtlpRest, columns: OriginColumns, row: number): void {
    const resource = this.#resources[this.#resourceIndex];
    const { text } = restText(rest);
    if (resource === undefined || text === "") return;
    const plain = JSON.stringify(resource.attributes);
    if (this.#resourceIsNew) {
      this.#resources.pop();
      this.#resourceByContent.delete(plain + (resource.rest ?? ""));
    }
    const content = plain + text;
    const known = this.#resourceByContent.get(content) ?? this.#resources.push({ ...resource, rest: text }) - 1;
    this.#resourceByContent.set(content, known);
    columns.resource.fill(known, this.#resourceRow, row);
  }

  /** @see amendResource */
  amendScope(rest: OtlpRest, columns: OriginColumns, row: number): void {
    const scope = this.#scopes[this.#scopeIndex];
    const { text } = restText(rest);
    if (scope === undefined || text === "") return;
    if (this.#scopeIsNew) {
      this.#scopes.pop();
      this.#scopeByContent.delete(scopeContent(scope));
    }
    const amended = { ...scope, rest: text };
    const content = scopeContent(amended);
    const known = this.#scopeByContent.get(content) ?? this.#scopes.push(amended) - 1;
    this.#scopeByContent.set(content, known);
    columns.scope.fill(known, this.#scopeRow, row);
  }

  #restText(rest: OtlpRest | undefined): string {
    if (rest === undefined) return "";
    const { text, leftOut } = restText(rest);
    this.leftOut += leftOut;
    return text;
  }

  #useResource(): void {
    const attributes = this.#attributes.toSorted(byKey);
    const rest = this.#rest;
    const content = JSON.stringify(attributes) + rest;
    let index = this.#resourceByContent.get(content);
    if (index === undefined) {
      const service = textOf(attributes, "service.name") || "unknown_service";
      const instance = textOf(attributes, "service.instance.id");
      const resource = { service, instance, attributes };
      index = this.#resources.push(rest === "" ? resource : { ...resource, rest }) - 1;
      this.#resourceByContent.set(content, index);
      this.#resourceIsNew = true;
    }
    this.#resourceIndex = index;
  }

  #useScope(): void {
    const scope = this.#currentScope;
    const content = scopeContent(scope);
    let index = this.#scopeByContent.get(content);
    if (index === undefined) {
      index = this.#scopes.push(scope) - 1;
      this.#scopeByContent.set(content, index);
      this.#scopeIsNew = true;
    }
    this.#scopeIndex = index;
  }
}

function scopeContent({ name, version, rest = "" }: Scope): string {
  return `${name}\u0000${version}\u0000${rest}`;
}

function byKey(a: Attribute, b: Attribute): number {
  if (a.key === b.key) return 0;
  return a.key < b.key ? -1 : 1;
}

function textOf(attributes: readonly Attribute[], key: string): string {
  return attributes.find((attribute) => attribute.key === key)?.value ?? "";
}

/** Keeps the last value of each key, in place; returns how many were left out. */
function dropRepeated(attributes: Attribute[]): number {
  if (!hasRepeated(attributes)) return 0;
  const byName = new Map<string, Attribute>();
  for (const attribute of attributes) byName.set(attribute.key, attribute);
  const dropped = attributes.length - byName.size;
  attributes.length = 0;
  attributes.push(...byName.values());
  return dropped;
}

function hasRepeated(attributes: readonly Attribute[]): boolean {
  const count = attributes.length;
  if (count > PAIRWISE_ATTRIBUTES_MAX) return new Set(attributes.map((attribute) => attribute.key)).size < count;
  for (let i = 1; i < count; i++) {
    const key = attributes[i]?.key;
    for (let j = 0; j < i; j++) if (attributes[j]?.key === key) return true;
  }
  return false;
}
