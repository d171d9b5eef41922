/**
 * Loads a server over connections that are kept. Arguments: its address and port. Reads `REQUESTS IN_FLIGHT` a line and
 * answers each with the number of requests that failed. Speaks TLS where there is SERVICE_TLS.
 */

import { Agent, get } from "node:http";
import { get as getByTls, Agent as TlsAgent } from "node:https";
import { createInterface } from "node:readline";

const [, , host = "", port = ""] = process.argv;
const isTls = (process.env["SERVICE_TLS"] ?? "") !== "";
const options = { keepAlive: true, rejectUnauthorized: false };
const agent = isTls ? new TlsAgent(options) : new Agent(options);

function once(): Promise<boolean> {
  return new Promise((resolve) => {
    const request = (isTls ? getByTls : get)({ host, port, path: "/work", agent }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode === 200));
    });
    request.on("error", () => resolve(false));
  });
}

for await (const line of createInterface({ input: process.stdin })) {
  const [requests = 0, inFlight = 0] = line.split(" ").map(Number);
  let left = requests;
  let failed = 0;
  const visitor = async () => {
    while (left-- > 0) if (!(await once())) failed++;
  };
  await Promise.all(Array.from({ length: inFlight }, visitor));
  process.stdout.write(`${failed}\n`);
}
agent.destroy();
