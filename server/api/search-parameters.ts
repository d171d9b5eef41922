/** Parameters of a request's address. */

import type { FastifyRequest } from "fastify";

/** Parameters of a request's address; a name may stand several times. */
export function searchParameters(request: FastifyRequest): URLSearchParams {
  const at = request.url.indexOf("?");
  return new URLSearchParams(at < 0 ? "" : request.url.slice(at + 1));
}
