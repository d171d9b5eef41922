/**
 * The two small processes of the first call: a server that answers, a client that asks it once.
 *
 * They know nothing of Thalweg; what is shown of them afterwards comes from the capture alone.
 */

import { createServer, get } from "node:http";

/** A process that nobody stopped ends by itself. */
const LIFETIME_MS = 20_000;
const ANSWER_DELAY_MS = 12;

/** `first-call server` prints its port; `first-call client PORT PATH` asks and ends. */
export async function runFirstCallProcess(args: readonly string[]): Promise<number> {
  setTimeout(() => process.exit(0), LIFETIME_MS).unref();
  if (args[0] === "server") return serveOneCall();
  return askOnce(Number(args[1]), args[2] ?? "/");
}

function serveOneCall(): Promise<number> {
  return new Promise((resolve) => {
    const server = createServer((_request, response) => {
      setTimeout(() => response.end("hello\n"), ANSWER_DELAY_MS);
    });
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      if (address !== null && typeof address === "object") process.stdout.write(`${address.port}\n`);
    });
    process.on("SIGTERM", () => {
      server.close();
      server.closeAllConnections();
      resolve(0);
    });
  });
}

function askOnce(port: number, path: string): Promise<number> {
  return new Promise((resolve) => {
    get({ host: "127.0.0.1", port, path, agent: false }, (response) => {
      response.resume();
      response.on("end", () => resolve(0));
    }).on("error", () => resolve(1));
  });
}
