/**
 * `npm run build:binary`: makes the single executable `build/thalweg` from the pinned Node, the bundle and the natives.
 */

import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  copyFileSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { constants, zstdCompressSync } from "node:zlib";
import { bundleInto, ROOT } from "./bundle.ts";
import { thirdPartyNotices } from "./notices.ts";

const BUILD = join(ROOT, "build");
const ZSTD_LEVEL = 9;
const SENTINEL = "NODE_SEA_FUSE_fce680ab2cc467b6e072b8b5df1996b2";
/** Smaller files are not worth decompressing. */
const COMPRESS_BYTES_MIN = 1_000_000;

interface StagedNative {
  readonly name: string;
  readonly bytes: number;
  readonly compressed: boolean;
}

async function main(): Promise<void> {
  const stage = join(BUILD, "executable");
  rmSync(stage, { recursive: true, force: true });
  mkdirSync(join(stage, "native"), { recursive: true });
  const metafile = await bundleInto(stage, "executable");
  writeFileSync(join(BUILD, "THIRD-PARTY.txt"), thirdPartyNotices(ROOT, metafile));
  const natives = stageNatives(stage);
  const assets: Record<string, string> = {
    "natives.json": join(stage, "natives.json"),
  };
  for (const { name } of natives) assets[`native/${name}`] = join(stage, "native", name);
  const page = join(ROOT, "server", "web", "assets");
  for (const name of readdirSync(page)) assets[`page/${name}`] = join(page, name);
  const config = join(stage, "sea.json");
  writeFileSync(
    config,
    JSON.stringify({
      main: join(stage, "thalweg.cjs"),
      output: join(stage, "sea.blob"),
      disableExperimentalSEAWarning: true,
      useCodeCache: true,
      // Snapshots would repeat random numbers at every start.
      useSnapshot: false,
      // As bin/machine.mjs gives it in a clone.
      execArgv: ["--max-semi-space-size=16"],
      execArgvExtension: "none",
      assets,
    }),
  );
  const node = pinnedNode();
  run(node, ["--experimental-sea-config", config]);
  const executable = join(BUILD, "thalweg");
  copyFileSync(node, executable);
  chmodSync(executable, 0o755);
  // Stripping comes before injecting: afterwards it would drop the injected part.
  run("strip", [executable]);
  const postject = createRequire(import.meta.url).resolve("postject/dist/cli.js");
  run(process.execPath, [postject, executable, "NODE_SEA_BLOB", join(stage, "sea.blob"), "--sentinel-fuse", SENTINEL]);
  process.stdout.write(`${executable}: ${(statSync(executable).size / 1e6).toFixed(1)} MB\n`);
}

/** Puts the native files beside each other and writes the list that the executable reads at its first start. */
function stageNatives(stage: string): StagedNative[] {
  const require = createRequire(import.meta.url);
  const bindings = dirname(require.resolve(`@duckdb/node-bindings-${process.platform}-${process.arch}/package.json`));
  const prebuilt = join(ROOT, "bpf", "prebuilt", `${process.platform}-${process.arch}`);
  const files = [
    join(bindings, "duckdb.node"),
    join(bindings, "libduckdb.so"),
    ...readdirSync(prebuilt)
      .filter((name) => /\.(node|o)$/.test(name))
      .map((name) => join(prebuilt, name)),
    join(ROOT, "conformance", "replays", "shop.twcap"),
    // Threads load their code from files.
    join(stage, "agent-worker.cjs"),
    join(stage, "syn-thread.cjs"),
    join(stage, "promql-worker.cjs"),
    join(stage, "decode-worker.cjs"),
  ];
  const digest = createHash("sha256");
  const staged: StagedNative[] = [];
  for (const file of files) {
    const name = file.slice(file.lastIndexOf("/") + 1);
    const target = join(stage, "native", name);
    copyFileSync(file, target);
    chmodSync(target, 0o644);
    if (name === "libduckdb.so") run("strip", [target]);
    const bytes = readFileSync(target);
    digest.update(name).update(bytes);
    const compressed = bytes.length >= COMPRESS_BYTES_MIN;
    if (compressed) {
      writeFileSync(target, zstdCompressSync(bytes, { params: { [constants.ZSTD_c_compressionLevel]: ZSTD_LEVEL } }));
    }
    staged.push({ name, bytes: bytes.length, compressed });
  }
  writeFileSync(join(stage, "natives.json"), JSON.stringify({ id: digest.digest("hex").slice(0, 16), files: staged }));
  return staged;
}

function pinnedNode(): string {
  const require = createRequire(import.meta.url);
  return join(dirname(require.resolve(`node-${process.platform}-${process.arch}/package.json`)), "bin", "node");
}

function run(program: string, args: readonly string[]): void {
  const ran = spawnSync(program, args, { encoding: "utf8" });
  if (ran.status !== 0)
    throw new Error(`${program} ${args[0] ?? ""} failed: ${ran.stderr || ran.error?.message || ran.stdout}`);
}

await main();
