/**
 * Node processes that say themselves whom their calls are made for, where they may be asked (`--inject-node`).
 *
 * Invariants: a process is asked after its calls were seen to have no sure parent, and again a few times where its inspector
 * did not open, since another one may stand on Node's usual port; one is opened at a time;
 * whatever was opened is closed when this ends, also where it opened too late, and by the process itself where this cannot.
 * Nothing is sent to a process that is not Node, or whose inspector somebody else may use, nor to a port of the program's: the
 * one that its inspector opens is known beforehand. Only where that does not open are others that opened since asked, once each.
 */

import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { createServer } from "node:net";
import { basename } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import type { ToldCall } from "../../server/model/capture-event.ts";
import { inspectorPort, inspectorRefusal, isPortTaken, loopbackPorts } from "./inspected-process.ts";
import { InspectorSession } from "./inspector-session.ts";
import { BEAT, moveInspector, telling, UNDO } from "./inspector-snippet.ts";
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
/** A loop that is held up opens its inspector later than anybody waits for: so long it is looked for, closed and not asked again. */
const LATE_MS_MAX = 120_000;
/** What is told was so short a time ago, or is nothing. */
const TOLD_NS_MAX = 60e9;
/** Ports of one process that are looked at for an inspector that is not where it was told to be. */
const PORTS_MAX = 256;
const NOBODY = { told: () => {}, closed: () => {} };

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

interface Asked {
  readonly tries: number;
  readonly fromMs: number;
  /** What it was left alone for last, to be counted once. */
  readonly refusal: string | undefined;
}

/** A process that was sent the signal, and whose inspector is not known to have opened. */
interface Signalled {
  readonly start: string;
  readonly port: number;
  /** Ports that it listened on before, and those that were asked since whether they are its inspector's. */
  readonly others: Set<number>;
  readonly untilMs: number;
}

/** See the file's head. */
export class NodeInspectors {
  readonly #policy: TlsPolicy;
  readonly #owner: InspectorOwner;
  readonly #binding = `thalweg_${randomBytes(8).toString("hex")}`;
  /** Lives of processes, with how often they were asked and from when on they may be again. */
  readonly #known = new Map<string, Asked>();
  readonly #inspected = new Map<number, Inspected>();
  readonly #signalled = new Map<number, Signalled>();
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
      const { tries = 0, fromMs: waitsMs = 0, refusal: refusalBefore } = this.#known.get(life) ?? {};
      if (performance.now() < waitsMs || this.#inspected.has(pid) || this.#signalled.has(pid) || !this.#isWanted(pid))
        continue;
      if (this.#known.size >= KNOWN_MAX) this.#known.clear();
      const isFull = this.#inspected.size + this.#signalled.size >= PROCESSES_MAX;
      const refusal = isFull ? "processes_max" : (inspectorRefusal(pid) ?? portRefusal(pid));
      const again = refusal === "processes_max" || refusal === "port_taken";
      const fromMs = again ? performance.now() + RETRY_MS : Number.POSITIVE_INFINITY;
      this.#known.set(life, { tries, fromMs, refusal });
      if (refusal !== undefined) {
        if (refusal !== refusalBefore) this.#refuse(refusal);
        continue;
      }
      this.#isOpening = this.#open(pid, start).then((isOpen) => {
        this.#isOpening = undefined;
        if (isOpen || tries + 1 >= TRIES_MAX) return;
        this.#known.set(life, { tries: tries + 1, fromMs: performance.now() + RETRY_MS, refusal });
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
      for (const [pid, { port }] of this.#signalled) if (loopbackPorts(pid).has(port)) await shut(port);
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
  async #open(pid: number, start: string): Promise<boolean> {
    const excluded: number[] = [];
    let session: InspectorSession | undefined;
    try {
      const port = await this.#openAt(pid, start, excluded);
      session = await InspectorSession.open(port, {
        told: (text) => this.#tell(pid, text),
        closed: () => this.#closed(pid),
      });
      this.#signalled.delete(pid);
      await session.call("NodeRuntime.notifyWhenWaitingForDisconnect", { enabled: true });
      await session.call("Runtime.addBinding", { name: this.#binding });
      const why = await session.evaluate(telling(this.#binding));
      if (why !== "") throw new Error(String(why));
      for (const one of excluded) if (one !== port) this.#owner.exclude(one, false);
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

  /**
   * Opens the inspector of a process on a free port. Nothing is sent to other ports than those that it was told to open.
   *
   * @throws Error where it does not open.
   */
  async #openAt(pid: number, start: string, excluded: number[]): Promise<number> {
    const first = inspectorPort(pid);
    if (first === undefined) throw new Error("it has no port");
    const port = await freePort();
    for (const one of [first, port]) {
      this.#owner.exclude(one, true);
      excluded.push(one);
    }
    // Once more, as late as can be: another program may have its id, or it may have become another one.
    const others = loopbackPorts(pid);
    if (startOf(pid) !== start || inspectorRefusal(pid) !== undefined) throw new Error("it is another program");
    const untilMs = performance.now() + LATE_MS_MAX;
    this.#signalled.set(pid, { start, port: first, others, untilMs });
    process.kill(pid, "SIGUSR1");
    await portOpened(pid, first);
    await evaluateAt(first, moveInspector(port));
    // It moves once the loop has a turn, and listens there until then.
    others.add(first);
    this.#signalled.set(pid, { start, port, others, untilMs });
    await portOpened(pid, port);
    return port;
  }

  /** Closes inspectors that opened when nobody waited any more. */
  async #shutLate(): Promise<void> {
    for (const [pid, { start, port, others, untilMs }] of this.#signalled) {
      const open = startOf(pid) === start && performance.now() < untilMs ? loopbackPorts(pid) : undefined;
      if (open === undefined || (open.has(port) && (await shut(port)))) this.#signalled.delete(pid);
      if (open === undefined || open.has(port)) continue;
      // A program may have given its inspector another port than its flags did.
      for (const other of open) {
        if (others.has(other) || others.size >= PORTS_MAX) continue;
        others.add(other);
        if (await shut(other)) this.#signalled.delete(pid);
      }
    }
  }

  #tell(pid: number, text: string): void {
    const offsetNs = this.#owner.nowNs() - Number(process.hrtime.bigint());
    const words = text.split(" ");
    if (words.length !== 7) return;
    const [addr = "", port, ownPort, requestNs, callOwnPort, callPort, callNs] = words;
    this.#told++;
    const atNs = Number(callNs) + offsetNs;
    // It is the program's to say, which may say anything.
    if (!(Math.abs(this.#owner.nowNs() - atNs) < TOLD_NS_MAX)) return;
    const request =
      addr === "-"
        ? undefined
        : { addr, port: Number(port), ownPort: Number(ownPort), atNs: Number(requestNs) + offsetNs };
    const call = { ownPort: Number(callOwnPort), port: Number(callPort), atNs };
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
    if (this.#signalled.size > 0) {
      this.#isOpening ??= this.#shutLate().then(() => {
        this.#isOpening = undefined;
      });
    }
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

/** @throws Error where the process does not listen on this port of loopback in time. */
async function portOpened(pid: number, port: number): Promise<void> {
  const end = performance.now() + PORT_MS_MAX;
  while (!loopbackPorts(pid).has(port)) {
    if (performance.now() > end) throw new Error("its inspector does not open");
    await sleep(LOOK_MS);
  }
}

/** Has one expression of ours evaluated by the inspector on a port. @throws Error where it is not. */
async function evaluateAt(port: number, expression: string): Promise<void> {
  const session = await InspectorSession.open(port, NOBODY);
  try {
    await session.evaluate(expression);
  } finally {
    session.close();
  }
}

/** @returns Whether the inspector on this port was closed. */
async function shut(port: number): Promise<boolean> {
  try {
    await evaluateAt(port, UNDO);
    return true;
  } catch {
    return false; // Held up still.
  }
}

/** Where it is taken, Node says so on standard error and opens nothing; it may be free soon. */
function portRefusal(pid: number): "gone" | "port_taken" | undefined {
  try {
    const port = inspectorPort(pid);
    return port !== undefined && isPortTaken(port) ? "port_taken" : undefined;
  } catch {
    return "gone";
  }
}

/** A port of loopback that nobody listens on. */
async function freePort(): Promise<number> {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  if (address === null || typeof address === "string") throw new Error("the free port has no number");
  return address.port;
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
