/**
 * Chooses the rung to capture with: each is tried for real, the first that works is used, and what does not work says
 * in plain sentences why, what is lost, and what to do.
 */

import { loadNative } from "../../bpf/native.ts";
import type { CaptureSink } from "../../server/model/capture-event.ts";
import { bootClock } from "./boot-clock.ts";
import { startPacketRung } from "./packet-rung.ts";
import { replayRung } from "./replay-rung.ts";
import { type RungName, RungRefused, type RunningRung } from "./rung.ts";
import type { KernelRung } from "./socket-probes.ts";
import { startSocketRung } from "./socket-rung.ts";
import type { SynThreadSource } from "./syn-owners.ts";
import type { TlsPolicy } from "./tls-probes.ts";

/** What to capture with. */
export type LadderMode =
  | { readonly kind: "auto" }
  | { readonly kind: "rung"; readonly rung: "socket" | "fexit" | "syscall" | "packet" }
  | { readonly kind: "replay"; readonly file: string; readonly speed?: number; readonly loop?: boolean };

/** What the rungs need. */
export interface LadderDeps {
  readonly sink: CaptureSink;
  /** As for `loadNative`. */
  readonly nativeDirectory: string | undefined;
  readonly excludePids: readonly number[];
  readonly excludePorts: readonly number[];
  readonly synThread?: SynThreadSource;
  /** Processes whose TLS libraries are looked into; none unless given. */
  readonly tls?: TlsPolicy;
  /** Bytes of the ring of a rung inside the kernel, a power of two; its own choice where absent. */
  readonly ringBytes?: number | undefined;
  /** A replay that does not loop has ended. */
  readonly replayEnded?: () => void;
}

/** A rung that cannot be used. Sentences without a full stop. */
export interface RefusedRung {
  readonly rung: RungName;
  readonly why: string;
  readonly fix: string;
}

/** The outcome. `lost` and `fix` are sentences for a person; empty where nothing is lost. */
export type LadderOutcome =
  | {
      readonly kind: "running";
      readonly rung: RunningRung;
      readonly why: string;
      readonly lost: string;
      readonly fix: string;
      readonly refused: readonly RefusedRung[];
    }
  | {
      readonly kind: "none";
      readonly why: string;
      readonly lost: string;
      readonly fix: string;
      readonly refused: readonly RefusedRung[];
    };

type Starter = (deps: LadderDeps) => RunningRung;

/** The live rungs from the richest to the poorest. `fexit` and `syscall` are for kernels before 6.3. */
const LIVE_RUNGS: readonly { readonly rung: "socket" | "fexit" | "syscall" | "packet"; readonly start: Starter }[] = [
  { rung: "socket", start: startInKernel("socket") },
  { rung: "fexit", start: startInKernel("fexit") },
  { rung: "syscall", start: startInKernel("syscall") },
  { rung: "packet", start: startPacket },
];

/** What each rung cannot give. */
export const RUNG_LOST: Readonly<Record<RungName, string>> = {
  socket: "",
  fexit: "calls over AF_UNIX, where the kernel has that as a module",
  syscall:
    "bytes that io_uring moves, 32-bit programs, and connections of other network namespaces that are older than the agent",
  packet:
    "calls inside a process are not linked unless the program passes traceparent, " +
    "sockets of AF_UNIX are not seen, and traffic on the loopback of other containers is not seen",
  replay: "nothing of this machine is captured: what is shown was recorded elsewhere",
};

/**
 * Starts the best rung that the machine allows, or the one that is asked for.
 *
 * @throws nothing that a machine's state can cause; a bug in a rung is thrown as it is.
 */
export function chooseRung(mode: LadderMode, deps: LadderDeps): LadderOutcome {
  if (mode.kind === "replay") return forced("replay", () => startReplay(mode, deps), deps);
  if (mode.kind === "rung") {
    const start = mode.rung === "packet" ? startPacket : startInKernel(mode.rung);
    return forced(mode.rung, start, deps);
  }
  const refused: RefusedRung[] = [];
  for (const { rung, start } of LIVE_RUNGS) {
    const started = attempt(start, deps);
    if (!("refusal" in started)) {
      const better = refused[0];
      const why =
        better === undefined
          ? `the ${rung} rung is the richest, and it works here`
          : `${better.rung} rung: ${better.why}`;
      return { kind: "running", rung: started, why, lost: RUNG_LOST[rung], fix: better?.fix ?? "", refused };
    }
    refused.push(started.refusal);
  }
  return none(refused);
}

function forced(rung: RungName, start: Starter, deps: LadderDeps): LadderOutcome {
  const started = attempt(start, deps);
  if ("refusal" in started) return none([started.refusal]);
  const why = rung === "replay" ? "a recording was asked for" : `${rung} was asked for with --capture`;
  return { kind: "running", rung: started, why, lost: RUNG_LOST[rung], fix: "", refused: [] };
}

function none(refused: readonly RefusedRung[]): LadderOutcome {
  return {
    kind: "none",
    why: refused.map(({ rung, why }) => `${rung} rung: ${why}`).join("; "),
    lost: "no traffic of this machine is captured; spans sent over OTLP are kept and shown",
    // The poorest rung asks for the least.
    fix: refused.at(-1)?.fix ?? "",
    refused,
  };
}

function attempt(start: Starter, deps: LadderDeps): RunningRung | { readonly refusal: RefusedRung } {
  try {
    return start(deps);
  } catch (error) {
    if (!(error instanceof RungRefused)) throw error;
    return { refusal: { rung: error.rung, why: error.why, fix: error.fix } };
  }
}

function startInKernel(rung: KernelRung): Starter {
  return ({ sink, nativeDirectory, excludePids, excludePorts, ringBytes, tls = { kind: "off" } }) => {
    const loaded = loadNative(nativeDirectory);
    if (!loaded.ok) throw new RungRefused(rung, loaded.why, "use a Linux machine with glibc 2.28 or newer");
    const options = { sink, native: loaded.native, rung, excludePids, excludePorts, ringBytes, tls };
    return startSocketRung(nativeDirectory === undefined ? options : { ...options, directory: nativeDirectory });
  };
}

function startPacket({ sink, nativeDirectory, excludePids, excludePorts, synThread }: LadderDeps): RunningRung {
  return startPacketRung(sink, {
    excludePids,
    excludePorts,
    ...(nativeDirectory === undefined ? {} : { nativeDirectory }),
    ...(synThread === undefined ? {} : { synThread }),
  });
}

function startReplay(mode: Extract<LadderMode, { kind: "replay" }>, deps: LadderDeps): RunningRung {
  const { file, speed = 1, loop = false } = mode;
  const ended = deps.replayEnded;
  // The kernel's own clock where the addon loads, so that nothing else of the agent's is a few milliseconds off.
  const loaded = loadNative(deps.nativeDirectory);
  const clock = bootClock(loaded.ok ? loaded.native : undefined);
  return replayRung(file, { speed, loop, clock, ...(ended === undefined ? {} : { ended }) })(deps.sink);
}
