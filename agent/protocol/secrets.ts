/**
 * Recognises what may be a secret or personal by its shape, in time linear to the text.
 *
 * Text is judged a piece at a time: one path segment, one key, one word. Hex digits alone, however many, are not taken
 * for a secret: identifiers of real systems (UUIDs, digests, commits) look the same. After a telling name they are.
 */

/** What stands in place of a secret. */
export const REDACTED = "REDACTED";

/** Texts shorter than this carry no secret that a shape could give away. */
const SECRET_CHARS_MIN = 8;
const TOKEN_CHARS_MIN = 40;
const TOLD_TOKEN_CHARS_MIN = 16;
const AFTER_PREFIX_CHARS_MIN = 12;

/** First characters of tokens that their issuers gave a recognisable form. */
const TOKEN_PREFIXES: readonly string[] = [
  "eyJ", // JSON Web Token: base64url of `{"`
  "ghp_",
  "gho_",
  "ghu_",
  "ghs_",
  "ghr_",
  "github_pat_",
  "glpat-",
  "xoxa-",
  "xoxb-",
  "xoxp-",
  "xoxr-",
  "xoxs-",
  "sk_live_",
  "sk_test_",
  "rk_live_",
  "pk_live_",
  "whsec_",
  "sk-",
  "AKIA",
  "ASIA",
  "AIza",
  "ya29.",
  "npm_",
  "pypi-",
  "hf_",
  "dop_v1_",
  "SG.",
  "-----BEGIN",
];

/** Names whose values are secrets whatever they look like. */
const SECRET_NAMES: ReadonlySet<string> = new Set([
  "jsessionid",
  "phpsessid",
  "sessionid",
  "session_id",
  "sid",
  "token",
  "tokens",
  "access_token",
  "refresh_token",
  "id_token",
  "auth",
  "password",
  "passwd",
  "pwd",
  "secret",
  "secrets",
  "apikey",
  "api_key",
  "api-key",
  "key",
  "signature",
  "sig",
  "otp",
]);

/** Names that a one-time token often follows in a path. */
const TOKEN_NAMES: ReadonlySet<string> = new Set([
  "reset",
  "reset-password",
  "password-reset",
  "verify",
  "verification",
  "confirm",
  "confirmation",
  "activate",
  "activation",
  "invite",
  "invitation",
  "unsubscribe",
  "session",
  "sessions",
  "magic",
  "magic-link",
  "webhook",
  "webhooks",
]);

/** Is the name one whose value must not be kept? */
export function isSecretName(name: string): boolean {
  return SECRET_NAMES.has(name.toLowerCase());
}

/** May a path segment be a secret because of the segment before it? */
export function isToldSecret(previous: string, segment: string): boolean {
  if (segment.length < SECRET_CHARS_MIN || !hasDigit(segment)) return false;
  const name = previous.toLowerCase();
  return SECRET_NAMES.has(name) || (segment.length >= TOLD_TOKEN_CHARS_MIN && TOKEN_NAMES.has(name));
}

/** May this piece of text be a secret (token, key, card number) or an e-mail address? */
export function looksSecret(text: string): boolean {
  if (text.length < SECRET_CHARS_MIN) return hasEmail(text);
  return hasTokenPrefix(text) || hasLongRun(text) || hasEmail(text) || hasCardNumber(text);
}

/** A run of letters and digits that begins with one of the prefixes, and goes on long enough. */
function hasTokenPrefix(text: string): boolean {
  if (text.length < AFTER_PREFIX_CHARS_MIN + 2) return false;
  for (const prefix of TOKEN_PREFIXES) {
    const at = text.indexOf(prefix);
    if (at < 0 || text.length - at - prefix.length < AFTER_PREFIX_CHARS_MIN) continue;
    if (at === 0 || !isWordCode(text.charCodeAt(at - 1))) return true;
  }
  return false;
}

/** A run of 40 base64 letters of mixed case with digits among them. */
function hasLongRun(text: string): boolean {
  if (text.length < TOKEN_CHARS_MIN) return false;
  let run = 0;
  let lower = false;
  let upper = false;
  let digit = false;
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    const isDigit = code >= 0x30 && code <= 0x39;
    const isLower = code >= 0x61 && code <= 0x7a;
    const isUpper = code >= 0x41 && code <= 0x5a;
    if (!isDigit && !isLower && !isUpper && !isBase64Sign(code)) {
      run = 0;
      lower = upper = digit = false;
      continue;
    }
    run++;
    lower ||= isLower;
    upper ||= isUpper;
    digit ||= isDigit;
    if (run >= TOKEN_CHARS_MIN && lower && upper && digit) return true;
  }
  return false;
}

/** `-_+=` and the `%` of their escaped forms. */
function isBase64Sign(code: number): boolean {
  return code === 0x2d || code === 0x5f || code === 0x2b || code === 0x3d || code === 0x25;
}

/** `local@domain.tld`, the sign also as `%40`. */
function hasEmail(text: string): boolean {
  for (let at = 1; at < text.length - 3; at++) {
    const code = text.charCodeAt(at);
    let after = 0;
    if (code === 0x40) after = at + 1;
    else if (code === 0x25 && text.charCodeAt(at + 1) === 0x34 && text.charCodeAt(at + 2) === 0x30) after = at + 3;
    if (after === 0 || !isWordCode(text.charCodeAt(at - 1))) continue;
    if (isDomain(text, after)) return true;
  }
  return false;
}

/** Letters, a dot, and two letters more, from `start` on. */
function isDomain(text: string, start: number): boolean {
  let labels = 0;
  let inLabel = 0;
  for (let at = start; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code === 0x2e) {
      if (inLabel === 0) return false;
      labels++;
      inLabel = 0;
    } else if (isWordCode(code) || code === 0x2d) inLabel++;
    else break;
  }
  return labels >= 1 && inLabel >= 2;
}

/** 13 to 19 digits, in one piece or in groups, that begin as cards do and whose Luhn sum fits. */
function hasCardNumber(text: string): boolean {
  let first = 0;
  let digits = 0;
  for (let at = 0; at <= text.length; at++) {
    const code = at < text.length ? text.charCodeAt(at) : 0;
    if (code >= 0x30 && code <= 0x39) {
      if (digits === 0) first = at;
      digits++;
      continue;
    }
    if (digits > 0 && (code === 0x2d || code === 0x2b || code === 0x20)) continue;
    if (isCard(text, first, at, digits)) return true;
    digits = 0;
  }
  return false;
}

function isCard(text: string, start: number, end: number, digits: number): boolean {
  if (digits < 13 || digits > 19) return false;
  const lead = text.charCodeAt(start);
  if (lead < 0x33 || lead > 0x36) return false;
  let sum = 0;
  let place = digits;
  for (let at = start; at < end; at++) {
    const digit = text.charCodeAt(at) - 0x30;
    if (digit < 0 || digit > 9) continue;
    const weighted = place % 2 === 0 ? digit * 2 : digit;
    sum += weighted > 9 ? weighted - 9 : weighted;
    place--;
  }
  return sum % 10 === 0;
}

function isWordCode(code: number): boolean {
  return (
    (code >= 0x30 && code <= 0x39) || (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) || code === 0x5f
  );
}

/** Is there a decimal digit in the text? */
export function hasDigit(text: string): boolean {
  for (let at = 0; at < text.length; at++) {
    const code = text.charCodeAt(at);
    if (code >= 0x30 && code <= 0x39) return true;
  }
  return false;
}

/** What stands between the parts of a key, a channel or another compound name. */
const NAME_BREAKS = /[:/|.,;@#&=\s{}[\]]+/;

/** May a compound name, such as the key `session:4f9a…`, hold a secret in one of its parts? */
export function looksSecretName(name: string): boolean {
  if (looksSecret(name)) return true;
  let previous = "";
  for (const part of name.split(NAME_BREAKS)) {
    if (isToldSecret(previous, part)) return true;
    previous = part;
  }
  return false;
}
