/**
 * Where the program's own files are, in the three forms it ships in: a clone, the npm package, the single executable.
 *
 * The executable carries its files as assets; those that the system must load from a disk are written once to a
 * private directory named after their content.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { getAsset, getRawAsset, isSea } from "node:sea";
import { unpackNatives } from "./unpacked-natives.ts";

/** A worker's code: a file, or text to be evaluated. */
export interface WorkerSource {
  readonly source: URL | string;
  readonly evaluate: boolean;
}

/** The program's files. */
export interface ProgramFiles {
  /** Directory with `thalweg.node` and the BPF objects. */
  readonly nativeDirectory: string;
  readonly agentWorker: WorkerSource;
  readonly promqlWorker: WorkerSource;
  /** Bytes of a file of the page. */
  readonly pageAsset: (name: string) => Uint8Array;
  /** The recorded shop. */
  readonly replayFile: string;
  /** Program and arguments that start this program again. */
  readonly self: readonly string[];
}

/** Finds the files. In the executable this writes native files on the first start (some 60 MB). */
export function programFiles(): ProgramFiles {
  if (isSea()) return filesOfExecutable();
  const here = import.meta.dirname;
  return import.meta.filename.endsWith(".ts") ? filesOfClone(join(here, "..", "..")) : filesOfPackage(join(here, ".."));
}

function filesOfClone(root: string): ProgramFiles {
  return {
    nativeDirectory: nativeDirectoryOf(root),
    agentWorker: { source: new URL("../../agent/agent-worker.ts", import.meta.url), evaluate: false },
    promqlWorker: { source: new URL("../query/promql-worker.ts", import.meta.url), evaluate: false },
    pageAsset: (name) => readFileSync(join(root, "server", "web", "assets", name)),
    replayFile: join(root, "conformance", "replays", "shop.twcap"),
    self: [process.execPath, "--disable-warning=ExperimentalWarning", join(root, "server", "cli", "main.ts")],
  };
}

function filesOfPackage(root: string): ProgramFiles {
  return {
    nativeDirectory: nativeDirectoryOf(root),
    agentWorker: { source: new URL("./agent-worker.mjs", import.meta.url), evaluate: false },
    promqlWorker: { source: new URL("./promql-worker.mjs", import.meta.url), evaluate: false },
    pageAsset: (name) => readFileSync(join(root, "server", "web", "assets", name)),
    replayFile: join(root, "conformance", "replays", "shop.twcap"),
    self: [process.execPath, join(root, "dist", "thalweg.mjs")],
  };
}

function filesOfExecutable(): ProgramFiles {
  const directory = unpackNatives();
  return {
    nativeDirectory: directory,
    agentWorker: { source: getAsset("agent-worker.cjs", "utf8"), evaluate: true },
    promqlWorker: { source: getAsset("promql-worker.cjs", "utf8"), evaluate: true },
    pageAsset: (name) => new Uint8Array(getRawAsset(`page/${name}`)),
    replayFile: join(directory, "shop.twcap"),
    self: [process.execPath],
  };
}

function nativeDirectoryOf(root: string): string {
  return join(root, "bpf", "prebuilt", `${process.platform}-${process.arch}`);
}
