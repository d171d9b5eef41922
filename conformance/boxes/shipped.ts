/** The two forms that are shipped, each started from an empty directory and asked over HTTP. */

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { endGroup } from "./box.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const READY_MS_MAX = 120_000;

/** Packs the package and runs it with npx. @returns What went wrong, or an empty string. */
export async function smokePackage(): Promise<string> {
  return inEmptyDirectory(async (directory) => {
    const packed = spawnSync("npm", ["pack", "--silent", "--pack-destination", directory], {
      cwd: ROOT,
      encoding: "utf8",
    });
    if (packed.status !== 0) return `npm pack failed: ${packed.stderr}`;
    const archive = readdirSync(directory).find((name) => name.endsWith(".tgz"));
    if (archive === undefined) return "npm pack wrote no archive";
    return smoke("npx", ["--yes", "--package", `./${archive}`, "thalweg"], directory);
  });
}

/** Builds the executable and runs it. @returns What went wrong, or an empty string. */
export async function smokeExecutable(): Promise<string> {
  const built = spawnSync(process.execPath, ["server/build/binary.ts"], { cwd: ROOT, encoding: "utf8" });
  if (built.status !== 0) return `the build failed: ${built.stdout}${built.stderr}`;
  return inEmptyDirectory((directory) => smoke(join(ROOT, "build", "thalweg"), [], directory));
}

async function inEmptyDirectory(use: (directory: string) => Promise<string>): Promise<string> {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-shipped-"));
  try {
    return await use(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

async function smoke(program: string, before: readonly string[], directory: string): Promise<string> {
  const env = { ...process.env, HOME: directory, XDG_CACHE_HOME: join(directory, "cache") };
  const version = spawnSync(program, [...before, "version"], { cwd: directory, env, encoding: "utf8" });
  if (version.status !== 0 || !/^thalweg \d/.test(version.stdout))
    return `'version' gave ${version.stdout}${version.stderr}`;
  let text = "";
  const data = join(directory, "data");
  const child = spawn(
    program,
    [
      ...before,
      "start",
      "--data",
      data,
      "--listen",
      "127.0.0.1:0",
      "--otlp-grpc",
      "127.0.0.1:0",
      "--otlp-http",
      "127.0.0.1:0",
    ],
    { cwd: directory, env, detached: true, stdio: ["ignore", "pipe", "pipe"] },
  );
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding("utf8").on("data", (more: string) => {
      text += more;
    });
  }
  try {
    return await answersFault(child, data, () => text);
  } finally {
    await endGroup(child);
  }
}

async function answersFault(child: ChildProcess, data: string, output: () => string): Promise<string> {
  const deadline = performance.now() + READY_MS_MAX;
  const file = join(data, "addresses.json");
  while (!/^(This call was just made|Recorded shop)/m.test(output())) {
    if (performance.now() > deadline || child.exitCode !== null) return `no call was shown:\n${output()}`;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  if (!existsSync(file)) return "addresses.json was not written";
  // Written by the server under test.
  const { http } = JSON.parse(readFileSync(file, "utf8")) as { http: string };
  const base = `http://${http.replace(/^https?:\/\//, "")}`;
  const page = await fetch(`${base}/`);
  if (!(await page.text()).includes("<title>Thalweg</title>")) return "the page was not served";
  const query = await (await fetch(`${base}/api/v1/query?query=1%2B1`)).text();
  if (!query.includes('"success"')) return `PromQL answered ${query}`;
  const sql = await fetch(`${base}/api/v1/sql?query=${encodeURIComponent("SELECT count(*) AS n FROM spans")}`);
  return sql.ok ? "" : `SQL answered ${sql.status}`;
}
