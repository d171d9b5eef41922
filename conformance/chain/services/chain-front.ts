/**
 * A Node service that calls the next one for each request. Arguments: its address and port, those of the next.
 *
 * With SERVICE_TLS=CERTIFICATE,KEY it speaks TLS on both sides. Tells the truth as the services of `parents` do: `call PORT TO ORDINAL for PORT AT ORDINAL` of each call it makes, and
 * `backend PORT ORDINAL BYTES` of each answer, the length of which no two have in common.
 */

import { readFileSync } from "node:fs";
import { Agent, createServer, get, type RequestListener } from "node:http";
import { createServer as createTlsServer, get as getByTls, Agent as TlsAgent } from "node:https";

const [, , host = "", port = "", toHost = "", toPort = ""] = process.argv;
/** Files with a certificate and its key; empty for clear text. */
const [certFile = "", keyFile = ""] = (process.env["SERVICE_TLS"] ?? "").split(",");
const SHORTEST_BYTES = 100;
const LENGTHS = 60_000;

const options = { keepAlive: true, rejectUnauthorized: false };
const agent = certFile === "" ? new Agent(options) : new TlsAgent(options);
const requests = new Map<number, number>();
const calls = new Map<number, number>();
let answers = 0;

function next(counts: Map<number, number>, key: number): number {
  const ordinal = (counts.get(key) ?? 0) + 1;
  counts.set(key, ordinal);
  return ordinal;
}

const answer: RequestListener = (request, response) => {
  const from = request.socket.remotePort ?? 0;
  const ordinal = next(requests, from);
  const ask = certFile === "" ? get : getByTls;
  const call = ask({ host: toHost, port: toPort, path: "/stock", agent }, (answer) => {
    const own = answer.socket.localPort ?? 0;
    process.stdout.write(`call ${own} ${toPort} ${next(calls, own)} for ${from} ${port} ${ordinal}\n`);
    answer.resume();
    answer.on("end", () => {
      const bytes = SHORTEST_BYTES + (answers++ % LENGTHS);
      process.stdout.write(`backend ${from} ${ordinal} ${bytes}\n`);
      response.end("x".repeat(bytes));
    });
  });
  call.on("error", () => response.writeHead(502).end());
};

const server =
  certFile === ""
    ? createServer(answer)
    : createTlsServer({ cert: readFileSync(certFile), key: readFileSync(keyFile) }, answer);
server.listen(Number(port), host, 1024, () => process.stdout.write("ready\n"));
