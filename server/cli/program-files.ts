/**
 * Where the program's own files are, in the three forms it ships in: a clone, the npm package, the single executable.
 *
 * The executable carries its files as assets; those that the system must load from a disk are written once to a
 * private directory named after their content.
 */

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { getRawAsset, isSea } from "node:sea";
import { pathToFileURL } from "node:url";
import { unpackNatives } from "./unpacked-natives.ts";

/** Code of a thread: always a file, so that it needs no evaluation. */
interface ThreadSource {
  readonly source: URL;
  readonly evaluate: false;
}

/** The program's files. */
export interface ProgramFiles {
  /** Directory with `thalweg.node` and the BPF objects. */
  readonly nativeDirectory: string;
  /** The agent's thread. */
  readonly agentWorker: ThreadSource;
  /** The thread that looks up owners of new connections for the packet rung. */
  readonly synThread: ThreadSource;
  readonly promqlWorkerUrl: URL;
  /** The thread that decodes large OTLP requests. */
  readonly decodeWorkerUrl: URL;
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
    agentWorker: thread(join(root, "agent", "agent-worker.ts")),
    synThread: thread(join(root, "agent", "capture", "syn-thread.ts")),
    promqlWorkerUrl: pathToFileURL(join(root, "server", "query", "promql-worker.ts")),
    decodeWorkerUrl: pathToFileURL(join(root, "server", "ingest", "decode-worker.ts")),
    pageAsset: (name) => readFileSync(join(root, "server", "web", "assets", name)),
    replayFile: join(root, "conformance", "replays", "shop.twcap"),
    self: [process.execPath, "--disable-warning=ExperimentalWarning", join(root, "server", "cli", "main.ts")],
  };
}

function filesOfPackage(root: string): ProgramFiles {
  return {
    nativeDirectory: nativeDirectoryOf(root),
    agentWorker: thread(join(root, "dist", "agent-worker.mjs")),
    synThread: thread(join(root, "dist", "syn-thread.mjs")),
    promqlWorkerUrl: pathToFileURL(join(root, "dist", "promql-worker.mjs")),
    decodeWorkerUrl: pathToFileURL(join(root, "dist", "decode-worker.mjs")),
    pageAsset: (name) => readFileSync(join(root, "server", "web", "assets", name)),
    replayFile: join(root, "conformance", "replays", "shop.twcap"),
    self: [process.execPath, join(root, "dist", "thalweg.mjs")],
  };
}

function filesOfExecutable(): ProgramFiles {
  const directory = unpackNatives();
  return {
    nativeDirectory: directory,
    agentWorker: thread(join(directory, "agent-worker.cjs")),
    synThread: thread(join(directory, "syn-thread.cjs")),
    promqlWorkerUrl: pathToFileURL(join(directory, "promql-worker.cjs")),
    decodeWorkerUrl: pathToFileURL(join(directory, "decode-worker.cjs")),
    pageAsset: (name) => new Uint8Array(getRawAsset(`page/${name}`)),
    replayFile: join(directory, "shop.twcap"),
    self: [process.execPath],
  };
}

function nativeDirectoryOf(root: string): string {
  return join(root, "bpf", "prebuilt", `${process.platform}-${process.arch}`);
}

function thread(file: string): ThreadSource {
  return { source: pathToFileURL(file), evaluate: false };
}
