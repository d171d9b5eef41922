/**
 * Loads a server over connections that are kept. Arguments: its address and port. Reads `REQUESTS IN_FLIGHT` a line and
 * answers each with the number of requests that failed.
 */

import { Agent, get } from "node:http";
import { createInterface } from "node:readline";

const [, , host = "", port = ""] = process.argv;
const agent = new Agent({ keepAlive: true });

function once(): Promise<boolean> {
  return new Promise((resolve) => {
    const request = get({ host, port, path: "/work", agent }, (response) => {
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
