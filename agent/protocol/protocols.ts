/**
 * All protocols in the order in which they are tried: exact magic first, then text, last what is easily mistaken.
 */

import { HTTP1 } from "./http1.ts";
import { GRPC, HTTP2 } from "./http2.ts";
import { POSTGRESQL } from "./postgresql.ts";
import type { Protocol } from "./protocol.ts";
import { REDIS } from "./redis.ts";
import { TLS } from "./tls.ts";

/** Every protocol that has a parser. */
export const PROTOCOLS: readonly Protocol[] = [HTTP2, GRPC, TLS, POSTGRESQL, HTTP1, REDIS];
