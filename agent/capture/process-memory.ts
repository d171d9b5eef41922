/**
 * Another process's memory, read while it runs: every value may be torn or gone, so each reader checks what it got.
 */

import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync, statSync } from "node:fs";
import { ElfFile } from "./elf-file.ts";

/** One row of `/proc/PID/maps`. */
export interface Mapping {
  readonly start: number;
  readonly end: number;
  readonly isWritable: boolean;
  readonly offset: number;
  readonly path: string;
}

const descriptorsMax = 65_536;
/** Addresses of user space, which a number holds exactly. */
const ADDRESS_MAX = 2 ** 47;
const ADDRESS_MIN = 4096;
const PAGE = 4096;

/** Files whose symbols are remembered; beyond, all are read again. */
const symbolFilesMax = 64;

/** Symbols of files by name, which take tens of milliseconds to find in a large one. */
export class SymbolFiles {
  readonly #known = new Map<string, ReadonlyMap<string, number>>();

  /** Addresses as the file gives them, with the segments they lie in. */
  symbols(path: string, names: readonly string[], elf: ElfFile): ReadonlyMap<string, number> {
    const { dev, ino, mtimeMs } = statSync(path);
    const key = `${dev}:${ino}:${mtimeMs}:${names.join()}`;
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    if (this.#known.size >= symbolFilesMax) this.#known.clear();
    const found = elf.symbols(names);
    this.#known.set(key, found);
    return found;
  }
}

/** The memory of one process; close it. */
export class ProcessMemory {
  readonly pid: number;
  readonly mappings: readonly Mapping[];
  readonly #fd: number;
  readonly #files: SymbolFiles;
  readonly #word = Buffer.alloc(8);

  private constructor(pid: number, files: SymbolFiles, fd: number, mappings: readonly Mapping[]) {
    this.pid = pid;
    this.#files = files;
    this.#fd = fd;
    this.mappings = mappings;
  }

  /** @returns undefined where the process is gone, or its memory is not ours to read. */
  static open(pid: number, files: SymbolFiles): ProcessMemory | undefined {
    try {
      const mappings = readMappings(readFileSync(`/proc/${pid}/maps`, "latin1"));
      return new ProcessMemory(pid, files, openSync(`/proc/${pid}/mem`, "r"), mappings);
    } catch {
      return undefined; // Gone, or another user's.
    }
  }

  /** Bytes at an address; fewer, or none, where they are not mapped. */
  bytes(address: number, length: number): Buffer {
    const buffer = Buffer.alloc(length);
    try {
      return buffer.subarray(0, readSync(this.#fd, buffer, 0, length, address));
    } catch {
      return buffer.subarray(0, 0); // Not mapped.
    }
  }

  /** The word at an address; 0 where it is not mapped. */
  word(address: number): number {
    try {
      if (readSync(this.#fd, this.#word, 0, 8, address) !== 8) return 0;
    } catch {
      return 0; // Not mapped.
    }
    return Number(this.#word.readBigUInt64LE(0));
  }

  /** The mapping an address lies in. */
  mappingOf(address: number): Mapping | undefined {
    return this.mappings.find(({ start, end }) => start <= address && address < end);
  }

  /** A mapped file's distance between the addresses it gives and those it is loaded at; undefined where it is not mapped. */
  biasOf(path: string, elf: ElfFile): number | undefined {
    for (const mapping of this.mappings) {
      if (mapping.path !== path) continue;
      for (const { address, offset } of elf.segments) {
        if (pageOf(offset) === mapping.offset) return mapping.start - pageOf(address);
      }
    }
    return undefined;
  }

  /** Addresses of symbols of a mapped file, by name. `path` is as in its mappings. */
  symbols(path: string, names: readonly string[]): Map<string, number> {
    const file = `/proc/${this.pid}/root${path}`;
    const elf = ElfFile.open(file);
    const found = new Map<string, number>();
    if (elf === undefined) return found;
    try {
      const bias = this.biasOf(path, elf);
      if (bias === undefined) return found;
      for (const [name, address] of this.#files.symbols(file, names, elf)) found.set(name, address + bias);
      return found;
    } catch {
      return found; // The process is gone, and its view of the file with it.
    } finally {
      elf.close();
    }
  }

  /** Descriptors of event polls. */
  eventPolls(): Set<number> {
    const polls = new Set<number>();
    const folder = `/proc/${this.pid}/fd`;
    try {
      for (const name of readdirSync(folder).slice(0, descriptorsMax)) {
        if (linkOf(`${folder}/${name}`) === "anon_inode:[eventpoll]") polls.add(Number(name));
      }
    } catch {
      return polls; // Gone meanwhile.
    }
    return polls;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** The system call a thread waits in, and its stack pointer; undefined while it runs. */
export function waitingIn(pid: number, tid: number): { readonly call: number; readonly stack: number } | undefined {
  try {
    const words = readFileSync(`/proc/${pid}/task/${tid}/syscall`, "latin1").trim().split(" ");
    const stack = Number(words.at(-2));
    return words.length >= 3 && isAddress(stack) ? { call: Number(words[0]), stack } : undefined;
  } catch {
    return undefined; // Gone meanwhile, or not ours to look at.
  }
}

/** Whether a word may be an address of user space. */
export function isAddress(word: number): boolean {
  return word >= ADDRESS_MIN && word < ADDRESS_MAX;
}

function pageOf(address: number): number {
  return Math.floor(address / PAGE) * PAGE;
}

function linkOf(path: string): string {
  try {
    return readlinkSync(path);
  } catch {
    return ""; // Closed meanwhile.
  }
}

function readMappings(text: string): Mapping[] {
  const mappings: Mapping[] = [];
  for (const line of text.split("\n")) {
    const found = /^([0-9a-f]+)-([0-9a-f]+) (\S+) ([0-9a-f]+) \S+ \d+\s*(.*)$/.exec(line);
    if (found === null) continue;
    const [, start = "", end = "", rights = "", offset = "", path = ""] = found;
    mappings.push({
      start: Number.parseInt(start, 16),
      end: Number.parseInt(end, 16),
      isWritable: rights.startsWith("rw"),
      offset: Number.parseInt(offset, 16),
      path,
    });
  }
  return mappings;
}
