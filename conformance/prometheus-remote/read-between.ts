/**
 * Stands between a Prometheus and remote read, and sees in which form it is answered.
 *
 * It can take the streamed form off the requests: no setting of Prometheus makes it ask for samples.
 */

import { createServer, type Server } from "node:http";
import { decodeSnappy, encodeSnappy } from "../../server/wire/snappy.ts";

/** Tag of `accepted_response_types`, one by one. */
const RESPONSE_TYPE = 0x10;
/** The same, packed. */
const RESPONSE_TYPES = 0x12;
const QUERY = 0x0a;

/** The forms of answers. */
export type ReadForm = "streamed" | "sampled";

/** A running go-between. */
interface ReadBetween {
  /** Where to read. */
  readonly url: string;
  /** Content types of the answers that came through. */
  readonly types: ReadonlySet<string>;
  stop(): Promise<void>;
}

/** Starts it before the server at `base`; for `sampled` the other form is not asked for. */
export async function startReadBetween(base: string, form: ReadForm): Promise<ReadBetween> {
  const types = new Set<string>();
  const server = createServer(async (request, response) => {
    const chunks: Buffer[] = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = decodeSnappy(Buffer.concat(chunks));
    if (body === undefined) {
      response.writeHead(400).end("not snappy");
      return;
    }
    const answer = await fetch(`${base}/api/v1/read`, {
      method: "POST",
      headers: { "content-type": "application/x-protobuf", "content-encoding": "snappy" },
      body: Buffer.from(encodeSnappy(form === "sampled" ? withoutTypes(body) : body)),
    });
    const type = answer.headers.get("content-type") ?? "";
    types.add(type);
    const encoding = answer.headers.get("content-encoding");
    response.writeHead(answer.status, {
      "content-type": type,
      ...(encoding === null ? {} : { "content-encoding": encoding }),
    });
    response.end(Buffer.from(await answer.arrayBuffer()));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  if (address === null || typeof address === "string") throw new Error("the go-between has no port");
  return { url: `http://127.0.0.1:${address.port}`, types, stop: () => stop(server) };
}

function stop(server: Server): Promise<void> {
  server.closeAllConnections();
  return new Promise((resolve) => server.close(() => resolve()));
}

/** The queries of a request alone. */
function withoutTypes(body: Uint8Array): Buffer {
  const kept: Uint8Array[] = [];
  let at = 0;
  while (at < body.length) {
    const start = at;
    const tag = body[at++];
    if (tag !== QUERY && tag !== RESPONSE_TYPE && tag !== RESPONSE_TYPES) throw new Error(`tag ${tag} in a request`);
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = body[at++] ?? 0;
      value |= (byte & 0x7f) << shift;
      if (byte < 0x80) break;
    }
    if (tag !== RESPONSE_TYPE) at += value;
    if (tag === QUERY) kept.push(body.subarray(start, at));
  }
  return Buffer.concat(kept);
}
