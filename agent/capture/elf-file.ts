/**
 * Parts of 64-bit little-endian ELF files that recipes for a process are learned from.
 *
 * Nothing is trusted: what does not fit gives `undefined`, and at most `tableBytesMax` of a table are read.
 */

import { closeSync, openSync, readSync } from "node:fs";

/** Symbol tables and their names of large programs, such as Node's own, have some 20 MB. */
const tableBytesMax = 128 << 20;
const sectionsMax = 4096;
const segmentsMax = 64;
const SYMBOL_BYTES = 24;
const PT_LOAD = 1;
const SHT_NOBITS = 8;

/** A section of the file. */
interface ElfSection {
  readonly name: string;
  readonly address: number;
  readonly offset: number;
  readonly size: number;
  /** Index of the section with its strings. */
  readonly link: number;
  readonly kind: number;
}

/** A loaded part of the file. */
interface ElfSegment {
  readonly address: number;
  readonly offset: number;
  readonly fileBytes: number;
}

/** An open file; close it. */
export class ElfFile {
  readonly #fd: number;
  readonly segments: readonly ElfSegment[];
  readonly #sections: readonly ElfSection[];

  private constructor(fd: number, segments: readonly ElfSegment[], sections: readonly ElfSection[]) {
    this.#fd = fd;
    this.segments = segments;
    this.#sections = sections;
  }

  /** @returns undefined where the file cannot be read or is no such ELF file. */
  static open(path: string): ElfFile | undefined {
    let fd: number;
    try {
      fd = openSync(path, "r");
    } catch {
      return undefined; // Gone, or not ours to read.
    }
    const head = readAt(fd, 0, 64);
    if (head.length === 64 && head.readUInt32BE(0) === 0x7f454c46 && head[4] === 2 && head[5] === 1)
      return new ElfFile(fd, readSegments(fd, head), readSections(fd, head));
    closeSync(fd);
    return undefined;
  }

  section(name: string): ElfSection | undefined {
    return this.#sections.find((section) => section.name === name);
  }

  /** Content of a section; empty where there is none. */
  bytesOf(name: string): Buffer {
    const section = this.section(name);
    if (section === undefined || section.kind === SHT_NOBITS || section.size > tableBytesMax) return Buffer.alloc(0);
    return readAt(this.#fd, section.offset, section.size);
  }

  /** Bytes of the file that are loaded at an address, as the file gives it; fewer where the part ends. */
  bytesAt(address: number, bytes: number): Buffer {
    for (const segment of this.segments) {
      const into = address - segment.address;
      if (into < 0 || into >= segment.fileBytes) continue;
      return readAt(this.#fd, segment.offset + into, Math.min(bytes, segment.fileBytes - into));
    }
    return Buffer.alloc(0);
  }

  /** Addresses, as the file gives them, of symbols by name; local ones too where the file was not stripped. */
  symbols(names: readonly string[]): Map<string, number> {
    const found = new Map<string, number>();
    for (const table of [".symtab", ".dynsym"]) {
      const section = this.section(table);
      const strings = section === undefined ? undefined : this.#sections[section.link];
      if (strings === undefined || strings.size > tableBytesMax) continue;
      const texts = readAt(this.#fd, strings.offset, strings.size);
      const wanted = new Map<number, string>();
      for (const name of names) if (!found.has(name)) for (const at of placesOf(texts, name)) wanted.set(at, name);
      if (wanted.size === 0) continue;
      const rows = this.bytesOf(table);
      for (let at = 0; at + SYMBOL_BYTES <= rows.length; at += SYMBOL_BYTES) {
        const name = wanted.get(rows.readUInt32LE(at));
        const address = Number(rows.readBigUInt64LE(at + 8));
        // An undefined symbol is another file's.
        if (name !== undefined && address !== 0 && !found.has(name)) found.set(name, address);
      }
    }
    return found;
  }

  close(): void {
    closeSync(this.#fd);
  }
}

/** Where a name stands in a table of strings: as a whole, or as the end of a longer one that shares its bytes. */
function placesOf(texts: Buffer, name: string): number[] {
  const wanted = Buffer.from(`${name}\0`);
  const places: number[] = [];
  for (let at = texts.indexOf(wanted); at >= 0; at = texts.indexOf(wanted, at + 1)) places.push(at);
  return places;
}

function readSegments(fd: number, head: Buffer): ElfSegment[] {
  const count = Math.min(head.readUInt16LE(56), segmentsMax);
  const rows = readAt(fd, Number(head.readBigUInt64LE(32)), count * 56);
  const segments: ElfSegment[] = [];
  for (let at = 0; at + 56 <= rows.length; at += 56) {
    if (rows.readUInt32LE(at) !== PT_LOAD) continue;
    segments.push({
      offset: Number(rows.readBigUInt64LE(at + 8)),
      address: Number(rows.readBigUInt64LE(at + 16)),
      fileBytes: Number(rows.readBigUInt64LE(at + 32)),
    });
  }
  return segments;
}

function readSections(fd: number, head: Buffer): ElfSection[] {
  const count = Math.min(head.readUInt16LE(60), sectionsMax);
  const rows = readAt(fd, Number(head.readBigUInt64LE(40)), count * 64);
  const raw: { nameAt: number; section: Omit<ElfSection, "name"> }[] = [];
  for (let at = 0; at + 64 <= rows.length; at += 64) {
    raw.push({
      nameAt: rows.readUInt32LE(at),
      section: {
        kind: rows.readUInt32LE(at + 4),
        address: Number(rows.readBigUInt64LE(at + 16)),
        offset: Number(rows.readBigUInt64LE(at + 24)),
        size: Number(rows.readBigUInt64LE(at + 32)),
        link: rows.readUInt32LE(at + 40),
      },
    });
  }
  const names = raw[head.readUInt16LE(62)]?.section;
  if (names === undefined || names.size > tableBytesMax) return [];
  const texts = readAt(fd, names.offset, names.size);
  return raw.map(({ nameAt, section }) => {
    const end = texts.indexOf(0, nameAt);
    return { ...section, name: texts.toString("latin1", nameAt, end < 0 ? nameAt : end) };
  });
}

function readAt(fd: number, offset: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  let length = 0;
  while (length < bytes) {
    const got = readSync(fd, buffer, length, bytes - length, offset + length);
    if (got === 0) break;
    length += got;
  }
  return buffer.subarray(0, length);
}
