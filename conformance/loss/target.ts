/** A web server of its own process to be captured, and clients that keep a ledger of what they asked and were told. */

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { Agent, request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";

/** Name of the service that the server is. */
export const TARGET = "loss-target";

/** Answers `/NNN` with the status NNN. */
const SERVER = `import { createServer } from "node:http";
createServer((request, response) => {
  request.resume().on("end", () => {
    response.writeHead(Number(request.url.split("/")[1]) || 200);
    response.end("x".repeat(300));
  });
}).listen(0, "127.0.0.1", function () { console.log(this.address().port); });
`;

/** The running server. */
export interface Target {
  readonly port: number;
  readonly pid: number;
  stop(): void;
}

/** Starts a server in a process of its own, whose program is called `TARGET`. The caller stops it. */
export async function startTarget(): Promise<Target> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-loss-"));
  const file = join(directory, `${TARGET}.mjs`);
  writeFileSync(file, SERVER);
  const child: ChildProcess = spawn(process.execPath, [file], { stdio: ["ignore", "pipe", "inherit"] });
  const stop = () => {
    child.kill("SIGKILL");
    rmSync(directory, { recursive: true, force: true });
  };
  if (child.stdout === null || child.pid === undefined) throw new Error("the target did not start");
  const [line] = await once(child.stdout, "data");
  return { port: Number(String(line).trim()), pid: child.pid, stop };
}

/** Answers by status, as the clients got them; 0 for requests that failed. */
export type Ledger = Map<number, number>;

/** Asks over so many kept connections until `isOver`, with `pauseMs` between the requests of one. */
export async function askFor(
  port: number,
  { connections, pauseMs = 0, isOver }: { connections: number; pauseMs?: number; isOver: () => boolean },
): Promise<Ledger> {
  const agent = new Agent({ keepAlive: true, maxSockets: connections });
  const ledger: Ledger = new Map();
  const visitor = async (number: number) => {
    for (let turn = number; !isOver(); turn++) {
      const path = turn % 10 === 0 ? "/404" : turn % 25 === 7 ? "/503" : `/200/${turn}`;
      const status = await ask(port, agent, turn % 7 === 3 ? "POST" : "GET", path);
      ledger.set(status, (ledger.get(status) ?? 0) + 1);
      if (pauseMs > 0) await new Promise((resolve) => setTimeout(resolve, pauseMs));
    }
  };
  await Promise.all(Array.from({ length: connections }, (_, number) => visitor(number)));
  agent.destroy();
  return ledger;
}

function ask(port: number, agent: Agent, method: string, path: string): Promise<number> {
  return new Promise((resolve) => {
    const asked = request({ host: "127.0.0.1", port, agent, method, path, timeout: 10_000 }, (answer) => {
      answer
        .resume()
        .on("end", () => resolve(answer.statusCode ?? 0))
        .on("error", () => resolve(0));
    });
    asked.on("timeout", () => asked.destroy()).on("error", () => resolve(0));
    asked.end(method === "POST" ? "body" : undefined);
  });
}
