/**
 * Another process's memory, read while it runs: every value may be torn or gone, so each reader checks what it got.
 */

import { closeSync, openSync, readdirSync, readFileSync, readlinkSync, readSync } from "node:fs";
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

/** The memory of one process; close it. */
export class ProcessMemory {
  readonly pid: number;
  readonly mappings: readonly Mapping[];
  readonly #fd: number;
  readonly #word = Buffer.alloc(8);

  private constructor(pid: number, fd: number, mappings: readonly Mapping[]) {
    this.pid = pid;
    this.#fd = fd;
    this.mappings = mappings;
  }

  /** @returns undefined where the process is gone, or its memory is not ours to read. */
  static open(pid: number): ProcessMemory | undefined {
    try {
      const mappings = readMappings(readFileSync(`/proc/${pid}/maps`, "latin1"));
      return new ProcessMemory(pid, openSync(`/proc/${pid}/mem`, "r"), mappings);
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
    const elf = ElfFile.open(`/proc/${this.pid}/root${path}`);
    if (elf === undefined) return new Map();
    const bias = this.biasOf(path, elf);
    const found = bias === undefined ? new Map<string, number>() : elf.symbols(names);
    elf.close();
    for (const [name, address] of found) found.set(name, address + (bias ?? 0));
    return found;
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

  /** Stack pointer of a thread that waits in a system call; undefined while it runs. */
  stackPointer(tid: number): number | undefined {
    try {
      const words = readFileSync(`/proc/${this.pid}/task/${tid}/syscall`, "latin1").trim().split(" ");
      const pointer = Number(words.at(-2));
      return words.length >= 3 && isAddress(pointer) ? pointer : undefined;
    } catch {
      return undefined; // Gone meanwhile.
    }
  }

  close(): void {
    closeSync(this.#fd);
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
