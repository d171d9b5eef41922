/** HTTPS inside of the guest, server and client in this one process: another start of Node takes long without KVM. */

import { readFileSync } from "node:fs";
import { createServer, get } from "node:https";

/** Asks a server of its own for so many pages `/sealed0.html`, … */
export async function askInTls(count: number): Promise<void> {
  const keys = { key: readFileSync("/thalweg/key.pem"), cert: readFileSync("/thalweg/cert.pem") };
  const server = createServer(keys, (request, response) => response.end(`sealed ${request.url}`));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  const port = typeof address === "object" && address !== null ? address.port : 0;
  try {
    for (let request = 0; request < count; request++) await ask(port, `/sealed${request}.html`, keys.cert);
  } finally {
    server.close();
  }
}

function ask(port: number, path: string, ca: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    get({ host: "127.0.0.1", port, path, ca, agent: false, checkServerIdentity: () => undefined }, (answer) => {
      answer.resume();
      answer.on("end", resolve);
    }).on("error", reject);
  });
}
