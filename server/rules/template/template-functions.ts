/**
 * Functions that templates of rules may call: those of Go's text/template and those that Prometheus adds.
 *
 * @see https://prometheus.io/docs/prometheus/latest/configuration/template_reference/
 */

import { parseDuration } from "../../../grammar/promql-duration.ts";
import { parseGoNumber, printGeneral } from "../../query/promql/number-text.ts";
import { replaceByRegex, testByRegex } from "../../query/promql/regex-text.ts";
import { TemplateError } from "./template-error.ts";
import { formatGo } from "./template-format.ts";
import {
  compareValues,
  equalValues,
  isTrue,
  printValue,
  sprint,
  type TemplateList,
  type TemplateStruct,
  type TemplateValue,
  typeOf,
} from "./template-value.ts";

/** What functions need to know beside their arguments. */
export interface TemplateContext {
  /** The moment of evaluation in Unix milliseconds. */
  readonly nowMs: number;
  /** Where the server is reached from outside, without a slash at the end. */
  readonly externalUrl: string;
  /** The answer to a PromQL text at that moment. */
  readonly query: (text: string) => TemplateList;
}

/** Called with values that were checked for their number only. @throws TemplateError */
type TemplateFunction = (args: readonly TemplateValue[], context: TemplateContext) => TemplateValue;

interface Entry {
  readonly least: number;
  readonly most: number;
  readonly call: TemplateFunction;
}

const MANY = Number.POSITIVE_INFINITY;
const LARGE = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
const SMALL = ["m", "u", "n", "p", "f", "a", "z", "y"];
const BINARY = ["ki", "Mi", "Gi", "Ti", "Pi", "Ei", "Zi", "Yi"];
const INT64_MAX = 2 ** 63;

function entry(least: number, most: number, call: TemplateFunction): Entry {
  return { least, most, call };
}

/** `and` and `or` stop at the first value that decides, so the template's runner knows them too. */
const FUNCTIONS: ReadonlyMap<string, Entry> = new Map(
  Object.entries({
    and: entry(1, MANY, (args) => args.find((value) => !isTrue(value)) ?? args.at(-1)),
    or: entry(1, MANY, (args) => args.find(isTrue) ?? args.at(-1)),
    not: entry(1, 1, ([value]) => !isTrue(value)),
    len: entry(1, 1, ([value]) => lengthOf(value)),
    index: entry(1, MANY, ([value, ...keys]) => keys.reduce(indexOf, value)),
    slice: entry(1, 4, sliceOf),
    print: entry(0, MANY, (args) => printAll(args)),
    println: entry(0, MANY, (args) => `${args.map(sprint).join(" ")}\n`),
    printf: entry(1, MANY, ([format, ...args]) => formatGo(text(format), args)),
    html: entry(0, MANY, (args) => escapeHtml(joined(args))),
    js: entry(0, MANY, (args) => escapeJs(joined(args))),
    urlquery: entry(0, MANY, (args) => queryEscape(joined(args))),
    eq: entry(2, MANY, ([first, ...others]) => others.some((other) => equalValues(first, other))),
    ne: entry(2, 2, ([left, right]) => !equalValues(left, right)),
    lt: entry(2, 2, ([left, right]) => compareValues(left, right) < 0),
    le: entry(2, 2, ([left, right]) => compareValues(left, right) <= 0),
    gt: entry(2, 2, ([left, right]) => compareValues(left, right) > 0),
    ge: entry(2, 2, ([left, right]) => compareValues(left, right) >= 0),
    query: entry(1, 1, ([query], context) => context.query(text(query))),
    first: entry(1, 1, ([list]) => {
      const [first] = listOf(list).items;
      if (first === undefined) throw new TemplateError("first() called on vector with no elements");
      return first;
    }),
    label: entry(2, 2, ([name, sample]) => labelOf(sampleOf(sample), text(name))),
    value: entry(1, 1, ([sample]) => sampleOf(sample).fields.get("Value")),
    strvalue: entry(1, 1, ([sample]) => labelOf(sampleOf(sample), "__value__")),
    args: entry(0, MANY, (args) => ({
      kind: "map",
      values: "any",
      entries: new Map(args.map((value, index) => [`arg${index}`, value])),
    })),
    reReplaceAll: entry(3, 3, ([pattern, replacement, source]) => {
      const [from, to, all] = [text(pattern), text(replacement), text(source)];
      return guarded(`regexp: Compile(\`${from}\`): `, () => replaceByRegex(all, from, to));
    }),
    match: entry(2, 2, ([pattern, source]) => {
      const [from, all] = [text(pattern), text(source)];
      return guarded("", () => testByRegex(all, from));
    }),
    safeHtml: entry(1, 1, ([value]) => text(value)),
    title: entry(1, 1, ([value]) => titleCase(text(value))),
    toUpper: entry(1, 1, ([value]) => text(value).toUpperCase()),
    toLower: entry(1, 1, ([value]) => text(value).toLowerCase()),
    graphLink: entry(1, 1, ([expression]) => `/graph?g0.expr=${queryEscape(text(expression))}&g0.tab=0`),
    tableLink: entry(1, 1, ([expression]) => tableLink(text(expression))),
    sortByLabel: entry(2, 2, ([label, list]) => sortByLabel(text(label), listOf(list))),
    stripPort: entry(1, 1, ([value]) => splitHostPort(text(value))?.host ?? text(value)),
    stripDomain: entry(1, 1, ([value]) => stripDomain(text(value))),
    humanize: entry(1, 1, ([value]) => humanize(float(value))),
    humanize1024: entry(1, 1, ([value]) => humanize1024(float(value))),
    humanizeDuration: entry(1, 1, ([value]) => humanizeDuration(float(value))),
    humanizePercentage: entry(1, 1, ([value]) => `${printGeneral(float(value) * 100, 4)}%`),
    humanizeTimestamp: entry(1, 1, ([value]) => {
      const seconds = float(value);
      return Number.isFinite(seconds) ? sprint(timeOf(seconds)) : printGeneral(seconds, 4);
    }),
    toTime: entry(1, 1, ([value]) => {
      const seconds = float(value);
      if (!Number.isFinite(seconds)) throw new TemplateError("value is NaN or Inf");
      return timeOf(seconds);
    }),
    toDuration: entry(1, 1, ([value]) => ({ kind: "duration", nanoseconds: Math.trunc(float(value) * 1e9) })),
    now: entry(0, 0, (_, { nowMs }) => nowMs / 1000),
    pathPrefix: entry(0, 0, (_, { externalUrl }) => new URL(externalUrl).pathname.replace(/\/$/, "")),
    externalURL: entry(0, 0, (_, { externalUrl }) => externalUrl),
    parseDuration: entry(1, 1, ([value]) => durationSeconds(text(value))),
    urlQueryEscape: entry(1, 1, ([value]) => queryEscape(text(value))),
  } satisfies Record<string, Entry>),
);

/** Those of Go, which Prometheus does not count among its own. */
const GO_FUNCTIONS: ReadonlySet<string> = new Set(
  "and or not len index slice print println printf html js urlquery eq ne lt le gt ge".split(" "),
);

/** Functions that Prometheus adds to those of Go. */
export function addedTemplateFunctions(): string[] {
  return [...FUNCTIONS.keys()].filter((name) => !GO_FUNCTIONS.has(name)).sort();
}

/** Whether templates may call a function of that name. */
export function isTemplateFunction(name: string): boolean {
  return FUNCTIONS.has(name);
}

/**
 * Calls a function.
 *
 * @throws TemplateError in Go's words.
 */
export function callFunction(name: string, args: readonly TemplateValue[], context: TemplateContext): TemplateValue {
  const found = FUNCTIONS.get(name);
  if (found === undefined) throw new TemplateError(`${JSON.stringify(name)} is not a defined function`);
  const { least, most, call } = found;
  if (args.length < least || args.length > most) {
    const want = most === MANY ? `at least ${least}` : String(args.length < least ? least : most);
    throw new TemplateError(`wrong number of args for ${name}: want ${want} got ${args.length}`);
  }
  try {
    return call(args, context);
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw cause instanceof ArgumentError ? cause : new TemplateError(`error calling ${name}: ${cause.message}`);
  }
}

/** An argument of the wrong type, of which Go says nothing more. */
class ArgumentError extends TemplateError {}

/** Prometheus' link to the table of an expression, to be put behind the external URL. */
export function tableLink(expression: string): string {
  return `/graph?g0.expr=${queryEscape(expression)}&g0.tab=1`;
}

function wrongType(want: string, value: TemplateValue): never {
  throw new ArgumentError(`wrong type for value; expected ${want}; got ${typeOf(value)}`);
}

function text(value: TemplateValue): string {
  return typeof value === "string" ? value : wrongType("string", value);
}

function listOf(value: TemplateValue): TemplateList {
  return typeof value === "object" && value.kind === "list" ? value : wrongType("template.queryResult", value);
}

function sampleOf(value: TemplateValue): TemplateStruct {
  return typeof value === "object" && value.kind === "struct" ? value : wrongType("*template.sample", value);
}

function labelOf({ fields }: TemplateStruct, name: string): TemplateValue {
  const labels = fields.get("Labels");
  return typeof labels === "object" && labels.kind === "map" ? (labels.entries.get(name) ?? "") : "";
}

/** As Prometheus turns what a template gives into a number. */
function float(value: TemplateValue): number {
  if (typeof value === "number") return value;
  if (typeof value === "bigint") return Number(value);
  if (typeof value === "string") {
    const parsed = parseGoNumber(value);
    if (parsed !== undefined) return parsed;
    throw new TemplateError(`strconv.ParseFloat: parsing ${JSON.stringify(value)}: invalid syntax`);
  }
  if (typeof value === "object" && value.kind === "duration") return value.nanoseconds / 1e9;
  throw new TemplateError(`can't convert ${typeOf(value)} to float`);
}

function guarded<Value>(where: string, run: () => Value): Value {
  try {
    return run();
  } catch (cause) {
    throw new TemplateError(where + (cause instanceof Error ? cause.message : String(cause)));
  }
}

function lengthOf(value: TemplateValue): bigint {
  if (typeof value === "string") return BigInt(Buffer.byteLength(value));
  if (typeof value === "object" && value.kind === "map") return BigInt(value.entries.size);
  if (typeof value === "object" && value.kind === "list") return BigInt(value.items.length);
  if (value === undefined) throw new TemplateError("len of nil pointer");
  throw new TemplateError(`len of type ${typeOf(value)}`);
}

function indexOf(value: TemplateValue, key: TemplateValue): TemplateValue {
  if (typeof value === "object" && value.kind === "map") {
    if (typeof key !== "string") throw new TemplateError(`value has type ${typeOf(key)}; should be string`);
    return value.entries.get(key) ?? (value.values === "string" ? "" : undefined);
  }
  if (typeof value === "object" && value.kind === "list") return value.items[position(key, value.items.length)];
  if (typeof value === "string") return BigInt(Buffer.from(value)[position(key, Buffer.byteLength(value))] ?? 0);
  if (value === undefined) throw new TemplateError("index of untyped nil");
  throw new TemplateError(`can't index item of type ${typeOf(value)}`);
}

function position(key: TemplateValue, length: number): number {
  if (typeof key !== "bigint") throw new TemplateError(`cannot index slice/array with type ${typeOf(key)}`);
  if (key < 0n || key >= BigInt(length)) throw new TemplateError(`index out of range: ${key}`);
  return Number(key);
}

function sliceOf(args: readonly TemplateValue[]): TemplateValue {
  const [value, from = 0n, to] = args;
  const isText = typeof value === "string";
  if (!isText && !(typeof value === "object" && value.kind === "list")) {
    throw new TemplateError(`can't slice item of type ${typeOf(value)}`);
  }
  const bytes = isText ? Buffer.from(value) : undefined;
  const length = bytes?.length ?? (isText ? 0 : value.items.length);
  const bound = (key: TemplateValue) => {
    if (typeof key !== "bigint") throw new TemplateError(`cannot index slice/array with type ${typeOf(key)}`);
    if (key < 0n || key > BigInt(length)) throw new TemplateError(`index out of range: ${key}`);
    return Number(key);
  };
  const [start, end] = [bound(from), to === undefined ? length : bound(to)];
  if (start > end) throw new TemplateError(`invalid slice index: ${start} > ${end}`);
  if (bytes !== undefined) return bytes.subarray(start, end).toString("utf8");
  return isText ? "" : { kind: "list", items: value.items.slice(start, end) };
}

/** As Go's `fmt.Sprint`: a space between two values of which neither is a text. */
function printAll(args: readonly TemplateValue[]): string {
  return args
    .map((value, index) => {
      const previous = args[index - 1];
      const apart = index > 0 && typeof value !== "string" && typeof previous !== "string";
      return `${apart ? " " : ""}${sprint(value)}`;
    })
    .join("");
}

function joined(args: readonly TemplateValue[]): string {
  return args.length === 1 ? printValue(args[0]) : printAll(args);
}

const HTML: Readonly<Record<string, string>> = {
  '"': "&#34;",
  "'": "&#39;",
  "&": "&amp;",
  "<": "&lt;",
  ">": "&gt;",
  "\0": "\ufffd",
};

function escapeHtml(value: string): string {
  return value.replace(/["'&<>\0]/g, (character) => HTML[character] ?? character);
}

function escapeJs(value: string): string {
  return value.replace(/[\\'"<>&=\p{Cc}]/gu, (character) => {
    if ("\\'\"".includes(character)) return `\\${character}`;
    return `\\u${(character.codePointAt(0) ?? 0).toString(16).toUpperCase().padStart(4, "0")}`;
  });
}

/** As Go's `url.QueryEscape`. */
function queryEscape(value: string): string {
  const escaped = encodeURIComponent(value.toWellFormed());
  return escaped
    .replaceAll("%20", "+")
    .replace(/[!'()*]/g, (character) => `%${character.charCodeAt(0).toString(16).toUpperCase()}`);
}

/** The first letter of each word in upper case; the others stay. */
function titleCase(value: string): string {
  return value.replace(/(?<![\p{L}\p{N}\p{M}_'’])\p{L}/gu, (letter) => {
    const [first = "", ...rest] = letter.toUpperCase();
    return first + rest.join("").toLowerCase(); // ß becomes Ss
  });
}

function sortByLabel(label: string, list: TemplateList): TemplateList {
  const key = (value: TemplateValue) => sprint(labelOf(sampleOf(value), label));
  const items = list.items.toSorted((a, b) => (key(a) < key(b) ? -1 : key(a) > key(b) ? 1 : 0));
  return { kind: "list", items };
}

/** As Go's `net.SplitHostPort`; undefined where the text is no `host:port`. */
function splitHostPort(value: string): { readonly host: string; readonly port: string } | undefined {
  const [, bracketed, plain, port = ""] = /^(?:\[([^[\]]*)\]|([^:[\]]*)):([^:[\]]*)$/.exec(value) ?? [];
  const host = bracketed ?? plain;
  return host === undefined ? undefined : { host, port };
}

function stripDomain(value: string): string {
  const split = splitHostPort(value);
  const host = split?.host ?? value;
  if (/^\d{1,3}(?:\.\d{1,3}){3}$/.test(host) || host.includes(":")) return value;
  const short = host.split(".")[0] ?? "";
  return split === undefined || split.port === "" ? short : `${short}:${split.port}`;
}

function scaled(value: number, step: number, prefixes: readonly string[], goesOn: (size: number) => boolean): string {
  let rest = value;
  let prefix = "";
  for (const next of prefixes) {
    if (!goesOn(Math.abs(rest))) break;
    prefix = next;
    rest *= step;
  }
  return printGeneral(rest, 4) + prefix;
}

/** Divides step by step, as Prometheus does: the rounding is the same. */
function divided(value: number, step: number, prefixes: readonly string[]): string {
  let rest = value;
  let prefix = "";
  for (const next of prefixes) {
    if (Math.abs(rest) < step) break;
    prefix = next;
    rest /= step;
  }
  return printGeneral(rest, 4) + prefix;
}

function humanize(value: number): string {
  if (value === 0 || !Number.isFinite(value)) return printGeneral(value, 4);
  return Math.abs(value) >= 1 ? divided(value, 1000, LARGE) : scaled(value, 1000, SMALL, (size) => size < 1);
}

function humanize1024(value: number): string {
  return Math.abs(value) <= 1 || !Number.isFinite(value) ? printGeneral(value, 4) : divided(value, 1024, BINARY);
}

function humanizeDuration(value: number): string {
  if (!Number.isFinite(value)) return printGeneral(value, 4);
  if (value === 0) return `${printGeneral(value, 4)}s`;
  if (Math.abs(value) < 1) return `${scaled(value, 1000, SMALL, (size) => size < 1)}s`;
  const sign = value < 0 ? "-" : "";
  const whole = Math.trunc(Math.abs(value));
  const [days, hours, minutes, seconds] = [
    Math.floor(whole / 86_400),
    Math.floor(whole / 3600) % 24,
    Math.floor(whole / 60) % 60,
    whole % 60,
  ];
  if (days !== 0) return `${sign}${days}d ${hours}h ${minutes}m ${seconds}s`;
  if (hours !== 0) return `${sign}${hours}h ${minutes}m ${seconds}s`;
  return minutes !== 0 ? `${sign}${minutes}m ${seconds}s` : `${sign}${printGeneral(Math.abs(value), 4)}s`;
}

function timeOf(seconds: number): TemplateValue {
  const nanoseconds = seconds * 1e9;
  if (Math.abs(nanoseconds) > INT64_MAX) {
    const why = "cannot be represented as a nanoseconds timestamp since it overflows int64";
    throw new TemplateError(`${sprint(seconds)} ${why}`);
  }
  return { kind: "time", unixMs: Math.trunc(nanoseconds / 1e6) };
}

function durationSeconds(value: string): number {
  const negative = value.startsWith("-");
  const outcome = parseDuration(negative ? value.slice(1) : value);
  if (outcome.kind === "refused") throw new TemplateError(outcome.reason);
  return (negative ? -1 : 1) * (outcome.milliseconds / 1000);
}
