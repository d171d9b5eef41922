/**
 * Where libuv keeps the number of a loop's turn and the list of events it is handing out, for each thread that runs a loop.
 *
 * `uv_loop_t` up to its `internal_fields` and `backend_fd` is ABI since 1.0; the internal fields begin with flags and the
 * loop's metrics (1.45 and later). The place of the list of events changes between versions and is read from the code of
 * `uv__platform_invalidate_fd`, which looks at it first. What does not look like a loop is none.
 *
 * @see libuv, include/uv.h and src/uv-common.h
 */

import { isAddress, type Mapping, type ProcessMemory, waitingIn } from "./process-memory.ts";

/** Addresses of one loop. */
export interface LoopRecipe {
  /** The loop's internal fields. */
  readonly fields: number;
  /** From there: the turn's number, and the list of events, null unless they are being handed out. */
  readonly turnAt: number;
  readonly eventsAt: number;
}

const LOOP = { handles: 0x10, fields: 0x28, backendFd: 0x40, watchers: 0x68, watcherCount: 0x70, bytes: 0x78 } as const;
const TURN_AT = 8;
const watchersMax = 1 << 20;
const globalBytesMax = 16 << 20;
const stackBytesMax = 1 << 20;
const codeBytes = 64;

/** Where the list of events is in the internal fields; undefined where the code does not tell. */
export function eventsPlace(memory: ProcessMemory): number | undefined {
  for (const path of libraries(memory.mappings)) {
    const address = memory.symbols(path, ["uv__platform_invalidate_fd"]).get("uv__platform_invalidate_fd");
    if (address === undefined) continue;
    return placeInCode(memory.bytes(address, codeBytes));
  }
  return undefined;
}

/** Reads `mov 0x28(%rdi),%reg; mov OFFSET(%reg),%…`: the first thing the function does. */
export function placeInCode(code: Buffer): number | undefined {
  for (let at = 0; at + 11 <= code.length && at < 32; at++) {
    // 48/4c 8b /r with a displacement of a byte: from rdi, 0x28.
    const isLoad = (code[at] === 0x48 || code[at] === 0x4c) && code[at + 1] === 0x8b && code[at + 3] === LOOP.fields;
    if (!isLoad || ((code[at + 2] ?? 0) & 0xc7) !== 0x47) continue;
    for (let next = at + 4; next + 7 <= code.length && next < at + 16; next++) {
      const mode = (code[next + 2] ?? 0) & 0xc0;
      if (((code[next] ?? 0) & 0xf8) !== 0x48 || code[next + 1] !== 0x8b || mode !== 0x80) continue;
      const place = code.readUInt32LE(next + 3);
      return place >= 0x40 && place < 0x1000 && place % 8 === 0 ? place : undefined;
    }
  }
  return undefined;
}

/**
 * The loop of a thread.
 *
 * The main thread's is a global of libuv; another thread's lies on its own stack, as Node has it.
 *
 * @param polls Descriptors of event polls of the process.
 */
export function findLoop(
  memory: ProcessMemory,
  tid: number,
  eventsAt: number,
  polls: ReadonlySet<number>,
): LoopRecipe | undefined {
  const places = tid === memory.pid ? globals(memory.mappings) : stackOf(memory, tid);
  for (const { start, end } of places) {
    const bytes = memory.bytes(start, end - start);
    for (let at = 0; at + LOOP.bytes <= bytes.length; at += 8) {
      if (!looksLikeLoop(bytes, at, polls)) continue;
      const fields = Number(bytes.readBigUInt64LE(at + LOOP.fields));
      if (!isPlausible(memory, fields, eventsAt)) continue;
      return { fields, turnAt: TURN_AT, eventsAt };
    }
  }
  return undefined;
}

function looksLikeLoop(bytes: Buffer, at: number, polls: ReadonlySet<number>): boolean {
  if (!polls.has(bytes.readInt32LE(at + LOOP.backendFd))) return false;
  const watchers = bytes.readUInt32LE(at + LOOP.watcherCount);
  if (watchers === 0 || watchers > watchersMax) return false;
  for (const pointerAt of [LOOP.handles, LOOP.handles + 8, LOOP.fields, LOOP.watchers]) {
    const pointer = Number(bytes.readBigUInt64LE(at + pointerAt));
    if (!isAddress(pointer) || pointer % 8 !== 0) return false;
  }
  return true;
}

function isPlausible(memory: ProcessMemory, fields: number, eventsAt: number): boolean {
  const turn = memory.word(fields + TURN_AT);
  const events = memory.word(fields + eventsAt);
  return turn > 0 && turn < 2 ** 48 && (events === 0 || isAddress(events));
}

/** Writable data of the program and of libuv, with the zeroed part behind it. */
function globals(mappings: readonly Mapping[]): { start: number; end: number }[] {
  const places: { start: number; end: number }[] = [];
  const paths = new Set(libraries(mappings));
  mappings.forEach((mapping, index) => {
    if (!mapping.isWritable || !paths.has(mapping.path)) return;
    const next = mappings[index + 1];
    const isBehind = next?.start === mapping.end && next.path === "" && next.isWritable;
    const end = isBehind ? next.end : mapping.end;
    places.push({ start: mapping.start, end: Math.min(end, mapping.start + globalBytesMax) });
  });
  return places;
}

function stackOf(memory: ProcessMemory, tid: number): { start: number; end: number }[] {
  const pointer = waitingIn(memory.pid, tid)?.stack;
  const mapping = pointer === undefined ? undefined : memory.mappingOf(pointer);
  if (pointer === undefined || mapping === undefined) return [];
  const start = Math.floor(pointer / 8) * 8;
  return [{ start, end: Math.min(mapping.end, start + stackBytesMax) }];
}

/** Files that may hold libuv: its own library, Node as a library, the program itself. */
function libraries(mappings: readonly Mapping[]): string[] {
  const paths = new Set(mappings.map(({ path }) => path).filter((path) => /\/(libuv|libnode)\.so|\/node/.test(path)));
  return [...paths];
}
