/**
 * The name that a DNS question asks for when it travels in the target of an HTTP request.
 *
 * @see RFC 8484 section 4.1.1
 */

import { looksSecret, REDACTED } from "./secrets.ts";

const HEADER_BYTES = 12;
const LABEL_BYTES_MAX = 63;
const NAME_CHARS_MAX = 253;
const PARAMETER = "dns=";
/** A header and the shortest name take 17 bytes; the longest name fits into what 64-bit text of this length holds. */
const TEXT_CHARS_MIN = 22;
const TEXT_CHARS_MAX = 1024;

/**
 * The name in the parameter `dns` of a target's query, without its last dot.
 *
 * @param redaction Replace labels that may be secrets.
 * @returns Empty text where there is none, or none that can be read.
 */
export function askedName(target: string, redaction: boolean): string {
  const mark = target.indexOf("?");
  if (mark < 0) return "";
  let at = target.indexOf(PARAMETER, mark + 1);
  while (at > mark + 1 && target[at - 1] !== "&") at = target.indexOf(PARAMETER, at + 1);
  if (at < 0) return "";
  const start = at + PARAMETER.length;
  const next = target.indexOf("&", start);
  const text = target.slice(start, next < 0 ? undefined : next);
  if (text.length < TEXT_CHARS_MIN || text.length > TEXT_CHARS_MAX) return "";
  return nameOf(Buffer.from(text, "base64url"), redaction);
}

function nameOf(message: Uint8Array, redaction: boolean): string {
  const isQuery = ((message[2] as number) & 0x80) === 0;
  const hasOneQuestion = message[4] === 0 && message[5] === 1;
  if (message.length <= HEADER_BYTES || !isQuery || !hasOneQuestion) return "";
  let name = "";
  let at = HEADER_BYTES;
  for (let length = message[at] as number; length > 0; length = message[at] as number) {
    const end = at + 1 + length;
    if (length > LABEL_BYTES_MAX || end >= message.length || name.length > NAME_CHARS_MAX) return "";
    const label = labelOf(message, at + 1, end);
    if (label === "") return "";
    name += `${name === "" ? "" : "."}${redaction && looksSecret(label) ? REDACTED : label}`;
    at = end;
  }
  return name;
}

/** Letters, digits, dashes and underscores; empty text for what has others. */
function labelOf(message: Uint8Array, start: number, end: number): string {
  let label = "";
  for (let at = start; at < end; at++) {
    const byte = message[at] as number;
    const lower = byte >= 0x41 && byte <= 0x5a ? byte | 0x20 : byte;
    const isPlain =
      (lower >= 0x61 && lower <= 0x7a) || (lower >= 0x30 && lower <= 0x39) || lower === 0x2d || lower === 0x5f;
    if (!isPlain) return "";
    label += String.fromCharCode(lower);
  }
  return label;
}
