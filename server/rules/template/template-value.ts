/**
 * Values of templates and how Go prints, compares and judges them.
 *
 * Go tells int from float64; here a bigint is an int and a number a float64.
 */

import { printGeneral } from "../../query/promql/number-text.ts";
import { TemplateError } from "./template-error.ts";

/** What an expression of a template gives; undefined is Go's nil. */
export type TemplateValue =
  | undefined
  | boolean
  | string
  | number
  | bigint
  | TemplateMap
  | TemplateList
  | TemplateStruct
  | TemplateTime
  | TemplateDuration
  | TemplateHistogram;

/** Keys are texts; a key that is absent is "" where values are texts, else nil. */
export interface TemplateMap {
  readonly kind: "map";
  readonly values: "string" | "any";
  readonly entries: ReadonlyMap<string, TemplateValue>;
}

/** What `query` gives. */
export interface TemplateList {
  readonly kind: "list";
  readonly items: readonly TemplateValue[];
}

/** Fields by name; `type` is what Go calls it. */
export interface TemplateStruct {
  readonly kind: "struct";
  readonly type: string;
  readonly fields: ReadonlyMap<string, TemplateValue>;
}

/** A moment in UTC. */
interface TemplateTime {
  readonly kind: "time";
  readonly unixMs: number;
}

/** Nanoseconds. */
interface TemplateDuration {
  readonly kind: "duration";
  readonly nanoseconds: number;
}

/** A native histogram, which templates can only print. */
interface TemplateHistogram {
  readonly kind: "histogram";
  readonly text: string;
}

/** A map of texts. */
export function textMap(entries: Iterable<readonly [string, string]>): TemplateMap {
  return { kind: "map", values: "string", entries: new Map(entries) };
}

/** Go's name of a value's type. */
export function typeOf(value: TemplateValue): string {
  switch (typeof value) {
    case "undefined":
      return "<nil>";
    case "boolean":
      return "bool";
    case "string":
      return "string";
    case "number":
      return "float64";
    case "bigint":
      return "int";
    default:
      return typeOfObject(value);
  }
}

type TemplateObject = Exclude<TemplateValue, undefined | boolean | string | number | bigint>;

function typeOfObject(value: TemplateObject): string {
  switch (value.kind) {
    case "map":
      return value.values === "string" ? "map[string]string" : "map[string]interface {}";
    case "list":
      return "template.queryResult";
    case "struct":
      return value.type;
    case "time":
      return "*time.Time";
    case "duration":
      return "*time.Duration";
    case "histogram":
      return "*histogram.FloatHistogram";
  }
}

/** Whether `if` takes a value for true: not nil, false, 0 or empty. */
export function isTrue(value: TemplateValue): boolean {
  if (typeof value !== "object") return Boolean(value) || Number.isNaN(value);
  if (value.kind === "map") return value.entries.size > 0;
  return value.kind !== "list" || value.items.length > 0;
}

/** As a template prints a value: as Go's `fmt.Sprint`, what a pointer points to, and nil as `<no value>`. */
export function printValue(value: TemplateValue): string {
  return value === undefined ? "<no value>" : sprint(value).replace(/^&(?=\{)/, "");
}

/** As Go's `%v`. */
export function sprint(value: TemplateValue): string {
  switch (typeof value) {
    case "undefined":
      return "<nil>";
    case "number":
      return printGeneral(value);
    case "object":
      return sprintObject(value);
    default:
      return String(value);
  }
}

function sprintObject(value: TemplateObject): string {
  switch (value.kind) {
    case "map": {
      const keys = [...value.entries.keys()].sort();
      return `map[${keys.map((key) => `${key}:${sprint(value.entries.get(key))}`).join(" ")}]`;
    }
    case "list":
      return `[${value.items.map(sprint).join(" ")}]`;
    case "struct":
      return `${value.type.startsWith("*") ? "&" : ""}{${[...value.fields.values()].map(sprint).join(" ")}}`;
    case "time":
      return printTime(value.unixMs);
    case "duration":
      return printGoDuration(value.nanoseconds);
    case "histogram":
      return value.text;
  }
}

/** `2015-06-15 12:00:00.123 +0000 UTC` */
function printTime(unixMs: number): string {
  const [day = "", time = ""] = new Date(unixMs).toISOString().split("T");
  return `${day} ${time.slice(0, -1).replace(/\.?0*$/, (zeros) => (zeros.startsWith(".") ? "" : zeros.replace(/0+$/, "")))} +0000 UTC`;
}

/** As Go prints a duration: `1h0m0.5s`, `1.5ms`. */
function printGoDuration(nanoseconds: number): string {
  if (nanoseconds === 0) return "0s";
  const sign = nanoseconds < 0 ? "-" : "";
  const size = BigInt(Math.abs(Math.trunc(nanoseconds)));
  const decimal = (value: bigint, unit: bigint) => {
    const rest = (value % unit)
      .toString()
      .padStart(unit.toString().length - 1, "0")
      .replace(/0+$/, "");
    return `${value / unit}${rest === "" ? "" : `.${rest}`}`;
  };
  if (size < 1000n) return `${sign}${size}ns`;
  if (size < 1_000_000n) return `${sign}${decimal(size, 1000n)}µs`;
  if (size < 1_000_000_000n) return `${sign}${decimal(size, 1_000_000n)}ms`;
  const seconds = size / 1_000_000_000n;
  const tail = decimal(size % 60_000_000_000n, 1_000_000_000n);
  if (seconds < 60n) return `${sign}${tail}s`;
  const minutes = (seconds / 60n) % 60n;
  return seconds < 3600n ? `${sign}${minutes}m${tail}s` : `${sign}${seconds / 3600n}h${minutes}m${tail}s`;
}

/** Order of two values of one kind: below 0, 0 or above; NaN where neither. @throws TemplateError */
export function compareValues(left: TemplateValue, right: TemplateValue): number {
  if (typeof left !== typeof right && left !== undefined && right !== undefined) {
    if (isBasic(left) && isBasic(right)) {
      throw new TemplateError(`incompatible types for comparison: ${typeOf(left)} and ${typeOf(right)}`);
    }
  }
  if (typeof left === "string" && typeof right === "string") return left < right ? -1 : left > right ? 1 : 0;
  if (typeof left === "bigint" && typeof right === "bigint") return left < right ? -1 : left > right ? 1 : 0;
  if (typeof left === "number" && typeof right === "number") {
    return left < right ? -1 : left > right ? 1 : left === right ? 0 : Number.NaN;
  }
  throw new TemplateError("invalid type for comparison");
}

/** @throws TemplateError where the kinds differ. */
export function equalValues(left: TemplateValue, right: TemplateValue): boolean {
  if (typeof left === "boolean" && typeof right === "boolean") return left === right;
  if (left === undefined || right === undefined) return left === right;
  if (isBasic(left) && isBasic(right)) {
    if (typeof left === typeof right) return left === right;
    throw new TemplateError(`incompatible types for comparison: ${typeOf(left)} and ${typeOf(right)}`);
  }
  throw new TemplateError(`non-comparable type ${sprint(left)}: ${typeOf(left)}`);
}

function isBasic(value: TemplateValue): boolean {
  return value !== undefined && typeof value !== "object";
}
