/**
 * Where a Go program keeps the number of a goroutine and who started it, and where net/http's writer of requests keeps the
 * channel on which the goroutine that made the call waits.
 *
 * Offsets of the runtime's types are known by version. The writer's place is read from its code: it is the goroutine's
 * first own function, so its frame lies at a fixed distance from the end of the stack. Code that does not look as expected
 * gives no writer: then a call on the pool's goroutines has no parent.
 */

import { ElfFile } from "./elf-file.ts";

/** Offsets in the runtime's types `g` and `hchan`. */
interface RuntimeLayout {
  readonly goid: number;
  /** 0 where the version does not keep it. */
  readonly parentGoid: number;
  readonly startpc: number;
  /** First waiting receiver of a channel. */
  readonly receivers: number;
}

/** What is known of a Go program. Addresses are as its file gives them. */
export interface GoRecipe extends RuntimeLayout {
  /** Entry of the function that starts the writer of requests; 0 where none is known. */
  readonly writerEntry: number;
  /** Bytes from the end of its stack down to the place of the channel. */
  readonly channelBelow: number;
}

/** By minor version of Go 1. @see Go, src/runtime/runtime2.go and chan.go */
const LAYOUTS: Readonly<Record<number, RuntimeLayout>> = {
  19: { goid: 152, parentGoid: 0, startpc: 312, receivers: 56 },
  20: { goid: 152, parentGoid: 0, startpc: 312, receivers: 56 },
  21: { goid: 152, parentGoid: 272, startpc: 296, receivers: 56 },
  22: { goid: 152, parentGoid: 272, startpc: 296, receivers: 56 },
  23: { goid: 160, parentGoid: 280, startpc: 304, receivers: 64 },
  24: { goid: 160, parentGoid: 280, startpc: 304, receivers: 64 },
  25: { goid: 152, parentGoid: 272, startpc: 296, receivers: 64 },
  26: { goid: 152, parentGoid: 280, startpc: 304, receivers: 64 },
};

/** What newproc leaves free at the end of a stack, and the return address it puts below. */
const STACK_TOP_BYTES = 32 + 8;
const WRITER = "net/http.(*persistConn).writeLoop";
const STARTER = /^net\/http\.\(\*Transport\)\.dialConn\./;
const SEND = "runtime.chansend1";
const BUILD_INFO_VERSION_AT = 32;
const PROLOGUE_BYTES = 48;
const functionsMax = 1 << 20;
const codeBytesMax = 8192;

/** Reads a Go program's file; undefined where its version is not known. */
export function readGoRecipe(path: string): GoRecipe | undefined {
  const elf = ElfFile.open(path);
  if (elf === undefined) return undefined;
  try {
    const layout = LAYOUTS[minorVersion(elf.bytesOf(".go.buildinfo"))];
    if (layout === undefined) return undefined;
    return { ...layout, ...(findWriter(elf) ?? { writerEntry: 0, channelBelow: 0 }) };
  } finally {
    elf.close();
  }
}

/** The minor version of `go1.26.8`; -1 where none stands there. */
function minorVersion(info: Buffer): number {
  const length = info[BUILD_INFO_VERSION_AT] ?? 0;
  const text = info.toString("latin1", BUILD_INFO_VERSION_AT + 1, BUILD_INFO_VERSION_AT + 1 + length);
  return Number(/^go1\.(\d+)/.exec(text)?.[1] ?? -1);
}

function findWriter(elf: ElfFile): { writerEntry: number; channelBelow: number } | undefined {
  const functions = readFunctions(elf);
  const writer = functions.find(({ name }) => name === WRITER);
  const send = functions.find(({ name }) => name === SEND);
  if (writer === undefined || send === undefined) return undefined;
  for (const starter of functions) {
    if (!STARTER.test(starter.name)) continue;
    const code = elf.bytesAt(starter.entry, starter.bytes);
    if (callsTo(code, starter.entry, writer.entry).length !== 1) continue;
    const body = elf.bytesAt(writer.entry, writer.bytes);
    const outer = frameBytes(code);
    const inner = frameBytes(body);
    const slot = sentChannel(body, callsTo(body, writer.entry, send.entry).at(-1));
    if (outer === undefined || inner === undefined || slot === undefined) return undefined;
    // Below the return address: the starter's frame, the return address into it, the writer's frame.
    return { writerEntry: starter.entry, channelBelow: STACK_TOP_BYTES + outer + 8 + inner - slot };
  }
  return undefined;
}

/** Bytes of a function's frame: `push %rbp; mov %rsp,%rbp; sub $N,%rsp`, or before Go 1.21 only the last. */
function frameBytes(code: Buffer): number | undefined {
  const pushed = code.indexOf(Buffer.from([0x55, 0x48, 0x89, 0xe5]));
  const isPushed = pushed >= 0 && pushed < PROLOGUE_BYTES;
  for (let at = isPushed ? pushed + 4 : 0; at < PROLOGUE_BYTES && at + 7 <= code.length; at++) {
    if (code[at] !== 0x48 || code[at + 2] !== 0xec) continue;
    const below = isPushed ? 8 : 0;
    if (code[at + 1] === 0x83) return below + (code[at + 3] ?? 0);
    if (code[at + 1] === 0x81) return below + code.readUInt32LE(at + 3);
  }
  return undefined;
}

/** Offsets of `call TARGET` in code that is loaded at `entry`. */
function callsTo(code: Buffer, entry: number, target: number): number[] {
  const calls: number[] = [];
  for (let at = 0; at + 5 <= code.length; at++) {
    if (code[at] === 0xe8 && entry + at + 5 + code.readInt32LE(at + 1) === target) calls.push(at);
  }
  return calls;
}

/** Place in the frame that `mov PLACE(%rsp),%rax` loads the channel from, shortly before it is sent to. */
function sentChannel(code: Buffer, call: number | undefined): number | undefined {
  if (call === undefined) return undefined;
  for (let at = call - 5; at >= Math.max(0, call - 32); at--) {
    if (code[at] !== 0x48 || code[at + 1] !== 0x8b || code[at + 3] !== 0x24) continue;
    if (code[at + 2] === 0x44) return code[at + 4];
    if (code[at + 2] === 0x84) return code.readUInt32LE(at + 4);
  }
  return undefined;
}

interface GoFunction {
  readonly name: string;
  readonly entry: number;
  readonly bytes: number;
}

/** Those functions of the runtime's own table that are looked for: it stays in a program that was stripped. */
function readFunctions(elf: ElfFile): GoFunction[] {
  const table = elf.bytesOf(".gopclntab");
  const text = elf.section(".text")?.address;
  // The forms of Go 1.18 and 1.20.
  const form = table.length < 72 ? 0 : table.readUInt32LE(0);
  if ((form !== 0xfffffff0 && form !== 0xfffffff1) || table[7] !== 8 || text === undefined) return [];
  const field = (index: number) => Number(table.readBigUInt64LE(8 + 8 * index));
  const count = Math.min(field(0), functionsMax);
  const names = field(3);
  const rows = field(7);
  if (rows + 8 * count + 4 > table.length) return [];
  const found: GoFunction[] = [];
  for (let index = 0; index < count; index++) {
    const at = rows + 8 * index;
    const entry = table.readUInt32LE(at);
    const described = rows + table.readUInt32LE(at + 4);
    if (described + 8 > table.length) continue;
    const nameAt = names + table.readInt32LE(described + 4);
    const initial = table[nameAt];
    // n as in net/http, r as in runtime: most names are not worth a string.
    if (initial !== 0x6e && initial !== 0x72) continue;
    const name = table.toString("latin1", nameAt, Math.min(table.indexOf(0, nameAt), nameAt + 200));
    if (name !== WRITER && name !== SEND && !STARTER.test(name)) continue;
    const bytes = Math.min(table.readUInt32LE(at + 8) - entry, codeBytesMax);
    found.push({ name, entry: text + entry, bytes });
  }
  return found;
}
