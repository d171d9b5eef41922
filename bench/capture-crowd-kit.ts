/** Many processes and many connections that do nothing until they are told to, for the capture benches. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { connect, type Socket } from "node:net";

/** So many connect at one time. */
const CONNECTING = 64;
/** In a process of its own, since descriptors of one are limited to some ten thousands. */
const SERVER = `require("net").createServer((socket) => {
  socket.on("error", () => 0).on("data", () => socket.write("HTTP/1.1 204 No Content\\r\\n\\r\\n"));
}).listen(0, "127.0.0.1", 4096, function () { console.log(this.address().port); })`;

/** A crowd that waits. */
export interface Crowd {
  /** Each connection carries one request and one answer. Resolves when all were answered. */
  say(): Promise<void>;
  stop(): void;
}

/** Starts processes that sleep, and connections between this process and another. */
export async function startCrowd(processes: number, connections: number): Promise<Crowd> {
  const children: ChildProcess[] = [];
  for (let number = 0; number < processes; number++) children.push(spawn("sleep", ["600"], { stdio: "ignore" }));
  const server = spawn(process.execPath, ["-e", SERVER], { stdio: ["ignore", "pipe", "inherit"] });
  children.push(server);
  const [line] = await once(server.stdout, "data");
  const port = Number(String(line).trim());
  const sockets: Socket[] = [];
  while (sockets.length < connections) {
    const count = Math.min(CONNECTING, connections - sockets.length);
    const fresh = Array.from({ length: count }, () => connect({ port, host: "127.0.0.1" }));
    await Promise.all(fresh.map((socket) => once(socket, "connect")));
    sockets.push(...fresh);
  }
  return {
    async say() {
      const answers = sockets.map((socket) => once(socket, "data"));
      for (const socket of sockets) socket.write("GET /crowd HTTP/1.1\r\nHost: crowd\r\n\r\n");
      await Promise.all(answers);
    },
    stop() {
      for (const socket of sockets) socket.on("error", () => undefined).destroy();
      for (const child of children) child.kill("SIGKILL");
    },
  };
}
