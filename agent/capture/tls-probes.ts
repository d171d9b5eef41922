/**
 * Attaches the uprobes on TLS libraries, process by process or file by file, keeps each process within its budget, and
 * takes the probes off again.
 *
 * Policy `auto` attaches to a library for all of its processes, so that those are seen too that live for milliseconds or
 * are forked for each connection; once one of them is over its budget, the library's other processes get probes of their
 * own and that one has none. Named programs get probes of their own from the start; others pay nothing, until one of a
 * named program's processes ends so soon that its probes came too late: then the libraries are attached to for all of their
 * processes, and the kernel reads calls of programs of that name alone. Those that live for longer get probes of their own all the same.
 *
 * Invariants: links are descriptors of this process, so that its end takes all probes off. Closing one waits for the
 * kernel, so it is done off this thread. At most `processesMax` processes have probes of their own.
 */

import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { basename } from "node:path";
import type { Attached, Native } from "../../bpf/native.ts";
import { fdOf } from "./socket-probes.ts";
import { attachLibrary, closeAll, loadPrograms, type TlsWay } from "./tls-attach.ts";
import { type CallBudget, CallBudgets } from "./tls-call-budget.ts";
import { readTlsCounters, type TlsProbeCounters } from "./tls-event.ts";
import { TlsLibraries, type TlsLibrary } from "./tls-libraries.ts";
import { QuickPrograms } from "./tls-quick-programs.ts";
import type { TracedLink } from "./tls-tracefs.ts";

/** Processes with probes of their own; further ones are not looked into. */
const processesMax = 512;
const budgetEveryMs = 1000;
/** A library may be loaded later than its process is seen: it is looked for again after these times. */
const RETRIES_MS: readonly number[] = [20, 100, 500, 2000];
const waitingMax = 4096;
/** Processes remembered as without a library; beyond, all are looked at again. */
const passedByMax = 65_536;

/** A named program whose process lives for less is too quick for probes of its own. */
const quickMsMax = 1000;
/** Beside the kind of a call: calls of these names alone. */
const cookieByName = 64;
const PRESENT = Uint8Array.of(1);

/** Which processes are looked into. */
export type TlsPolicy =
  | { readonly kind: "off" | "auto" }
  | { readonly kind: "names"; readonly names: readonly string[] };

/** What the probes do now. */
export interface TlsProbeStatus {
  readonly way: TlsWay;
  /** Processes looked into now, as far as they were seen. */
  readonly processes: number;
  /** Calls of libraries that a process may make in a second. */
  readonly callsPerSecondMax: number;
  /** Processes without probes since they are not captured in full. */
  readonly heldBack: number;
  /** Processes whose probes were taken off for a while, since they were over the budget. */
  readonly overBudget: readonly { readonly pid: number; readonly name: string; readonly callsPerSecond: number }[];
  /** Libraries found so far. */
  readonly libraries: readonly string[];
  /** Named programs that are looked into by probes on all processes of these libraries, since theirs end too soon. */
  readonly quick: readonly string[];
  /** Times that a process was over its budget. */
  readonly detachedOverBudget: number;
  /** Times that a probe could not be attached; the last reason. */
  readonly refused: number;
  readonly refusedWhy: string;
}

/** What the probes need. */
export interface TlsProbesOptions {
  readonly native: Native;
  readonly policy: TlsPolicy;
  /** Bytes of the object. */
  readonly object: Uint8Array;
  /** Maps of the rung. */
  readonly maps: Attached["maps"];
  /** Inode of this process's pid namespace, 0 for the first. */
  readonly pidNamespace: number;
  readonly excludePids: readonly number[];
  readonly callsPerSecondMax?: number;
  /** Until a process that was over its budget is tried again. */
  readonly pauseMs?: number;
  /** Calls of the process are told from here on, or are not. */
  readonly lookInto: (pid: number, isLooked: boolean) => void;
}

interface ProbedProcess extends CallBudget {
  readonly pid: number;
  readonly name: string;
  /** By the file. Empty where only the file's own links serve it. */
  readonly links: Map<string, TracedLink[]>;
  libraries: TlsLibrary[];
  /** When it began to run its program; undefined where that was not seen. */
  execedMs: number | undefined;
  hasSpoken: boolean;
  /** It lives for so long that it has probes of its own, whatever its threads are called. */
  isLasting: boolean;
}

interface WaitingProcess {
  readonly pid: number;
  readonly name: string;
  tries: number;
  atMs: number;
}

/** Maps of the rung that the programs use too. */
const SHARED_MAPS = ["slices", "excluded_pids", "process_recipes", "thread_recipes", "recipes_written"] as const;

/** Probes of one rung. */
export class TlsProbes {
  readonly #native: Native;
  readonly #policy: TlsPolicy;
  readonly #excluded: ReadonlySet<number>;
  readonly #budgets: CallBudgets;
  readonly #lookInto: (pid: number, isLooked: boolean) => void;
  readonly #attached: Attached;
  readonly #way: TlsWay;
  readonly #files = new TlsLibraries();
  /** Links for all processes, by the file. */
  readonly #wide = new Map<string, TracedLink[]>();
  /** Files whose processes have probes of their own, since one of them is over its budget. */
  readonly #narrow = new Set<string>();
  /** Links for all processes, of which the kernel takes those of `#quick`, by the file. */
  readonly #byName = new Map<string, TracedLink[]>();
  readonly #quick = new QuickPrograms();
  readonly #known = new Map<string, TlsLibrary>();
  readonly #processes = new Map<number, ProbedProcess>();
  readonly #waiting = new Map<number, WaitingProcess>();
  /** Processes that are not wanted, or have no library. */
  readonly #passedBy = new Set<number>();
  #lookedMs = 0;
  #detachedOverBudget = 0;
  #refused = 0;
  #refusedWhy = "";

  /** @throws NativeError where the kernel refuses all ways. */
  constructor(options: TlsProbesOptions) {
    const { native, policy, excludePids } = options;
    this.#native = native;
    this.#policy = policy;
    this.#excluded = new Set(excludePids);
    this.#lookInto = options.lookInto;
    const shared = Object.fromEntries(SHARED_MAPS.map((name) => [name, fdOf(options.maps, name)]));
    const loaded = loadPrograms(native, options.object, shared, options.pidNamespace);
    this.#attached = loaded.attached;
    this.#way = loaded.way;
    const rates = fdOf(this.#attached.maps, "tls_rates");
    this.#budgets = new CallBudgets({
      native,
      rates,
      callsPerSecondMax: options.callsPerSecondMax,
      pauseMs: options.pauseMs,
    });
    for (const library of this.#files.ofMachine()) this.#learn(library);
  }

  /** Looks at the processes that are there already. */
  start(nowMs: number): void {
    for (const name of readdirSync("/proc")) if (/^\d+$/.test(name)) this.seen(Number(name), nowMs);
  }

  /** A process was seen: it opened a socket. */
  seen(pid: number, nowMs: number): void {
    if (this.#excluded.has(pid) || this.#processes.has(pid) || this.#waiting.has(pid) || this.#passedBy.has(pid))
      return;
    const names = namesOf(pid);
    if (names === undefined) return;
    if (this.#isWanted(pid, names)) this.#tryAttach({ pid, name: names[0] ?? "", tries: 0, atMs: nowMs }, nowMs);
    else this.#passBy(pid);
  }

  /** A process speaks TLS. One without probes may have loaded its library meanwhile. */
  spoke(pid: number, nowMs: number): void {
    const process = this.#processes.get(pid);
    if (process !== undefined) process.hasSpoken = true;
    const ended = this.#quick.programOf(pid);
    if (ended !== undefined) this.#noteQuick(ended);
    this.#passedBy.delete(pid);
    this.seen(pid, nowMs);
  }

  /** A process runs another program. Its library is not mapped yet: it is guessed by the file, which costs nothing where it is wrong. */
  execed(pid: number, words: readonly string[], nowMs: number): void {
    this.exited(pid, nowMs);
    this.#quick.forget(pid);
    const name = basename(words[0] ?? "");
    if (this.#excluded.has(pid) || !this.#isWanted(pid, [name])) return;
    if (this.#policy.kind === "names" && this.#processes.size < processesMax) {
      const process = this.#process(pid, name);
      process.execedMs = nowMs;
      for (const library of this.#known.values()) this.#attachTo(process, library);
      this.#lookInto(pid, true);
    }
    this.#wait({ pid, name, tries: 0, atMs: nowMs + (RETRIES_MS[0] ?? 0) });
  }

  /** Of a process that is not captured in full nothing is read inside of TLS. */
  depthChanged(pid: number, isFull: boolean): void {
    const process = this.#processes.get(pid);
    if (process === undefined) return;
    if (isFull) {
      this.#resume(process);
      return;
    }
    process.pausedUntilMs = Number.POSITIVE_INFINITY;
    this.#takeOff(process);
  }

  exited(pid: number, nowMs: number): void {
    const process = this.#processes.get(pid);
    if (process?.execedMs !== undefined && nowMs - process.execedMs < quickMsMax) this.#endedQuickly(process);
    this.#waiting.delete(pid);
    this.#passedBy.delete(pid);
    this.#forget(pid);
  }

  #endedQuickly({ pid, name, hasSpoken }: ProbedProcess): void {
    if (hasSpoken) this.#noteQuick(name);
    this.#quick.ended(pid, name);
  }

  /** The next process of this name is served by probes that are there before it is. */
  #noteQuick(program: string): void {
    if (!this.#quick.add(program)) return;
    this.#native.mapUpdate(fdOf(this.#attached.maps, "tls_names"), 0, this.#quick.texts);
    for (const library of this.#known.values()) this.#attachByName(library);
  }

  #attachByName(library: TlsLibrary): void {
    if (this.#quick.names.length === 0 || this.#byName.has(library.key)) return;
    const entries = library.entries.map(({ offset, cookie }) => ({ offset, cookie: cookie | cookieByName }));
    const links = this.#attach({ ...library, entries }, 0);
    if (links !== undefined) this.#byName.set(library.key, links);
  }

  /** Whether the probes by name serve a process: what has probes of its own, or none for a while, is none of theirs. */
  #setByName(pid: number, isServed: boolean): void {
    const own = fdOf(this.#attached.maps, "tls_own_pids");
    if (!isServed) this.#native.mapUpdate(own, pid, PRESENT);
    else this.#native.mapDelete(own, new Uint8Array(Uint32Array.of(pid).buffer));
  }

  #forget(pid: number): void {
    const process = this.#processes.get(pid);
    if (process === undefined) return;
    this.#processes.delete(pid);
    for (const links of process.links.values()) closeAll(links);
    this.#setByName(pid, true);
    this.#budgets.forget(pid);
  }

  /** Looks again for libraries, and at budgets. Cheap where there is nothing to do. */
  tick(nowMs: number): void {
    for (const waiting of this.#waiting.values()) {
      if (waiting.atMs > nowMs) continue;
      this.#waiting.delete(waiting.pid);
      this.#tryAttach(waiting, nowMs);
    }
    const sinceMs = nowMs - this.#lookedMs;
    if (sinceMs < budgetEveryMs) return;
    this.#lookedMs = nowMs;
    for (const process of this.#processes.values()) {
      this.#noteLasting(process, nowMs);
      this.#lookAtBudget(process, sinceMs, nowMs);
    }
  }

  counters(): TlsProbeCounters {
    return readTlsCounters(this.#native.mapLookup(fdOf(this.#attached.maps, "tls_counts"), 0));
  }

  status(): TlsProbeStatus {
    const paused = [...this.#processes.values()].filter(({ pausedUntilMs }) => pausedUntilMs !== undefined);
    const overBudget = paused.filter(({ pausedUntilMs }) => pausedUntilMs !== Number.POSITIVE_INFINITY);
    return {
      way: this.#way,
      processes: this.#processes.size - paused.length,
      callsPerSecondMax: this.#budgets.callsPerSecondMax,
      heldBack: paused.length - overBudget.length,
      overBudget: overBudget.map(({ pid, name, callsPerSecond }) => ({ pid, name, callsPerSecond })),
      libraries: [...this.#known.values()].map(({ name }) => name),
      quick: this.#quick.names,
      detachedOverBudget: this.#detachedOverBudget,
      refused: this.#refused,
      refusedWhy: this.#refusedWhy,
    };
  }

  /** Takes the probes off; the counters can still be read. */
  detach(): void {
    for (const { links } of this.#processes.values()) for (const fds of links.values()) closeAll(fds);
    for (const fds of [...this.#wide.values(), ...this.#byName.values()]) closeAll(fds);
    this.#byName.clear();
    this.#processes.clear();
    this.#waiting.clear();
    this.#wide.clear();
  }

  /** After `detach`: gives up programs and maps. */
  close(): void {
    this.#native.detach({ links: {}, programs: this.#attached.programs, maps: this.#attached.maps });
  }

  #isWanted(pid: number, names: readonly string[]): boolean {
    const policy = this.#policy;
    if (policy.kind !== "names") return policy.kind === "auto";
    return [...names, String(pid)].some((name) => policy.names.includes(name));
  }

  #passBy(pid: number): void {
    this.#lookInto(pid, false);
    if (this.#passedBy.size >= passedByMax) this.#passedBy.clear();
    this.#passedBy.add(pid);
  }

  #tryAttach(waiting: WaitingProcess, nowMs: number): void {
    const { pid, name } = waiting;
    const libraries = this.#files.ofProcess(pid);
    if (libraries === undefined) return;
    if (libraries.length === 0) {
      const pause = RETRIES_MS[waiting.tries];
      if (pause !== undefined) this.#wait({ ...waiting, tries: waiting.tries + 1, atMs: nowMs + pause });
      // Its program may still be being loaded.
      if (pause !== undefined) return;
      this.#forget(pid);
      this.#passBy(pid);
      return;
    }
    if (!this.#processes.has(pid) && this.#processes.size >= processesMax) {
      this.#refuse(`${processesMax} processes have probes already`);
      this.#lookInto(pid, false);
      return;
    }
    const process = this.#process(pid, name);
    process.libraries = libraries;
    for (const library of libraries) {
      this.#learn(library);
      if (!this.#wide.has(library.key)) this.#attachTo(process, library);
    }
    this.#lookInto(pid, true);
  }

  #process(pid: number, name: string): ProbedProcess {
    let process = this.#processes.get(pid);
    if (process === undefined) {
      process = {
        pid,
        name,
        links: new Map(),
        libraries: [],
        execedMs: undefined,
        hasSpoken: false,
        isLasting: false,
        ...this.#budgets.begin(),
      };
      this.#processes.set(pid, process);
    }
    return process;
  }

  /** A file with the library is known from here on; by policy `auto` it is attached to for all of its processes. */
  #learn(library: TlsLibrary): void {
    if (this.#known.has(library.key)) return;
    this.#known.set(library.key, library);
    if (this.#policy.kind === "auto") this.#widen(library);
    else this.#attachByName(library);
  }

  #widen(library: TlsLibrary): void {
    if (this.#wide.has(library.key) || this.#narrow.has(library.key)) return;
    const links = this.#attach(library, 0);
    if (links !== undefined) this.#wide.set(library.key, links);
  }

  #attachTo(process: ProbedProcess, library: TlsLibrary): void {
    if (process.links.has(library.key) || process.pausedUntilMs !== undefined) return;
    if (this.#isServedByName(process, library)) return;
    this.#setByName(process.pid, false);
    const links = this.#attach(library, process.pid);
    if (links !== undefined) process.links.set(library.key, links);
  }

  /** A process without probes of its own that the kernel knows by its name. */
  #isServedByName(process: ProbedProcess, library: TlsLibrary): boolean {
    return (
      !process.isLasting && process.links.size === 0 && this.#byName.has(library.key) && this.#quick.has(process.name)
    );
  }

  /** Threads may have other names than their program. */
  #noteLasting(process: ProbedProcess, nowMs: number): void {
    if (process.isLasting || process.execedMs === undefined || nowMs - process.execedMs < quickMsMax) return;
    process.isLasting = true;
    if (this.#policy.kind !== "names") return;
    for (const library of process.libraries) this.#attachTo(process, library);
  }

  /** @returns Links; undefined where the kernel refuses, or the process is gone. */
  #attach(library: TlsLibrary, pid: number): TracedLink[] | undefined {
    try {
      return attachLibrary(this.#native, this.#way, this.#attached.programs, library, pid);
    } catch (error) {
      if (!(error instanceof Error && "code" in error)) throw error;
      // The process may be gone meanwhile, and its view of the file with it.
      if (error.code !== "ESRCH" && error.code !== "ENOENT") this.#refuse(error.message);
      return undefined;
    }
  }

  #refuse(why: string): void {
    this.#refused++;
    this.#refusedWhy = why;
  }

  #wait(waiting: WaitingProcess): void {
    if (this.#waiting.size < waitingMax) this.#waiting.set(waiting.pid, waiting);
  }

  #lookAtBudget(process: ProbedProcess, sinceMs: number, nowMs: number): void {
    if (process.pausedUntilMs !== undefined) {
      if (nowMs >= process.pausedUntilMs) this.#resume(process);
      return;
    }
    if (!this.#budgets.isOver(process.pid, process, sinceMs)) return;
    this.#detachedOverBudget++;
    this.#budgets.pause(process, nowMs);
    this.#takeOff(process);
  }

  #takeOff(process: ProbedProcess): void {
    this.#setByName(process.pid, false);
    for (const links of process.links.values()) closeAll(links);
    process.links.clear();
    for (const { key } of process.libraries) this.#narrowTo(key);
    this.#lookInto(process.pid, false);
  }

  /** All processes of a file but those over their budget get probes of their own in place of the file's. */
  #narrowTo(key: string): void {
    const wide = this.#wide.get(key);
    if (wide === undefined) return;
    this.#wide.delete(key);
    this.#narrow.add(key);
    for (const process of this.#processes.values()) {
      for (const library of process.libraries) if (library.key === key) this.#attachTo(process, library);
    }
    closeAll(wide);
  }

  #resume(process: ProbedProcess): void {
    this.#budgets.resume(process.pid, process);
    this.#setByName(process.pid, true);
    for (const library of process.libraries) if (!this.#wide.has(library.key)) this.#attachTo(process, library);
    this.#lookInto(process.pid, true);
    for (const { key } of process.libraries) this.#mayWiden(key);
  }

  /** None of a file's processes is over its budget any more: the file's own probes serve all of them again. */
  #mayWiden(key: string): void {
    const library = this.#known.get(key);
    if (!this.#narrow.has(key) || library === undefined) return;
    const ofFile = [...this.#processes.values()].filter(({ libraries }) => libraries.some((one) => one.key === key));
    if (ofFile.some(({ pausedUntilMs }) => pausedUntilMs !== undefined)) return;
    this.#narrow.delete(key);
    this.#widen(library);
    if (!this.#wide.has(key)) return;
    for (const { links } of ofFile) {
      closeAll(links.get(key) ?? []);
      links.delete(key);
    }
  }
}

/** What a process is called: by the kernel, and by the file of its program; undefined where it is gone. */
function namesOf(pid: number): string[] | undefined {
  try {
    const names = [readFileSync(`/proc/${pid}/comm`, "utf8").trim()];
    try {
      names.push(basename(readlinkSync(`/proc/${pid}/exe`)));
    } catch {
      return names; // A kernel's thread, or another user's: one name has to do.
    }
    return names;
  } catch {
    return undefined; // Gone.
  }
}
