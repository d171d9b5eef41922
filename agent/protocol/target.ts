/**
 * Request targets of HTTP in all their forms, and what of them may be kept.
 *
 * @see RFC 9112 section 3.2 (forms); OpenTelemetry semantic conventions, `url.*` (redaction)
 */

import { hasDigit, isSecretName, isToldSecret, looksSecret, REDACTED } from "./secrets.ts";

/** Longest path and query that are kept, in UTF-16 code units; the rest is cut off. */
const PATH_CHARS_MAX = 2048;
const QUERY_CHARS_MAX = 1024;

const KEY_CHARS_MAX = 40;
/** Of what stands in a query without `=`, and so may be a value. */
const BARE_CHARS_MAX = 24;
const HOST_CHARS_MAX = 253;

/** A target taken apart. */
export interface Target {
  readonly form: "origin" | "absolute" | "authority" | "asterisk";
  /** `http` or `https` of an absolute target; else empty. */
  readonly scheme: string;
  /** Host of an absolute or authority target, without user; else empty. */
  readonly host: string;
  /** Port of an absolute or authority target; 0 where it has none. */
  readonly port: number;
  /** As sent, with secrets replaced if redaction is on. `*` in asterisk form, the whole target in authority form. */
  readonly path: string;
  /** Without `?`. Keys only, with `REDACTED` for each value, if redaction is on. */
  readonly query: string;
}

/** Takes a request target apart. Never throws: what is not a target is taken for a path. */
export function parseTarget(target: string, isConnect: boolean, redaction: boolean): Target {
  if (isConnect) {
    const { host, port } = parseAuthority(target);
    const text = target.slice(target.lastIndexOf("@") + 1, PATH_CHARS_MAX);
    const path = redaction ? redactPath(text) : text;
    return { form: "authority", scheme: "", host, port, path, query: "" };
  }
  if (target === "*") return { form: "asterisk", scheme: "", host: "", port: 0, path: "*", query: "" };
  const schemeEnd = target.startsWith("/") ? -1 : target.indexOf("://");
  if (schemeEnd < 1 || schemeEnd > 8) {
    const { path, query } = splitPath(target, redaction);
    return { form: "origin", scheme: "", host: "", port: 0, path, query };
  }
  const authorityStart = schemeEnd + 3;
  const authorityEnd = indexOfAny(target, authorityStart);
  const { host, port } = parseAuthority(target.slice(authorityStart, authorityEnd));
  const { path, query } = splitPath(target.slice(authorityEnd), redaction);
  const scheme = target.slice(0, schemeEnd).toLowerCase();
  return { form: "absolute", scheme, host, port, path: path === "" ? "/" : path, query };
}

/**
 * Takes `host[:port]` apart, as in the header `Host`. A user and password before `@` are dropped.
 *
 * @returns An empty host where the text cannot be one.
 */
export function parseAuthority(text: string): { host: string; port: number } {
  const authority = text.slice(text.lastIndexOf("@") + 1);
  const bracket = authority.startsWith("[") ? authority.indexOf("]") : -1;
  const colon = bracket < 0 ? authority.indexOf(":") : authority.indexOf(":", bracket);
  const host = bracket < 0 ? authority.slice(0, colon < 0 ? undefined : colon) : authority.slice(1, bracket);
  const port = colon < 0 ? 0 : Number(authority.slice(colon + 1));
  if (host.length > HOST_CHARS_MAX || !isHost(host, bracket >= 0)) return { host: "", port: 0 };
  return { host: host.toLowerCase(), port: Number.isInteger(port) && port > 0 && port < 65_536 ? port : 0 };
}

function isHost(host: string, inBrackets: boolean): boolean {
  for (let at = 0; at < host.length; at++) {
    const code = host.charCodeAt(at);
    const fine =
      (code >= 0x30 && code <= 0x39) ||
      (code >= 0x41 && code <= 0x5a) ||
      (code >= 0x61 && code <= 0x7a) ||
      code === 0x2d ||
      code === 0x2e ||
      code === 0x5f ||
      (inBrackets && (code === 0x3a || code === 0x25));
    if (!fine) return false;
  }
  return !looksSecret(host);
}

/** Where the authority of an absolute target ends: at `/`, `?` or `#`. */
function indexOfAny(target: string, start: number): number {
  for (let at = start; at < target.length; at++) {
    const code = target.charCodeAt(at);
    if (code === 0x2f || code === 0x3f || code === 0x23) return at;
  }
  return target.length;
}

function splitPath(target: string, redaction: boolean): { path: string; query: string } {
  const fragment = target.indexOf("#");
  const whole = fragment < 0 ? target : target.slice(0, fragment);
  const mark = whole.indexOf("?");
  const path = (mark < 0 ? whole : whole.slice(0, mark)).slice(0, PATH_CHARS_MAX);
  const query = mark < 0 ? "" : whole.slice(mark + 1, mark + 1 + QUERY_CHARS_MAX);
  if (!redaction) return { path, query };
  return { path: redactPath(path), query: query === "" ? "" : redactQuery(query) };
}

/** Replaces the segments of a path that may be secrets, and values of parameters such as `;jsessionid=`. */
export function redactPath(path: string): string {
  // Most paths are short and plain: nothing shorter than this has room for a secret after a telling name.
  if (path.length < 8) return path;
  let redacted = "";
  let kept = 0;
  let previous = "";
  for (let start = 0; start < path.length; ) {
    const slash = path.indexOf("/", start);
    const end = slash < 0 ? path.length : slash;
    const segment = path.slice(start, end);
    const safe = redactSegment(segment, previous);
    if (safe !== segment) {
      redacted += path.slice(kept, start) + safe;
      kept = end;
    }
    previous = segment;
    start = end + 1;
  }
  return kept === 0 ? path : redacted + path.slice(kept);
}

function redactSegment(segment: string, previous: string): string {
  const semicolon = segment.indexOf(";");
  if (semicolon >= 0) {
    const parts = segment.split(";");
    return parts.map((part, index) => (index === 0 ? redactSegment(part, previous) : redactParameter(part))).join(";");
  }
  if (looksSecret(segment) || isToldSecret(previous, segment) || hasUserInfo(segment)) return REDACTED;
  // An escaped sign hides a shape from sight, and from nobody else.
  if (!segment.includes("%")) return segment;
  const plain = unescaped(segment);
  return looksSecret(plain) || isToldSecret(previous, plain) || hasUserInfo(plain) ? REDACTED : segment;
}

/** `user:password@` of an address that stands inside of a path. */
function hasUserInfo(text: string): boolean {
  const at = text.lastIndexOf("@");
  if (at < 0) return false;
  const colon = text.lastIndexOf(":", at);
  return colon >= 0 && at - colon > 1;
}

/** Without percent escapes; what is none stays as it is. */
function unescaped(text: string): string {
  return text.replace(/%([0-9A-Fa-f]{2})/g, (_, code: string) => String.fromCharCode(Number.parseInt(code, 16)));
}

function redactParameter(parameter: string): string {
  const equals = parameter.indexOf("=");
  if (equals < 0) return looksSecret(parameter) ? REDACTED : parameter;
  const name = parameter.slice(0, equals);
  const isSecret = isSecretName(name) || looksSecret(parameter.slice(equals + 1));
  return isSecret ? `${looksSecret(name) ? REDACTED : name}=${REDACTED}` : parameter;
}

/** `a=1&b=` becomes `a=REDACTED&b=`; a part without `=` stays where it looks like a name. */
export function redactQuery(query: string): string {
  let redacted = "";
  for (let start = 0; ; ) {
    const ampersand = query.indexOf("&", start);
    if (ampersand < 0) return redacted + redactPair(query.slice(start));
    redacted += `${redactPair(query.slice(start, ampersand))}&`;
    start = ampersand + 1;
  }
}

function redactPair(pair: string): string {
  const equals = pair.indexOf("=");
  const key = equals < 0 ? pair : pair.slice(0, equals);
  // What stands without `=` may be a value as well as a name: only what cannot be an identifier stays.
  if (equals < 0) return key.length <= BARE_CHARS_MAX && isPlainKey(key) && !hasDigit(key) ? key : REDACTED;
  const safeKey = isPlainKey(key) ? key : REDACTED;
  return equals === pair.length - 1 ? `${safeKey}=` : `${safeKey}=${REDACTED}`;
}

/** A short name: letters, at most a few digits, dots, dashes and brackets. */
function isPlainKey(key: string): boolean {
  if (key.length > KEY_CHARS_MAX || looksSecret(key) || (key.includes("%") && looksSecret(unescaped(key))))
    return false;
  let digits = 0;
  for (let at = 0; at < key.length; at++) {
    const code = key.charCodeAt(at);
    if (code >= 0x30 && code <= 0x39) digits++;
    else if (code <= 0x20 || code > 0x7e) return false;
  }
  return digits * 2 <= key.length;
}
