/**
 * Node processes that say themselves whom their calls are made for, where they may be asked (`--inject-node`).
 *
 * Invariants: a process is asked after its calls were seen to have no sure parent, and again a few times where its inspector
 * did not open, since another one may stand on Node's usual port; one is opened at a time;
 * whatever was opened is closed when this ends, and by the process itself where this cannot. Nothing is sent to a process
 * that is not Node, or whose inspector somebody else may use.
 */

import { randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ToldCall } from "../../server/model/capture-event.ts";
import { inspectorRefusal, loopbackPorts } from "./inspected-process.ts";
import { InspectorSession } from "./inspector-session.ts";
import { BEAT, MOVE_INSPECTOR, telling, UNDO } from "./inspector-snippet.ts";
import type { TlsPolicy } from "./tls-probes.ts";

/** Processes asked at one time; others are left as they are. */
const PROCESSES_MAX = 32;
/** Processes remembered as refused or asked. */
const KNOWN_MAX = 4_096;
const BEAT_MS = 2_000;
/** A port of an inspector is there within milliseconds of an idle loop's. */
const PORT_MS_MAX = 3_000;
const TRIES_MAX = 4;
const RETRY_MS = 3_000;
const LOOK_MS = 20;
const STOP_MS_MAX = 2_000;

/** What it does now. */
export interface InspectorStatus {
  readonly processes: readonly number[];
  /** Processes that were left alone, by why. */
  readonly refused: Readonly<Record<string, number>>;
  /** Calls told, and calls not told for their number. */
  readonly told: number;
  readonly dropped: number;
}

/** Who it works for. */
export interface InspectorOwner {
  /** Boot time. */
  nowNs(): number;
  told(call: ToldCall): void;
  /** A process begins, or ends, to tell. */
  telling(pid: number, isTelling: boolean): void;
  /** Connections of an inspector are none of the program's. */
  exclude(port: number, isExcluded: boolean): void;
}

interface Inspected {
  readonly pid: number;
  readonly port: number;
  readonly session: InspectorSession;
  dropped: number;
}

/** See the file's head. */
export class NodeInspectors {
  readonly #policy: TlsPolicy;
  readonly #owner: InspectorOwner;
  readonly #binding = `thalweg_${randomBytes(8).toString("hex")}`;
  /** Lives of processes, with how often they were asked and from when on they may be again. */
  readonly #known = new Map<string, { readonly tries: number; readonly fromMs: number }>();
  readonly #inspected = new Map<number, Inspected>();
  readonly #refused = new Map<string, number>();
  readonly #beats: NodeJS.Timeout;
  #told = 0;
  #droppedBefore = 0;
  #isOpening: Promise<void> | undefined;
  #isStopping = false;

  /** @param policy Which programs may be asked. */
  constructor(policy: TlsPolicy, owner: InspectorOwner) {
    this.#policy = policy;
    this.#owner = owner;
    this.#beats = setInterval(() => this.#beat(), BEAT_MS);
    this.#beats.unref();
  }

  /** Calls of these processes have no sure parent: one of them is asked, where it may be and was not yet. */
  unsure(pids: Iterable<number>): void {
    if (this.#isOpening !== undefined || this.#isStopping) return;
    for (const pid of pids) {
      const start = startOf(pid);
      const life = `${pid} ${start}`;
      const { tries = 0, fromMs = 0 } = this.#known.get(life) ?? {};
      if (performance.now() < fromMs || this.#inspected.has(pid) || !this.#isWanted(pid)) continue;
      if (this.#known.size >= KNOWN_MAX) this.#known.clear();
      this.#known.set(life, { tries, fromMs: Number.POSITIVE_INFINITY });
      const refusal = this.#inspected.size >= PROCESSES_MAX ? "processes_max" : inspectorRefusal(pid);
      if (refusal !== undefined) {
        this.#refuse(refusal);
        continue;
      }
      this.#isOpening = this.#open(pid).then((isOpen) => {
        this.#isOpening = undefined;
        if (isOpen || tries + 1 >= TRIES_MAX) return;
        this.#known.set(life, { tries: tries + 1, fromMs: performance.now() + RETRY_MS });
      });
      return;
    }
  }

  status(): InspectorStatus {
    let dropped = this.#droppedBefore;
    for (const inspected of this.#inspected.values()) dropped += inspected.dropped;
    return {
      processes: [...this.#inspected.keys()],
      refused: Object.fromEntries(this.#refused),
      told: this.#told,
      dropped,
    };
  }

  /** Takes back everything, within two seconds. */
  async stop(): Promise<void> {
    this.#isStopping = true;
    clearInterval(this.#beats);
    const undone = async () => {
      await this.#isOpening;
      await Promise.all([...this.#inspected.values()].map(({ session }) => undo(session)));
    };
    await Promise.race([undone(), sleep(STOP_MS_MAX)]);
  }

  #isWanted(pid: number): boolean {
    if (this.#policy.kind !== "names") return this.#policy.kind === "auto";
    const { names } = this.#policy;
    return names.includes(String(pid)) || namesOf(pid).some((name) => names.includes(name));
  }

  /** @returns Whether the process tells from now on. */
  async #open(pid: number): Promise<boolean> {
    const excluded: number[] = [];
    const next = async (known: ReadonlySet<number>) => {
      const port = await portOpened(pid, known);
      this.#owner.exclude(port, true);
      excluded.push(port);
      return port;
    };
    let session: InspectorSession | undefined;
    try {
      const before = loopbackPorts(pid);
      process.kill(pid, "SIGUSR1");
      const first = await next(before);
      const nobody = { told: () => {}, closed: () => {} };
      const opening = await InspectorSession.open(first, nobody);
      await opening.evaluate(MOVE_INSPECTOR);
      opening.close();
      const port = await next(new Set([...before, first]));
      session = await InspectorSession.open(port, {
        told: (text) => this.#tell(pid, text),
        closed: () => this.#closed(pid),
      });
      await session.call("NodeRuntime.notifyWhenWaitingForDisconnect", { enabled: true });
      await session.call("Runtime.addBinding", { name: this.#binding });
      const why = await session.evaluate(telling(this.#binding));
      if (why !== "") throw new Error(String(why));
      this.#owner.exclude(first, false);
      this.#inspected.set(pid, { pid, port, session, dropped: 0 });
      this.#owner.telling(pid, true);
      return true;
    } catch {
      // A program that ends, is held up, or finds its port taken: what was opened is closed.
      if (session !== undefined) await undo(session);
      for (const port of excluded) this.#owner.exclude(port, false);
      this.#refuse("not_opened");
      return false;
    }
  }

  #tell(pid: number, text: string): void {
    const offsetNs = this.#owner.nowNs() - Number(process.hrtime.bigint());
    const words = text.split(" ");
    if (words.length !== 7) return;
    const [addr = "", port, ownPort, requestNs, callOwnPort, callPort, callNs] = words;
    this.#told++;
    const request =
      addr === "-"
        ? undefined
        : { addr, port: Number(port), ownPort: Number(ownPort), atNs: Number(requestNs) + offsetNs };
    const call = { ownPort: Number(callOwnPort), port: Number(callPort), atNs: Number(callNs) + offsetNs };
    this.#owner.told({ pid, request, call });
  }

  #closed(pid: number): void {
    const inspected = this.#inspected.get(pid);
    if (inspected === undefined) return;
    this.#inspected.delete(pid);
    this.#droppedBefore += inspected.dropped;
    this.#owner.exclude(inspected.port, false);
    this.#owner.telling(pid, false);
  }

  #beat(): void {
    for (const inspected of this.#inspected.values()) {
      inspected.session.evaluate(BEAT).then(
        (dropped) => {
          inspected.dropped = Number(dropped);
        },
        // Its loop is held up: it takes itself away where that lasts.
        () => this.#refuse("beat_unanswered"),
      );
    }
  }

  #refuse(reason: string): void {
    this.#refused.set(reason, (this.#refused.get(reason) ?? 0) + 1);
  }
}

async function undo(session: InspectorSession): Promise<void> {
  try {
    await session.evaluate(UNDO);
  } catch {
    // Gone, or held up: then it does so by itself once nobody says that this lives.
  }
  session.close();
}

/** @throws Error where no port of loopback is opened in time. */
async function portOpened(pid: number, known: ReadonlySet<number>): Promise<number> {
  const end = performance.now() + PORT_MS_MAX;
  while (performance.now() < end) {
    for (const port of loopbackPorts(pid)) if (!known.has(port)) return port;
    await sleep(LOOK_MS);
  }
  throw new Error("its inspector does not open");
}

/** Clock ticks from boot to the start of a process, which with its id names one life; empty where it is gone. */
function startOf(pid: number): string {
  const stat = read(`/proc/${pid}/stat`);
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19] ?? "";
}

/** Names of the program and of the script that it runs, which is its first word that is no flag. */
function namesOf(pid: number): string[] {
  const words = read(`/proc/${pid}/cmdline`).split("\0");
  return words
    .filter((word) => !word.startsWith("-"))
    .slice(0, 2)
    .map((word) => basename(word));
}

function read(path: string): string {
  try {
    return readFileSync(path, "latin1");
  } catch {
    return ""; // Gone.
  }
}
