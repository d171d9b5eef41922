/** Requests over HTTP/2, gRPC among them, with secrets in fields, trailers and messages. */

import { connect } from "node:http2";
import type { Planter } from "./planter.ts";

/** A request, and what its span may keep. */
export interface PlantedStream {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer;
  /** HTTP's, or gRPC's own. */
  readonly status: number;
  readonly name: string;
  /** `url.path?url.query`, empty for gRPC. */
  readonly text: string;
}

const CODES = [0, 5, 13, 16] as const;
const STATUSES = [200, 201, 404, 500] as const;

/** The request of number `number`. */
export function plantStream(number: number, planter: Planter): PlantedStream {
  const secrets = {
    authorization: `Bearer ${planter.anyShape()}`,
    "x-secret": planter.plain(),
    "x-api-key": planter.plain(),
    cookie: `session=${planter.plain()}`,
    "user-agent": `grpc-shop/1 (${planter.anyShape()})`,
  };
  const body = Buffer.from(`card=${planter.shaped("card")}&key=${planter.plain()}`);
  if (number % 2 === 0) {
    const status = CODES[(number / 2) % CODES.length] ?? 0;
    const message = Buffer.concat([Buffer.from([0, 0, 0, 0, body.length]), body]);
    return {
      headers: {
        ...secrets,
        ":method": "POST",
        ":path": "/shop.Vault/Open",
        "content-type": "application/grpc",
        "x-want": String(status),
        "x-token-bin": planter.plain(),
      },
      body: message,
      status,
      name: "/shop.Vault/Open",
      text: "",
    };
  }
  const status = STATUSES[((number - 1) / 2) % STATUSES.length] ?? 200;
  return {
    headers: {
      ...secrets,
      ":method": "POST",
      ":path": `/token/${planter.plain()}/use?code=${planter.plain()}`,
      "x-want": String(status),
    },
    body,
    status,
    name: "POST /token/{id}/use",
    text: "/token/REDACTED/use?code=REDACTED",
  };
}

/** Sends all over one connection, eight at a time. @returns How many ended without an answer. */
export async function sendStreams(port: number, streams: readonly PlantedStream[]): Promise<number> {
  const session = connect(`http://127.0.0.1:${port}`);
  let next = 0;
  let failed = 0;
  session.on("error", () => undefined);
  const visitor = async () => {
    for (let planted = streams[next++]; planted !== undefined; planted = streams[next++]) {
      const stream = session.request(planted.headers);
      const answered = await new Promise<boolean>((resolve) => {
        stream.on("response", () => stream.resume());
        stream.on("end", () => resolve(true));
        stream.on("error", () => resolve(false));
        stream.end(planted.body);
      });
      if (!answered) failed++;
    }
  };
  await Promise.all(Array.from({ length: 8 }, visitor));
  session.close();
  return failed;
}
