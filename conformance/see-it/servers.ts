/** Web servers of several languages, started before the program under test; each serves `/` and gives its port. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { freePort } from "../demo/shop.ts";
import { sleep } from "../program.ts";

const READY_MS_MAX = 60_000;
const ROOT = join(import.meta.dirname, "..", "..");

/** A server that already runs, and the name Thalweg should give it. */
export interface RunningServer {
  readonly service: string;
  readonly port: number;
}

/** All servers of this machine; those it lacks are named with the reason. */
export class RunningServers {
  readonly directory = mkdtempSync(join(tmpdir(), "thalweg-servers-"));
  readonly running: RunningServer[] = [];
  readonly missing: string[] = [];
  readonly #children: ChildProcess[] = [];

  async start(): Promise<void> {
    await this.#python();
    await this.#express();
    await this.#flask();
    await this.#nginx();
    await this.#go();
  }

  stop(): void {
    for (const child of this.#children) child.kill("SIGTERM");
    rmSync(this.directory, { recursive: true, force: true });
  }

  async #python(): Promise<void> {
    if (!has("python3")) return this.#lacks("Python http.server", "python3");
    await this.#run("http.server", "python3", (port) => ["-m", "http.server", String(port), "--bind", "127.0.0.1"]);
  }

  async #express(): Promise<void> {
    const file = join(this.directory, "express-front.mjs");
    writeFileSync(
      file,
      `import { createRequire } from "node:module";
const express = createRequire(${JSON.stringify(join(ROOT, "package.json"))})("express");
const app = express();
app.get("/", (request, response) => response.send("hello"));
app.listen(Number(process.argv[2]), "127.0.0.1");
`,
    );
    await this.#run("express-front", process.execPath, (port) => [file, String(port)]);
  }

  async #flask(): Promise<void> {
    // Debian's Flask belongs to Debian's Python, which need not be the first one on the PATH.
    const python = ["/usr/bin/python3", "python3"].find((name) => spawnSync(name, ["-c", "import flask"]).status === 0);
    if (python === undefined) return this.#lacks("Flask", "python3-flask");
    const file = join(this.directory, "flask_front.py");
    writeFileSync(
      file,
      `import sys
from flask import Flask
app = Flask(__name__)
@app.get("/")
def hello():
    return "hello"
app.run(host="127.0.0.1", port=int(sys.argv[1]))
`,
    );
    await this.#run("flask_front", python, (port) => [file, String(port)]);
  }

  async #nginx(): Promise<void> {
    if (!has("nginx")) return this.#lacks("nginx", "nginx");
    const file = join(this.directory, "nginx.conf");
    await this.#run("nginx", "nginx", (port) => {
      writeFileSync(
        file,
        `worker_processes 1; daemon off; pid ${this.directory}/nginx.pid; error_log stderr crit;
events { worker_connections 64; }
http {
  access_log off;
  client_body_temp_path ${this.directory}; proxy_temp_path ${this.directory}; fastcgi_temp_path ${this.directory};
  uwsgi_temp_path ${this.directory}; scgi_temp_path ${this.directory};
  server { listen 127.0.0.1:${port}; location / { return 200 "hello"; } }
}
`,
      );
      return ["-e", "stderr", "-p", this.directory, "-c", file];
    });
  }

  async #go(): Promise<void> {
    if (!has("go")) return this.#lacks("Go net/http", "go");
    const module = join(this.directory, "gofront");
    mkdirSync(module);
    writeFileSync(join(module, "go.mod"), "module gofront\n\ngo 1.19\n");
    writeFileSync(
      join(module, "main.go"),
      `package main

import (
	"io"
	"net/http"
	"os"
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, "hello") })
	http.ListenAndServe("127.0.0.1:"+os.Args[1], nil)
}
`,
    );
    const built = spawnSync("go", ["build", "-o", "gofront", "."], { cwd: module, encoding: "utf8" });
    if (built.status !== 0) return this.#lacks("Go net/http", `a Go that builds (${built.stderr.split("\n")[0]})`);
    await this.#run("gofront", join(module, "gofront"), (port) => [String(port)]);
  }

  async #run(service: string, program: string, args: (port: number) => string[]): Promise<void> {
    const port = await freePort();
    this.#children.push(spawn(program, args(port), { cwd: this.directory, stdio: "ignore" }));
    const deadline = performance.now() + READY_MS_MAX;
    while (!(await accepts(port))) {
      if (performance.now() > deadline) throw new Error(`${service} does not accept connections`);
      await sleep(50);
    }
    this.running.push({ service, port });
  }

  #lacks(name: string, what: string): void {
    this.missing.push(`${name}: this machine has no ${what}`);
  }
}

function has(program: string): boolean {
  return spawnSync("sh", ["-c", `command -v ${program}`]).status === 0;
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => {
      socket.destroy();
      resolve(true);
    });
    socket.on("error", () => resolve(false));
  });
}
