/**
 * Bounded names for paths: `/users/1234/orders` becomes `/users/{id}/orders`.
 *
 * A segment is a place-holder by its shape (`{id}`), or because its position has shown too many values (`{x}`).
 * Whatever a path holds, a server has at most `SERVER_TEMPLATES_MAX` templates; later ones share `{overflow}`.
 * Servers beyond `SERVERS_MAX` share one table.
 */

import { REDACTED } from "./secrets.ts";

/** Templates of one server before `{overflow}`. */
export const SERVER_TEMPLATES_MAX = 200;
/** Servers that have a table of their own. */
export const SERVERS_MAX = 1024;
/** Distinct values that a position may show before it is taken for a parameter. */
export const POSITION_VALUES_MAX = 50;
/** Values of all positions of one server that are remembered; beyond, paths of unknown values share `{overflow}`. */
const SERVER_VALUES_MAX = 4096;
/** Segments that are looked at; what follows them is written `*`. */
const SEGMENTS_MAX = 16;
/** The template of paths that came when the table was full. */
export const OVERFLOW_TEMPLATE = "{overflow}";

/** A value of a full position that was seen this often is a route, not a parameter. */
const ROUTE_SEEN_MIN = 64;
const SEGMENT_CHARS_MAX = 40;
const EXTENSION_CHARS_MAX = 5;

/** A place in the tree of paths. */
interface Position {
  readonly values: Map<string, Position>;
  /** The template of the path that ends here. */
  readonly template: string;
  /** The template is one of the server's. */
  isNamed: boolean;
  seen: number;
  /** What stands for all values that are not in `values`; set once the position is full. */
  parameter: Position | undefined;
}

/** Templates of one server. */
export class PathTemplates {
  #root = makePosition("");
  #templates = 0;
  #values = 0;

  /**
   * @param path As sent, without query. `*`, the empty path and anything else are fine.
   * @returns The path's template, or `{overflow}` where the table is full.
   */
  templateOf(path: string): string {
    if (path === "*" || path === "") return path;
    let position: Position | undefined = this.#root;
    let start = path.startsWith("/") ? 1 : 0;
    for (let count = 0; start <= path.length; count++) {
      if (count === SEGMENTS_MAX) {
        position = this.#visit(position, "*");
        break;
      }
      const slash = path.indexOf("/", start);
      const end = slash < 0 ? path.length : slash;
      position = this.#visit(position, segmentShape(path.slice(start, end)));
      if (position === undefined) break;
      start = end + 1;
    }
    return position === undefined ? OVERFLOW_TEMPLATE : this.#named(position);
  }

  /** The position behind a value; undefined where no more values can be remembered. */
  #visit(position: Position, value: string): Position | undefined {
    const known = position.values.get(value);
    if (known !== undefined) {
      known.seen++;
      return known;
    }
    if (position.parameter !== undefined) return position.parameter;
    if (this.#values >= SERVER_VALUES_MAX) return undefined;
    this.#values++;
    if (position.values.size < POSITION_VALUES_MAX) {
      const added = makePosition(`${position.template}/${value}`);
      position.values.set(value, added);
      return added;
    }
    for (const [name, behind] of position.values) if (behind.seen < ROUTE_SEEN_MIN) position.values.delete(name);
    position.parameter = makePosition(`${position.template}/{x}`);
    return position.parameter;
  }

  #named(position: Position): string {
    if (position.isNamed) return position.template;
    if (this.#templates >= SERVER_TEMPLATES_MAX) return OVERFLOW_TEMPLATE;
    this.#templates++;
    position.isNamed = true;
    return position.template;
  }
}

/** Tables of all servers. */
export class ServerTemplates {
  #servers = new Map<string, PathTemplates>();
  #shared = new PathTemplates();

  /** The table of a server, whose key is any text that names it, such as its address and port. */
  of(server: string): PathTemplates {
    const known = this.#servers.get(server);
    if (known !== undefined) return known;
    if (this.#servers.size >= SERVERS_MAX) return this.#shared;
    const added = new PathTemplates();
    this.#servers.set(server, added);
    return added;
  }
}

function makePosition(template: string): Position {
  return { values: new Map(), template, isNamed: false, seen: 1, parameter: undefined };
}

/** A segment as it stands in a template: itself, or `{id}`, keeping a file extension. */
function segmentShape(segment: string): string {
  if (segment === REDACTED) return "{id}";
  if (segment === "" || !isIdentifier(segment)) return segment;
  const dot = segment.includes("@") || segment.includes("%") ? -1 : segment.lastIndexOf(".");
  return dot > 0 && isExtension(segment, dot + 1) ? `{id}${segment.slice(dot)}` : "{id}";
}

function isExtension(segment: string, start: number): boolean {
  const length = segment.length - start;
  if (length < 1 || length > EXTENSION_CHARS_MAX || !isLetter(segment.charCodeAt(start))) return false;
  for (let at = start + 1; at < segment.length; at++) {
    const code = segment.charCodeAt(at);
    if (!isLetter(code) && !isDigit(code)) return false;
  }
  return true;
}

function isIdentifier(segment: string): boolean {
  const dot = segment.lastIndexOf(".");
  const end = dot > 0 && isExtension(segment, dot + 1) ? dot : segment.length;
  if (end > SEGMENT_CHARS_MAX) return true;
  const count = { digits: 0, hex: 0, upper: 0, lower: 0, other: 0 };
  for (let at = 0; at < end; at++) {
    const code = segment.charCodeAt(at);
    if (isDigit(code)) count.digits++;
    else if (code >= 0x41 && code <= 0x5a) count.upper++;
    else if (code >= 0x61 && code <= 0x7a) count.lower++;
    else if (code === 0x40 || code === 0x25 || code <= 0x20 || code > 0x7e) return true;
    else if (code !== 0x2d) count.other++;
    if (isHex(code)) count.hex++;
  }
  if (count.digits === 0) return count.hex >= 16 && count.hex === end;
  if (isVersion(segment, end)) return false;
  if (count.digits * 2 > end) return true;
  const signs = end - count.digits - count.upper - count.lower;
  // UUIDs and long hex, with or without dashes; then ULIDs and other base32 or base62 names.
  if (count.hex >= 16 && count.hex + signs === end && count.other === 0) return true;
  return end >= 20 && count.digits >= 2 && (count.upper === 0 || count.lower === 0 ? signs === 0 : count.other === 0);
}

/** `v1`, `v10`, `v2.1` are parts of routes. */
function isVersion(segment: string, end: number): boolean {
  if (end > 6 || (segment.charCodeAt(0) | 0x20) !== 0x76 || !isDigit(segment.charCodeAt(1))) return false;
  for (let at = 2; at < end; at++) {
    const code = segment.charCodeAt(at);
    if (!isDigit(code) && code !== 0x2e) return false;
  }
  return true;
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isLetter(code: number): boolean {
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a);
}

function isHex(code: number): boolean {
  return isDigit(code) || (code >= 0x41 && code <= 0x46) || (code >= 0x61 && code <= 0x66);
}
