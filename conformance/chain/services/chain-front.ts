/**
 * A Node service that calls the next one for each request. Arguments: its address and port, those of the next.
 *
 * Tells the truth as the services of `parents` do: `call PORT TO ORDINAL for PORT AT ORDINAL` of each call it makes, and
 * `backend PORT ORDINAL BYTES` of each answer, the length of which no two have in common.
 */

import { Agent, createServer, get } from "node:http";

const [, , host = "", port = "", toHost = "", toPort = ""] = process.argv;
const SHORTEST_BYTES = 100;
const LENGTHS = 60_000;

const agent = new Agent({ keepAlive: true });
const requests = new Map<number, number>();
const calls = new Map<number, number>();
let answers = 0;

function next(counts: Map<number, number>, key: number): number {
  const ordinal = (counts.get(key) ?? 0) + 1;
  counts.set(key, ordinal);
  return ordinal;
}

createServer((request, response) => {
  const from = request.socket.remotePort ?? 0;
  const ordinal = next(requests, from);
  const call = get({ host: toHost, port: toPort, path: "/stock", agent }, (answer) => {
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
}).listen(Number(port), host, 1024, () => process.stdout.write("ready\n"));
