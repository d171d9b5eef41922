/**
 * Calls over a socket with a path inside of the guest, both ends in the process that calls this.
 */

import { once } from "node:events";
import { rmSync } from "node:fs";
import { createServer, get } from "node:http";

const PATH = "/tmp/guest.sock";

/** Asks `count` times for `/named0.html` and so on, one after another. */
export async function askByPath(count: number): Promise<void> {
  rmSync(PATH, { force: true });
  const server = createServer((_, response) => response.end("by its path"));
  server.listen(PATH);
  await once(server, "listening");
  for (let request = 0; request < count; request++) {
    await new Promise<void>((resolve, reject) => {
      const asked = get({ socketPath: PATH, path: `/named${request}.html` }, (answer) =>
        answer.resume().on("end", resolve),
      );
      asked.on("error", reject);
    });
  }
  server.close();
  server.closeAllConnections();
}
