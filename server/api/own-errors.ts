/**
 * The error shape of Thalweg's own routes: `{"error":{"code","message","hint"}}`.
 */

import type { FastifyReply } from "fastify";

/** An error of our own routes: what is wrong, and the way out. */
export interface OwnError {
  readonly status: number;
  readonly code: string;
  readonly message: string;
  readonly hint: string;
  /** Where in a query text, counted from 1; only for queries. */
  readonly line?: number;
  readonly column?: number;
}

/** Answers `{"error": …}` with the error's status. */
export function sendOwnError(reply: FastifyReply, { status, ...error }: OwnError): FastifyReply {
  return reply.code(status).type("application/json").send(JSON.stringify({ error }));
}
