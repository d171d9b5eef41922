/**
 * Where a process has OpenSSL: in a mapped library, or in its own program (Node), and at which places of the file its
 * functions begin.
 *
 * Symbols of a file are read once; what has none (stripped static programs) is not to be had.
 */

import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join } from "node:path";
import { ElfFile } from "./elf-file.ts";

/** Files whose symbols are remembered; beyond, all are read again. */
const filesMax = 256;
const LIBRARY_NAME = /^libssl[^/]*\.so/;
/** Where distributions keep libraries. */
const LIBRARY_FOLDERS = ["/usr/lib64", "/usr/lib", `/usr/lib/${multiarch()}`, "/usr/local/lib", "/usr/local/lib64"];

/** `count` at the functions that hand the number of bytes over by a pointer. Mirrors the cookies of `bpf/src/tls.bpf.c`. */
const CALLS: readonly (readonly [name: string, cookie: number])[] = [
  ["SSL_read", 1],
  ["SSL_write", 2],
  ["SSL_read_ex", 1 + 16],
  ["SSL_write_ex", 2 + 16],
  ["SSL_write_ex2", 2 + 32],
  ["SSL_do_handshake", 3],
  ["SSL_free", 4],
];
/** Without these a file is no TLS library. */
const NEEDED = ["SSL_read", "SSL_write"];
const FREE_COOKIE = 4;

/** One file with the library in it. */
export interface TlsLibrary {
  /** Device, inode and time: the file whatever it is called. */
  readonly key: string;
  /** As this process may open it. */
  readonly path: string;
  /** For people: the path in its own process. */
  readonly name: string;
  readonly entries: readonly { readonly offset: number; readonly cookie: number }[];
  /** Of the functions whose return is awaited. */
  readonly returns: readonly number[];
}

/** Finds libraries; remembers files. */
export class TlsLibraries {
  readonly #files = new Map<string, Omit<TlsLibrary, "path" | "name"> | null>();

  /** Libraries of a process; undefined where it is gone, or not ours to look into. */
  ofProcess(pid: number): TlsLibrary[] | undefined {
    let maps: string;
    try {
      maps = readFileSync(`/proc/${pid}/maps`, "latin1");
    } catch {
      return undefined; // Gone, or another user's.
    }
    const found = new Map<string, TlsLibrary>();
    for (const path of libraryPaths(maps)) this.#add(found, `/proc/${pid}/root${path}`, path);
    this.#add(found, `/proc/${pid}/exe`, "its program");
    return [...found.values()];
  }

  /** Libraries that lie where distributions keep them. */
  ofMachine(): TlsLibrary[] {
    const found = new Map<string, TlsLibrary>();
    for (const folder of LIBRARY_FOLDERS) {
      for (const name of namesIn(folder)) {
        if (LIBRARY_NAME.test(name)) this.#add(found, join(folder, name), join(folder, name));
      }
    }
    return [...found.values()];
  }

  #add(found: Map<string, TlsLibrary>, path: string, name: string): void {
    try {
      const { dev, ino, mtimeMs } = statSync(path);
      const key = `${dev}:${ino}:${mtimeMs}`;
      if (found.has(key)) return;
      let file = this.#files.get(key);
      if (file === undefined) {
        if (this.#files.size >= filesMax) this.#files.clear();
        file = readLibrary(path, key);
        this.#files.set(key, file);
      }
      if (file !== null) found.set(key, { ...file, path, name });
    } catch {
      return; // Gone meanwhile, or replaced on the disk.
    }
  }
}

/** Paths of mapped files that are called like the library. */
function libraryPaths(maps: string): Set<string> {
  const paths = new Set<string>();
  for (const line of maps.split("\n")) {
    const at = line.indexOf("/");
    if (at < 0 || line.endsWith(" (deleted)")) continue;
    const path = line.slice(at);
    if (LIBRARY_NAME.test(basename(path))) paths.add(path);
  }
  return paths;
}

function readLibrary(path: string, key: string): Omit<TlsLibrary, "path" | "name"> | null {
  const elf = ElfFile.open(path);
  if (elf === undefined) return null;
  try {
    const symbols = elf.symbols(CALLS.map(([name]) => name));
    if (NEEDED.some((name) => !symbols.has(name))) return null;
    const entries: { offset: number; cookie: number }[] = [];
    for (const [name, cookie] of CALLS) {
      const offset = offsetOf(elf, symbols.get(name));
      if (offset !== undefined) entries.push({ offset, cookie });
    }
    const returns = entries.filter(({ cookie }) => cookie !== FREE_COOKIE).map(({ offset }) => offset);
    return { key, entries, returns };
  } finally {
    elf.close();
  }
}

/** Where in the file an address lies that the file gives. */
function offsetOf(elf: ElfFile, address: number | undefined): number | undefined {
  if (address === undefined) return undefined;
  const segment = elf.segments.find((part) => part.address <= address && address < part.address + part.fileBytes);
  return segment === undefined ? undefined : address - segment.address + segment.offset;
}

function namesIn(folder: string): string[] {
  try {
    return readdirSync(folder);
  } catch {
    return []; // Not on this machine.
  }
}

function multiarch(): string {
  return process.arch === "arm64" ? "aarch64-linux-gnu" : "x86_64-linux-gnu";
}
