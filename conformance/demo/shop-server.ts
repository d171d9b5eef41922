/**
 * What the shop's Node processes share: an HTTP server on a port of its own choice, and a client for JSON.
 *
 * Nothing here knows of tracing: no header is read or handed on.
 */

import { Agent, createServer, type IncomingMessage, request } from "node:http";

const keepAlive = new Agent({ keepAlive: true, maxSockets: 8 });

/** Answers one request with a status and a JSON body. */
export type Handler = (path: string, message: IncomingMessage) => Promise<{ status: number; body: unknown }>;

/** Serves on loopback, prints the port as its first line, ends with the process that started it. */
export function serveShop(handler: Handler): void {
  const server = createServer((message, response) => {
    const path = new URL(message.url ?? "/", "http://shop").pathname;
    handler(path, message).then(
      ({ status, body }) => {
        response.writeHead(status, { "content-type": "application/json" });
        response.end(JSON.stringify(body));
      },
      (error: unknown) => {
        response.writeHead(502, { "content-type": "application/json" });
        response.end(JSON.stringify({ error: error instanceof Error ? error.message : String(error) }));
      },
    );
  });
  server.listen(Number(process.env["SHOP_PORT"] ?? "0"), "127.0.0.1", () => {
    const address = server.address();
    if (address !== null && typeof address === "object") process.stdout.write(`${address.port}\n`);
  });
  process.stdin.on("end", () => process.exit(0)).resume();
}

/** Asks another process of the shop. `base` is `http://127.0.0.1:PORT`. */
export function ask(
  method: string,
  base: string,
  path: string,
  body?: unknown,
): Promise<{ status: number; body: unknown }> {
  return new Promise((resolve, reject) => {
    const outgoing = request(`${base}${path}`, { method, agent: keepAlive, timeout: 5_000 }, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk: string) => {
        text += chunk;
      });
      response.on("end", () =>
        resolve({ status: response.statusCode ?? 0, body: text === "" ? null : JSON.parse(text) }),
      );
    });
    outgoing.on("timeout", () => outgoing.destroy(new Error(`${path} took longer than 5 s`)));
    outgoing.on("error", reject);
    if (body === undefined) outgoing.end();
    else {
      const text = JSON.stringify(body);
      outgoing.setHeader("content-type", "application/json");
      outgoing.setHeader("content-length", Buffer.byteLength(text));
      outgoing.end(text);
    }
  });
}

/** Waits as real work would. */
export function work(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms * (0.5 + Math.random())));
}

/** Address of another process, handed over in the environment. */
export function peer(name: string): string {
  const base = process.env[name];
  if (base === undefined) throw new Error(`the environment has no ${name}`);
  return base;
}
