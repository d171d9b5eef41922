/**
 * What the answer to an OTLP export means for what was sent.
 *
 * @see https://opentelemetry.io/docs/specs/otlp/#failures
 */

import { decodeExportResponse, decodeRetryInfo } from "../../server/wire/otlp-responses.ts";

/** An answer as the transports give it. */
export type ExportAnswer =
  | {
      readonly kind: "http";
      readonly status: number;
      readonly retryAfterSeconds: number | undefined;
      readonly body: Uint8Array;
    }
  | { readonly kind: "grpc"; readonly code: number; readonly message: string; readonly body: Uint8Array };

/** What to do: `taken` but for some spans, `again` later, `smaller` in parts, or never (`refused`). */
export type SendOutcome =
  | { readonly kind: "taken"; readonly rejected: number; readonly message: string }
  | { readonly kind: "again"; readonly why: string; readonly afterSeconds: number | undefined }
  | { readonly kind: "smaller"; readonly why: string }
  | { readonly kind: "refused"; readonly why: string };

const HTTP_AGAIN: ReadonlySet<number> = new Set([429, 502, 503, 504]);
const HTTP_TOO_LARGE = 413;
/** CANCELLED, DEADLINE_EXCEEDED, ABORTED, OUT_OF_RANGE, UNAVAILABLE, DATA_LOSS. */
const GRPC_AGAIN: ReadonlySet<number> = new Set([1, 4, 10, 11, 14, 15]);
/** To be tried again only where the answer says when; without that it is a message too large. */
const GRPC_RESOURCE_EXHAUSTED = 8;

/** Reads an answer. */
export function readAnswer(answer: ExportAnswer): SendOutcome {
  if (answer.kind === "http") {
    const { status, body, retryAfterSeconds } = answer;
    if (status >= 200 && status < 300) return { kind: "taken", ...decodeExportResponse(body) };
    const why = `it answered with status ${status}`;
    if (HTTP_AGAIN.has(status)) return { kind: "again", why, afterSeconds: retryAfterSeconds };
    return { kind: status === HTTP_TOO_LARGE ? "smaller" : "refused", why };
  }
  const { code, body, message } = answer;
  if (code === 0) return { kind: "taken", ...decodeExportResponse(body) };
  const afterSeconds = decodeRetryInfo(body);
  const why = `it answered with gRPC code ${code}${message === "" ? "" : ` (${message.slice(0, 200)})`}`;
  if (code === GRPC_RESOURCE_EXHAUSTED) {
    return afterSeconds === undefined ? { kind: "smaller", why } : { kind: "again", why, afterSeconds };
  }
  return GRPC_AGAIN.has(code) ? { kind: "again", why, afterSeconds } : { kind: "refused", why };
}
