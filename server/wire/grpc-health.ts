/**
 * Messages of the gRPC health service.
 *
 * @see https://github.com/grpc/grpc/blob/master/doc/health-checking.md
 */

import { cursorOver, readTag, readText, skipField } from "./protobuf-reader.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { WireError } from "./wire-error.ts";

const SERVING = 1;
const NOT_SERVING = 2;

/** Name of the service a HealthCheckRequest asks for; empty for the whole server, undefined where it cannot be decoded. */
export function decodeHealthService(bytes: Uint8Array): string | undefined {
  const cursor = cursorOver(bytes);
  let service = "";
  try {
    while (cursor.at < cursor.end) {
      const tag = readTag(cursor);
      if (tag === 10) service = readText(cursor);
      else skipField(cursor, tag);
    }
  } catch (error) {
    if (error instanceof WireError) return undefined;
    throw error;
  }
  return service;
}

/** HealthCheckResponse. */
export function encodeHealthStatus(serving: boolean): Uint8Array {
  const writer = new ProtobufWriter();
  writer.writeUint32(1, serving ? SERVING : NOT_SERVING);
  return writer.take();
}
