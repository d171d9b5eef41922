/**
 * Learns, for each process and thread that opens sockets, how the programs in the kernel find the unit of work that makes
 * a call, and hands them the recipe.
 *
 * Invariants: a recipe is written only after its places looked right in the process's own memory; where they do not, or
 * the runtime's version is not known, there is none, and the process's calls carry no unit. A thread is tried `triesMax`
 * times, each after a longer pause.
 */

import { readlinkSync, statSync } from "node:fs";
import type { Native } from "../../bpf/native.ts";
import type { ProcessSeen } from "../../server/model/capture-event.ts";
import { findTasks } from "./asyncio-recipe.ts";
import { ElfFile } from "./elf-file.ts";
import { type GoRecipe, readGoRecipe } from "./go-recipe.ts";
import { eventsPlace, findLoop } from "./libuv-recipe.ts";
import { UNIT_KIND, UNIT_RECIPE } from "./probe-event.ts";
import { ProcessMemory, SymbolFiles, waitingIn } from "./process-memory.ts";

/** Threads that are remembered; beyond, the one known longest is tried again. */
const threadsMax = 16_384;
const triesMax = 8;
const retryMs = 100;
const programsMax = 256;
/** Threads of a Python process that are tried at all. */
const plainThreadsMax = 16;
/** Times a thread is looked at in one try: one that serves much polls seldom. */
const looksMax = 4;
/** epoll_wait and epoll_pwait, on x64 and arm64. */
const POLL_CALLS: ReadonlySet<number> = new Set(process.arch === "arm64" ? [22] : [232, 281]);

interface Learning {
  readonly process: ProcessSeen;
  readonly tid: number;
  tries: number;
  lastMs: number;
  isDone: boolean;
}

/** Descriptors of the maps the recipes go to. */
export interface RecipeMaps {
  readonly processes: number;
  readonly threads: number;
  /** How often one was written. */
  readonly written: number;
}

/** Recipes of the processes of one rung. */
export class WorkRecipes {
  readonly #native: Native;
  readonly #maps: RecipeMaps;
  readonly #threads = new Map<number, Learning>();
  #written = 0;
  readonly #files = new SymbolFiles();
  /** Threads of Python processes tried so far. */
  readonly #plainThreads = new Map<number, number>();
  /** Those to be tried again. */
  readonly #unfinished = new Set<Learning>();
  /** Of Go programs, and places of libuv's list, both by the program's file; null: not to be had. */
  readonly #goPrograms = new Map<string, GoRecipe | null>();
  readonly #eventPlaces = new Map<string, number | null>();

  constructor(native: Native, maps: RecipeMaps) {
    this.#native = native;
    this.#maps = maps;
  }

  /** A thread of the process opened a socket. */
  opened(process: ProcessSeen, tid: number): void {
    const { language } = process;
    if (language !== "node" && language !== "go" && language !== "python") return;
    // Goroutines run on any thread.
    const key = language === "go" ? process.pid : tid;
    if (this.#threads.has(key)) return;
    if (language === "python" && this.#isHopeless(process.pid)) return;
    if (this.#threads.size >= threadsMax) {
      this.#threads.clear();
      this.#unfinished.clear();
    }
    const learning: Learning = { process, tid, tries: 0, lastMs: 0, isDone: false };
    this.#threads.set(key, learning);
    this.#try(learning, performance.now());
    if (!learning.isDone) this.#unfinished.add(learning);
  }

  /** Tries again where a thread was running, or its runtime had not come so far. Cheap where there is nothing to do. */
  retry(): void {
    if (this.#unfinished.size === 0) return;
    const nowMs = performance.now();
    for (const learning of this.#unfinished) {
      if (nowMs - learning.lastMs < retryMs * learning.tries) continue;
      this.#try(learning, nowMs);
      if (learning.isDone || learning.tries >= triesMax) this.#unfinished.delete(learning);
    }
  }

  /** The process is gone, or runs another program: its numbers may be another's. */
  forget(pid: number): void {
    const learning = this.#threads.get(pid);
    if (learning === undefined) return;
    this.#threads.delete(pid);
    this.#plainThreads.delete(pid);
    this.#unfinished.delete(learning);
    this.#write(this.#maps.processes, pid, UNIT_KIND.none, [], []);
    this.#write(this.#maps.threads, pid, UNIT_KIND.none, [], []);
  }

  /** A process with a thread for each connection would have each of them tried. */
  #isHopeless(pid: number): boolean {
    const threads = this.#plainThreads.get(pid) ?? 0;
    if (threads >= plainThreadsMax) return true;
    if (this.#plainThreads.size >= programsMax) this.#plainThreads.clear();
    this.#plainThreads.set(pid, threads + 1);
    return false;
  }

  #try(learning: Learning, nowMs: number): void {
    learning.tries++;
    learning.lastMs = nowMs;
    learning.isDone = this.#learn(learning.process, learning.tid);
  }

  #learn(process: ProcessSeen, tid: number): boolean {
    if (process.language === "go") return this.#learnGo(process);
    // Another thread of Python may call while the loop's has a task under way: only the one that polls runs tasks. The first
    // thread is taken for one: a loop that has much to do is seldom seen to poll.
    if (process.language === "python" && tid !== process.pid && !isPolling(process.pid, tid)) return false;
    const memory = ProcessMemory.open(process.pid, this.#files);
    if (memory === undefined) return false;
    try {
      return process.language === "node" ? this.#learnLoop(memory, tid) : this.#learnTasks(memory, tid);
    } finally {
      memory.close();
    }
  }

  #learnLoop(memory: ProcessMemory, tid: number): boolean {
    const place = remembered(this.#eventPlaces, identityOf(memory.pid), () => eventsPlace(memory));
    if (place === null) return false;
    const loop = findLoop(memory, tid, place, memory.eventPolls());
    if (loop === undefined) return false;
    this.#write(this.#maps.threads, tid, UNIT_KIND.loop, [loop.turnAt, loop.eventsAt], [loop.fields]);
    return true;
  }

  #learnTasks(memory: ProcessMemory, tid: number): boolean {
    const tasks = findTasks(memory);
    if (tasks === undefined) return false;
    const { keysAt, callbackAt, selfAt, closureAt, dictionary, builtinType, functionType } = tasks;
    const offsets = [keysAt, callbackAt, selfAt, closureAt];
    this.#write(this.#maps.threads, tid, UNIT_KIND.task, offsets, [dictionary, builtinType, functionType]);
    return true;
  }

  #learnGo({ pid }: ProcessSeen): boolean {
    const path = `/proc/${pid}/exe`;
    const recipe = remembered(this.#goPrograms, identityOf(pid), () => readGoRecipe(path));
    if (recipe === null) return false;
    const bias = this.#goBias(pid, programOf(pid), path);
    if (bias === undefined) return false;
    const { goid, parentGoid, startpc, channelBelow, receivers, writerEntry } = recipe;
    const offsets = [goid, parentGoid, startpc, channelBelow, receivers];
    this.#write(this.#maps.processes, pid, UNIT_KIND.goroutine, offsets, [writerEntry === 0 ? 0 : writerEntry + bias]);
    return true;
  }

  /** Distance of a position-independent program from the addresses of its file. */
  #goBias(pid: number, program: string, path: string): number | undefined {
    const memory = ProcessMemory.open(pid, this.#files);
    const elf = ElfFile.open(path);
    const bias = memory === undefined || elf === undefined ? undefined : memory.biasOf(program, elf);
    memory?.close();
    elf?.close();
    return bias;
  }

  #write(map: number, key: number, kind: number, offsets: readonly number[], addresses: readonly number[]): void {
    const view = new DataView(new ArrayBuffer(UNIT_RECIPE.size));
    view.setUint32(UNIT_RECIPE.kind, kind, true);
    offsets.forEach((offset, index) => {
      view.setUint32(UNIT_RECIPE.offsets + 4 * index, offset, true);
    });
    addresses.forEach((address, index) => {
      view.setBigUint64(UNIT_RECIPE.addresses + 8 * index, BigInt(address), true);
    });
    this.#native.mapUpdate(map, key, new Uint8Array(view.buffer));
    this.#written++;
    const count = new Uint8Array(Uint32Array.of(this.#written).buffer);
    this.#native.mapUpdate(this.#maps.written, 0, count);
  }
}

function isPolling(pid: number, tid: number): boolean {
  for (let look = 0; look < looksMax; look++) {
    const waiting = waitingIn(pid, tid);
    if (waiting !== undefined && POLL_CALLS.has(waiting.call)) return true;
  }
  return false;
}

function programOf(pid: number): string {
  try {
    return readlinkSync(`/proc/${pid}/exe`);
  } catch {
    return ""; // Gone meanwhile.
  }
}

/** The program's file whatever its path is called in its container; a path of its own where it is gone. */
function identityOf(pid: number): string {
  try {
    const { dev, ino, mtimeMs } = statSync(`/proc/${pid}/exe`);
    return `${dev}:${ino}:${mtimeMs}`;
  } catch {
    return `gone:${pid}`;
  }
}

function remembered<Value>(
  known: Map<string, Value | null>,
  program: string,
  read: () => Value | undefined,
): Value | null {
  const before = known.get(program);
  if (before !== undefined) return before;
  if (known.size >= programsMax) known.clear();
  const value = read() ?? null;
  known.set(program, value);
  return value;
}
