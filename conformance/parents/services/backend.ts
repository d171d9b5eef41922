/**
 * What all services call: answers after 1 to 8 ms. Arguments: port.
 *
 * Tells on standard output, of each request, `backend PORT ORDINAL BYTES`: the caller's port, the request's number on that
 * port, and the length of the answer, which no two requests have in common. With SERVICE_TLS=CERTIFICATE,KEY it speaks TLS.
 */

import type { RequestListener } from "node:http";
import { createListener } from "./served.ts";

const SHORTEST_BYTES = 100;
const LENGTHS = 60_000;

const seen = new Map<number, number>();
let answers = 0;

const answer: RequestListener = (request, response) => {
  const port = request.socket.remotePort ?? 0;
  const ordinal = (seen.get(port) ?? 0) + 1;
  seen.set(port, ordinal);
  const bytes = SHORTEST_BYTES + (answers++ % LENGTHS);
  setTimeout(
    () => {
      process.stdout.write(`backend ${port} ${ordinal} ${bytes}\n`);
      response.end("x".repeat(bytes));
    },
    1 + Math.random() * 7,
  );
};

createListener(answer).listen(Number(process.argv[2]), "127.0.0.1", 1024, () => process.stdout.write("ready\n"));
