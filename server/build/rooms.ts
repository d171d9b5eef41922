/**
 * The import rules between rooms, and the check that holds the code to them.
 *
 * A room is a folder of ROOMS; what it may import beside itself stands in its row. `server/model` is open to every
 * room except those marked pure. Third-party packages have one owner room each.
 */

import { readFileSync } from "node:fs";
import { dirname, join, relative } from "node:path";
import { parseSync } from "oxc-parser";

interface Room {
  readonly folder: string;
  /** Folders or files this room may import from. */
  readonly mayImport: readonly string[];
  /** Packages, built-in ones without their `node:`, that only some rooms may use. */
  readonly packages?: readonly string[];
  /** Imports nothing outside itself, not even the model. */
  readonly pure?: boolean;
}

const EFFECTS = [
  "fs",
  "fs/promises",
  "net",
  "tls",
  "dns",
  "dns/promises",
  "http",
  "https",
  "http2",
  "dgram",
  "child_process",
  "worker_threads",
  "os",
  "zlib",
  "readline",
  "readline/promises",
];
const STORE_DOORS = ["server/store/reader.ts", "server/store/writer.ts"];

/** The table of ARCHITECTURE, as code. The longest matching folder wins. */
export const ROOMS: readonly Room[] = [
  { folder: "server/model", mayImport: [], pure: true },
  { folder: "server/platform", mayImport: [], packages: EFFECTS },
  { folder: "bpf", mayImport: [], packages: EFFECTS },
  { folder: "agent/capture", mayImport: ["server/platform", "bpf/native.ts"], packages: EFFECTS },
  { folder: "agent/protocol", mayImport: [], pure: true },
  { folder: "agent/connection", mayImport: ["agent/protocol"] },
  { folder: "agent/span", mayImport: ["agent/protocol", "agent/connection/connection-sink.ts"] },
  { folder: "agent/export", mayImport: ["agent/span", "server/wire"], packages: ["worker_threads"] },
  {
    folder: "agent",
    mayImport: [
      "agent/capture",
      "agent/connection",
      "agent/protocol",
      "agent/span",
      "agent/export",
      "bpf/native.ts",
      "server/platform",
    ],
    packages: EFFECTS,
  },
  { folder: "grammar", mayImport: [], pure: true },
  { folder: "server/wire", mayImport: [], packages: ["protobufjs"] },
  { folder: "server/derive", mayImport: [] },
  {
    folder: "server/store",
    mayImport: ["server/platform"],
    packages: ["@duckdb/node-api", "@duckdb/node-bindings", "re2js", ...EFFECTS],
  },
  {
    folder: "server/ingest",
    mayImport: ["server/wire", "server/derive", ...STORE_DOORS, "server/telemetry"],
    packages: ["worker_threads"],
  },
  {
    folder: "server/query",
    mayImport: ["grammar", ...STORE_DOORS, "server/platform"],
    packages: ["re2js", "worker_threads"],
  },
  {
    folder: "server/rules",
    mayImport: ["grammar", "server/query", ...STORE_DOORS],
    packages: ["yaml"],
  },
  { folder: "server/statsd", mayImport: ["server/wire"] },
  {
    folder: "server/scrape",
    mayImport: ["grammar", "server/query", "server/rules", "server/wire", "server/platform"],
    packages: ["yaml"],
  },
  {
    folder: "server/remote-write",
    mayImport: ["grammar", "server/rules", "server/scrape", "server/wire", ...STORE_DOORS],
    packages: ["yaml"],
  },
  {
    folder: "server/api",
    mayImport: ["server/ingest", "server/query", "server/scrape", "server/wire", "server/telemetry", ...STORE_DOORS],
    packages: ["fastify", ...EFFECTS],
  },
  { folder: "server/web", mayImport: [], packages: ["preact", "preact/hooks", "preact/jsx-runtime"] },
  { folder: "server/config", mayImport: [] },
  { folder: "server/telemetry", mayImport: [], packages: ["pino"] },
  { folder: "server/cli", mayImport: ["server", "agent", "bpf", "grammar"], packages: EFFECTS },
  {
    folder: "server/build",
    mayImport: ["grammar", "bpf"],
    packages: [...EFFECTS, "oxc-parser", "esbuild", "postject"],
  },
  { folder: "conformance", mayImport: ["server", "agent", "bpf", "grammar"], packages: ["*"] },
  { folder: "bench", mayImport: ["server", "agent", "bpf", "grammar", "conformance"], packages: ["*"] },
];

/** Files that run a build step of their room on a developer's machine, and may touch files. */
const GENERATORS = new Set(["grammar/generate.ts", "server/web/build.ts"]);

/** One import that its room's row does not allow. */
export interface RoomFault {
  readonly file: string;
  readonly imports: string;
  readonly why: string;
}

/**
 * Checks files against the table.
 *
 * @param root Directory the file names are relative to.
 * @param files Names such as `server/api/api.ts`; tests (`.test.ts`) may import anything and are passed over.
 * @returns Faults in order of file, and how many imports were looked at: a check that saw none proves nothing.
 */
export function checkRooms(root: string, files: readonly string[]): { faults: RoomFault[]; importsSeen: number } {
  const faults: RoomFault[] = [];
  let importsSeen = 0;
  for (const file of files) {
    if (/\.test\.tsx?$/.test(file) || GENERATORS.has(file)) continue;
    const room = roomOf(file);
    if (room === undefined) continue;
    for (const target of importsOf(join(root, file))) {
      importsSeen++;
      const why = target.startsWith(".")
        ? faultOfFile(room, relative(root, join(root, dirname(file), target)))
        : faultOfPackage(room, target);
      if (why !== undefined) faults.push({ file, imports: target, why });
    }
  }
  return { faults, importsSeen };
}

function roomOf(file: string): Room | undefined {
  let best: Room | undefined;
  for (const room of ROOMS) {
    if (file.startsWith(`${room.folder}/`) && room.folder.length > (best?.folder.length ?? -1)) best = room;
  }
  return best;
}

function faultOfFile(room: Room, target: string): string | undefined {
  const targetRoom = roomOf(target);
  if (targetRoom === room) return undefined;
  if (target.includes("/internal/")) return `${target} is private to its room`;
  if (room.pure !== true && target.startsWith("server/model/")) return undefined;
  if (room.mayImport.some((allowed) => target === allowed || target.startsWith(`${allowed}/`))) return undefined;
  return `${room.folder} may not import ${target}`;
}

function faultOfPackage(room: Room, target: string): string | undefined {
  const name = target.replace(/^node:/, "");
  const owned = ROOMS.some((candidate) => candidate.packages?.includes(name));
  const builtin = target.startsWith("node:");
  if (room.packages?.includes("*") || room.packages?.includes(name)) return undefined;
  if (room.pure === true) return `${room.folder} is pure and may not import ${target}`;
  if (!owned && builtin) return undefined;
  return `${room.folder} does not own ${target}`;
}

function importsOf(path: string): string[] {
  const parsed = parseSync(path, readFileSync(path, "utf8"));
  const { staticImports, staticExports, dynamicImports } = parsed.module;
  const found = staticImports.map((entry) => entry.moduleRequest.value);
  for (const statement of staticExports) {
    for (const entry of statement.entries) if (entry.moduleRequest) found.push(entry.moduleRequest.value);
  }
  const source = readFileSync(path, "utf8");
  for (const entry of dynamicImports) {
    const text = source.slice(entry.moduleRequest.start, entry.moduleRequest.end);
    if (/^["'].*["']$/.test(text)) found.push(text.slice(1, -1));
  }
  return found;
}
