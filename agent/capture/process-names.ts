/**
 * What cgroup paths, environments and executables say about a process. Pure, save for reading ELF files.
 */

import { closeSync, openSync, readSync } from "node:fs";
import type { ProcessSeen } from "../../server/model/capture-event.ts";

/** What a cgroup path says. */
export interface CgroupNames {
  /** Systemd unit without `.service`; empty where none or where the process is in a container. */
  readonly unit: string;
  /** Container id of 64 hex digits; empty where none. */
  readonly containerId: string;
}

/**
 * Reads `/proc/PID/cgroup`, of version 1 (a line per controller), 2 (one line `0::PATH`) or both.
 *
 * Known forms of containers: `docker/ID`, `docker-ID.scope`, `cri-containerd-ID.scope`, `crio-ID.scope`,
 * `libpod-ID.scope`, `kubepods/…/ID`.
 */
export function parseCgroup(text: string): CgroupNames {
  let containerId = "";
  let unit = "";
  for (const line of text.split("\n")) {
    const path = line.slice(line.indexOf(":", line.indexOf(":") + 1) + 1);
    const names = cgroupPathNames(path);
    if (names.containerId !== "") containerId = names.containerId;
    if (unit === "" && names.unit !== "") unit = names.unit;
  }
  return { unit: containerId === "" ? unit : "", containerId };
}

/** The names in one cgroup path. */
export function cgroupPathNames(path: string): CgroupNames {
  const ids = path.match(/(?<![0-9a-f])[0-9a-f]{64}(?![0-9a-f])/g);
  const containerId = ids?.at(-1) ?? "";
  if (containerId !== "") return { unit: "", containerId };
  const service = path.split("/").findLast((name) => name.endsWith(".service") && !/^user@\d+\.service$/.test(name));
  return { unit: service === undefined ? "" : unescapeUnit(service.slice(0, -".service".length)), containerId: "" };
}

/** Systemd writes unusual bytes of unit names as `\xNN`. */
function unescapeUnit(name: string): string {
  return name.replace(/\\x([0-9a-f]{2})/g, (_, hex: string) => String.fromCharCode(Number.parseInt(hex, 16)));
}

/** The value of one variable in `/proc/PID/environ`; empty where it is not set. No other variable is looked at. */
export function environValue(environ: Buffer, name: string): string {
  const wanted = `${name}=`;
  let at = environ.indexOf(wanted, 0, "latin1");
  while (at > 0 && environ[at - 1] !== 0) at = environ.indexOf(wanted, at + 1, "latin1");
  if (at < 0) return "";
  const from = at + wanted.length;
  const end = environ.indexOf(0, from);
  return environ.toString("utf8", from, end < 0 ? environ.length : end);
}

/** The language that a program's file name tells; empty where it tells none. */
export function languageOfName(name: string): ProcessSeen["language"] {
  if (/^node(js)?(-?\d+)?$/.test(name)) return "node";
  if (/^(python|pypy)[\d.]*$/.test(name)) return "python";
  if (name === "java") return "java";
  return "";
}

/** The language whose runtime is among the mapped libraries; empty where none is. */
export function languageOfMaps(maps: string): ProcessSeen["language"] {
  if (/\/libnode\.so/.test(maps)) return "node";
  if (/\/libpython\d[\d.]*m?\.so/.test(maps)) return "python";
  if (/\/libjvm\.so/.test(maps)) return "java";
  return "";
}

const GO_BUILD_INFO_SECTION = ".go.buildinfo";
const GO_BUILD_INFO_MAGIC = Buffer.from("\xff Go buildinf:", "latin1");
const sectionsMax = 4096;
const sectionNamesBytesMax = 256 * 1024;
/** The mark stands at the beginning of the writable data. */
const searchedBytes = 64 * 1024;

/**
 * Is this ELF file built by Go? Looks for the section `.go.buildinfo`, or its mark where sections were stripped.
 *
 * @param path May be `/proc/PID/exe`. Never throws: what cannot be read is not Go.
 */
export function isGoExecutable(path: string): boolean {
  let fd: number;
  try {
    fd = openSync(path, "r");
  } catch {
    return false;
  }
  try {
    const head = readAt(fd, 0, 64);
    // 64-bit little-endian ELF: what x64 and arm64 Linux run.
    if (head.length < 64 || head.readUInt32BE(0) !== 0x7f454c46 || head[4] !== 2 || head[5] !== 1) return false;
    return hasGoSection(fd, head) || hasGoMark(fd, head);
  } catch {
    return false; // A damaged or shrinking file.
  } finally {
    closeSync(fd);
  }
}

function hasGoSection(fd: number, head: Buffer): boolean {
  const entryBytes = head.readUInt16LE(0x3a);
  const count = head.readUInt16LE(0x3c);
  const namesIndex = head.readUInt16LE(0x3e);
  if (entryBytes !== 64 || count === 0 || count > sectionsMax || namesIndex >= count) return false;
  const names = readAt(fd, Number(head.readBigUInt64LE(0x28)) + namesIndex * entryBytes, entryBytes);
  if (names.length < entryBytes) return false;
  const bytes = Math.min(Number(names.readBigUInt64LE(0x20)), sectionNamesBytesMax);
  return readAt(fd, Number(names.readBigUInt64LE(0x18)), bytes).includes(`\0${GO_BUILD_INFO_SECTION}\0`, 0, "latin1");
}

function hasGoMark(fd: number, head: Buffer): boolean {
  const entryBytes = head.readUInt16LE(0x36);
  const count = head.readUInt16LE(0x38);
  if (entryBytes !== 56 || count > 256) return false;
  const table = readAt(fd, Number(head.readBigUInt64LE(0x20)), entryBytes * count);
  for (let at = 0; at + entryBytes <= table.length; at += entryBytes) {
    const isLoad = table.readUInt32LE(at) === 1;
    const isWritable = (table.readUInt32LE(at + 4) & 2) !== 0;
    if (!isLoad || !isWritable) continue;
    const bytes = Math.min(Number(table.readBigUInt64LE(at + 0x20)), searchedBytes);
    if (readAt(fd, Number(table.readBigUInt64LE(at + 8)), bytes).includes(GO_BUILD_INFO_MAGIC)) return true;
  }
  return false;
}

function readAt(fd: number, position: number, bytes: number): Buffer {
  const buffer = Buffer.alloc(bytes);
  return buffer.subarray(0, readSync(fd, buffer, 0, bytes, position));
}
