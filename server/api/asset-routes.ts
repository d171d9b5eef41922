/**
 * The page, from memory: each file compressed once, with an ETag of its content.
 */

import { createHash } from "node:crypto";
import { gzipSync } from "node:zlib";
import type { FastifyInstance } from "fastify";
import type { Asset } from "./api-deps.ts";

/** Nothing from elsewhere, nothing inline, no framing. */
export const CONTENT_SECURITY_POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/** Adds a route for every file; no path of a request ever reaches the file system. */
export function addAssetRoutes(app: FastifyInstance, assets: ReadonlyMap<string, Asset>): void {
  for (const [path, { type, body }] of assets) {
    const plain = Buffer.from(body);
    const compressed = gzipSync(plain, { level: 9 });
    const etag = `"${createHash("sha256").update(plain).digest("base64url").slice(0, 22)}"`;
    app.get(path, async (request, reply) => {
      reply.header("content-security-policy", CONTENT_SECURITY_POLICY);
      reply.header("etag", etag).header("cache-control", "no-cache").header("vary", "accept-encoding");
      if (request.headers["if-none-match"] === etag) return reply.code(304).send();
      reply.type(type);
      if (!acceptsGzip(request.headers["accept-encoding"])) return reply.send(plain);
      return reply.header("content-encoding", "gzip").send(compressed);
    });
  }
}

/** Whether an Accept-Encoding header admits gzip. */
export function acceptsGzip(header: string | string[] | undefined): boolean {
  return (
    typeof header === "string" &&
    /(?:^|,)\s*(?:x-)?gzip\s*(?:;\s*q=(?!0(?:\.0*)?\s*(?:,|$))[^,]*)?(?:,|$)/i.test(header)
  );
}
