/**
 * The packet rung: TCP payload heads from an AF_PACKET ring, with CAP_NET_RAW and nothing else.
 *
 * Invariants: `seen = delivered + lost{reason}` at any moment, where `seen` includes what the kernel dropped, as
 * `lost.ring_full`; the kernel's own count is `packets = seen + own` once the ring is drained. The rung sends nothing.
 */

import { loadNative, type Native, type NativeError, type PacketHandle } from "../../bpf/native.ts";
import type { CaptureSink, Endpoint, Owner } from "../../server/model/capture-event.ts";
import { type BootClock, bootClock } from "./boot-clock.ts";
import { localAddresses, ownNetns } from "./local-addresses.ts";
import { OwnerLookup } from "./owner-lookup.ts";
import { addressText, addressWords, type PacketVerdict, type TcpPacket } from "./packet-decode.ts";
import { type FlowOwners, PacketFlows } from "./packet-flows.ts";
import { makePacketBuffer, type RecordClock, readPacketRecords, recordClock } from "./packet-records.ts";
import { ProcessTable } from "./process-table.ts";
import { type RungCounters, RungRefused, type RunningRung } from "./rung.ts";
import { type SynOwners, type SynThreadSource, startSynOwners } from "./syn-owners.ts";
import type { SynReport } from "./syn-report.ts";
import { LIVE_LIMITS } from "./tcp-reassembly.ts";

/** Settings of the rung. */
export interface PacketRungOptions {
  /** Directory of the addon; undefined for the committed one. */
  readonly nativeDirectory?: string;
  /** Connections tracked at once. */
  readonly connectionsMax?: number;
  /** Processes whose connections are left out, the agent's own among them. */
  readonly excludePids?: readonly number[];
  /** Ports whose connections are left out at either end. */
  readonly excludePorts?: readonly number[];
  /** Program of the SYN thread where it is not the file beside this one. */
  readonly synThread?: SynThreadSource;
}

/** What the kernel's and the rung's counts say; `packets = seen + own` once the rung is stopped, before that once it is drained. */
interface PacketCounters extends RungCounters {
  /** Packets that passed the filter, of the kernel; those dropped for a full ring included. */
  readonly packets: number;
  readonly drops: number;
  readonly received: number;
  /** Left out by process or port, the agent's own traffic among it; in neither `seen` nor `lost`. */
  readonly own: number;
  readonly repeated: number;
  readonly gaps: number;
  readonly gapBytes: number;
  readonly connectionsOpened: number;
  readonly connectionsEvicted: number;
  /** Ends by the way their owner was found. */
  readonly owners: Readonly<Record<string, number>>;
}

/** The running rung with its own counts beside the common ones. */
export interface RunningPacketRung extends RunningRung {
  counters(): PacketCounters;
  /** Processes told to the sink and alive. */
  processes(): number;
  /** Resolves once owners of short-lived clients are found, a tenth of a second after the start. */
  readonly ownersReady: Promise<void>;
  /** Why owners of short-lived clients are found less often than they could; empty where all is well. */
  readonly ownersTrouble: string;
}

/**
 * 16 MiB in small blocks: a block is handed over when its time is up, full or not, so their number times that time is
 * how long a busy machine may keep us from draining (1.3 s).
 */
const RING_OPTIONS = {
  filter: "data",
  snapBytes: 1600,
  blockBytes: 128 * 1024,
  blockCount: 128,
  retireMs: 10,
} as const;
const CONNECTIONS_MAX = 32_768;
const drainBufferBytes = 1 << 20;
/** Wake-ups cost more than packets do: few of them while little comes. */
const quietDrainMs = 25;
const drainMs = 10;
const busyDrainMs = 2;
/** A 64th of the ring in one drain is no longer little; an eighth means that the next should come soon. */
const quietBytes = 256 << 10;
const busyBytes = 2 << 20;
/** So many buffers are drained before other work gets its turn. */
const drainsPerTurnMax = 8;
const expireNs = 100e6;
const sweepNs = 5e9;

/** @throws RungRefused where the machine does not allow packet sockets. */
export function startPacketRung(sink: CaptureSink, options: PacketRungOptions = {}): RunningPacketRung {
  const loaded = loadNative(options.nativeDirectory);
  if (!loaded.ok) throw new RungRefused("packet", loaded.why, "use a Linux machine with glibc 2.28 or newer");
  const { native } = loaded;
  const packets = openPackets(native);
  return new PacketRung(native, packets, sink, options);
}

/** Opens and closes the rung's socket: is it allowed? @throws RungRefused */
export function tryPacketRung(native: Native): void {
  native.packetClose(openPackets(native));
}

function openPackets(native: Native): PacketHandle {
  try {
    return native.packetOpen(RING_OPTIONS);
  } catch (error) {
    // The addon throws nothing else from its calls.
    const { code, syscall } = error as NativeError;
    if (code === "EPERM" || code === "EACCES") {
      throw new RungRefused(
        "packet",
        "packet sockets need the capability CAP_NET_RAW, which this process lacks",
        "run it with sudo, or give the capability (docker run --cap-add NET_RAW, AmbientCapabilities=CAP_NET_RAW)",
        error,
      );
    }
    const why = `${syscall} failed with ${code}`;
    throw new RungRefused("packet", why, "use a kernel built with CONFIG_PACKET and with memory for the ring", error);
  }
}

class PacketRung implements RunningPacketRung {
  readonly name = "packet";
  readonly #native: Native;
  readonly #packets: PacketHandle;
  readonly #sink: CaptureSink;
  readonly #excludePids: ReadonlySet<number>;
  readonly #excludePorts: ReadonlySet<number>;
  readonly #clock: BootClock;
  readonly #addresses = localAddresses();
  readonly #owners: OwnerLookup;
  readonly #synOwners: SynOwners;
  readonly #table: ProcessTable;
  readonly #flows: PacketFlows;
  readonly #buffer = makePacketBuffer(drainBufferBytes);
  readonly #lost: Record<Exclude<PacketVerdict, "tcp">, number> = {
    udp: 0,
    not_tcp: 0,
    not_ip: 0,
    fragment: 0,
    malformed: 0,
    header_cut: 0,
  };
  readonly #receive: (packet: TcpPacket, bytes: Uint8Array, timeNs: number, sight: number) => void;
  readonly #lose: (reason: Exclude<PacketVerdict, "tcp">) => void;
  #received = 0;
  #undecoded = 0;
  #stats = { seen: 0, dropped: 0 };
  #times: RecordClock;
  #timesNs: number;
  #expiredNs = 0;
  #sweptNs = 0;
  #timer: NodeJS.Timeout | undefined;
  #isStopping = false;
  #isStopped = false;
  /** Packets in the ring when it was closed. */
  #stopped = 0;

  constructor(native: Native, packets: PacketHandle, sink: CaptureSink, options: PacketRungOptions) {
    this.#native = native;
    this.#packets = packets;
    this.#sink = sink;
    this.#excludePids = new Set(options.excludePids ?? [process.pid]);
    this.#excludePorts = new Set(options.excludePorts ?? []);
    this.#clock = bootClock(native);
    this.#table = new ProcessTable(sink);
    this.#owners = new OwnerLookup(native);
    const nowNs = this.#clock.nowNs();
    this.#times = recordClock(this.#clock.offset().bootToUnixNano, nowNs);
    this.#timesNs = nowNs;
    this.#addresses.refresh(nowNs);
    this.#flows = new PacketFlows(
      {
        opened: (event) => sink.opened(event),
        slice: (event) => sink.slice(event),
        closed: (socket, timeNs, reset) => {
          this.#synOwners.forget(socket);
          sink.closed(socket, timeNs, reset);
        },
      },
      {
        isLocal: (word0, word1, word2, word3) => this.#addresses.has(word0, word1, word2, word3),
        isListening: (word0, word1, word2, word3, port) =>
          this.#addresses.has(word0, word1, word2, word3) &&
          this.#owners.listenerOf({ addr: addressText(word0, word1, word2, word3), port }, this.#clock.nowNs()) !==
            undefined,
        ownersOf: (socket, client, server) => this.#ownersOf(socket, client, server),
        netns: ownNetns(),
      },
      { limits: LIVE_LIMITS, connectionsMax: options.connectionsMax ?? CONNECTIONS_MAX, oneSight: true },
    );
    this.#receive = (packet, bytes, timeNs, sight) => this.#flows.accept(packet, bytes, timeNs, sight);
    this.#lose = (reason) => {
      this.#lost[reason]++;
      this.#undecoded++;
    };
    this.#synOwners = startSynOwners(options.nativeDirectory, options.synThread, {
      arrived: (report) => this.#adopt(report),
      late: (socket, report) => this.#tellLate(socket, report),
    });
    this.#owners.prepare(nowNs);
    this.#timer = setTimeout(() => this.#turn(), quietDrainMs);
  }

  get ownersReady(): Promise<void> {
    return this.#synOwners.ready;
  }

  get ownersTrouble(): string {
    return this.#synOwners.trouble;
  }

  processes(): number {
    return this.#table.size;
  }

  clockOffset() {
    return this.#clock.offset();
  }

  counters(): PacketCounters {
    if (!this.#isStopped) this.#stats = this.#native.packetStats(this.#packets);
    const flows = this.#flows.counters;
    const drops = this.#stats.dropped;
    return {
      seen: flows.seen + this.#undecoded + drops + this.#stopped,
      delivered: flows.delivered,
      lost: { ring_full: drops, stopped: this.#stopped, ...flows.lost, ...this.#lost },
      connections: this.#flows.size,
      packets: this.#stats.seen,
      drops,
      received: this.#received,
      own: flows.own,
      repeated: flows.repeated,
      gaps: flows.gaps,
      gapBytes: flows.gapBytes,
      connectionsOpened: flows.connectionsOpened,
      connectionsEvicted: flows.connectionsEvicted,
      owners: { ...this.#owners.counters.found, over_budget: this.#owners.counters.overBudget },
    };
  }

  async stop(): Promise<void> {
    if (this.#isStopping) return;
    this.#isStopping = true;
    clearTimeout(this.#timer);
    // The block being filled is handed over when its time is up. Others go on sending: what comes after is not ours.
    await new Promise((resolve) => setTimeout(resolve, RING_OPTIONS.retireMs + 2));
    while (this.#drain() > 0);
    this.#stats = this.#native.packetStats(this.#packets);
    this.#isStopped = true;
    this.#stopped = this.#stats.seen - this.#stats.dropped - this.#received;
    this.#native.packetClose(this.#packets);
    await this.#synOwners.stop();
    this.#flows.finish(this.#clock.nowNs());
  }

  #turn(): void {
    let drained = 0;
    let isMore = true;
    for (let turn = 0; isMore && turn < drainsPerTurnMax; turn++) {
      const length = this.#drain();
      drained += length;
      isMore = length > drainBufferBytes / 2;
    }
    const nowNs = this.#clock.nowNs();
    if (nowNs - this.#expiredNs >= expireNs) this.#upkeep(nowNs);
    const restMs = drained > busyBytes ? busyDrainMs : drained > quietBytes ? drainMs : quietDrainMs;
    this.#timer = setTimeout(() => this.#turn(), isMore ? 0 : restMs);
  }

  #drain(): number {
    const length = this.#native.packetDrain(this.#packets, this.#buffer.buffer);
    // After the drain: what the thread saw before these packets is there now.
    this.#synOwners.receive();
    if (length > 0) this.#received += readPacketRecords(this.#buffer, length, this.#times, this.#receive, this.#lose);
    return length;
  }

  #upkeep(nowNs: number): void {
    this.#expiredNs = nowNs;
    this.#flows.expire(nowNs);
    this.#synOwners.expire(nowNs);
    this.#addresses.refresh(nowNs);
    if (nowNs - this.#timesNs >= 1e9) {
      this.#timesNs = nowNs;
      this.#times = recordClock(this.#clock.offset().bootToUnixNano, nowNs);
    }
    if (nowNs - this.#sweptNs < sweepNs) return;
    this.#sweptNs = nowNs;
    this.#table.sweep(nowNs);
  }

  /** Owners when a connection is told: what the SYN thread found, else a look-up now. */
  #ownersOf(socket: number, client: Endpoint, server: Endpoint): FlowOwners | "ignore" {
    const report = this.#synOwners.take(client, server);
    if (this.#excludePorts.has(client.port) || this.#excludePorts.has(server.port)) return "ignore";
    const nowNs = this.#clock.nowNs();
    let clientOwner = report?.clientOwner;
    let serverOwner = report?.serverOwner;
    if (clientOwner === undefined && this.#isLocal(client)) clientOwner = this.#owners.ofClient(client, server, nowNs);
    // A server may have begun to listen just before the SYN.
    const isServerKnown = serverOwner !== undefined && serverOwner.ownerBy !== "port";
    if (!isServerKnown && this.#isLocal(server)) serverOwner = this.#owners.ofServer(server, nowNs);
    if (this.#isExcluded(clientOwner) || this.#isExcluded(serverOwner)) return "ignore";
    if (report === undefined && clientOwner !== undefined && clientOwner.ownerBy !== "fd") {
      this.#synOwners.await(client, server, socket, nowNs);
    }
    return {
      client: this.#tell(clientOwner, "unknown", nowNs),
      server: this.#tell(serverOwner, `unknown:${server.port}`, nowNs),
    };
  }

  #isExcluded(owner: Owner | undefined): boolean {
    return owner !== undefined && owner.pid !== 0 && this.#excludePids.has(owner.pid);
  }

  #isLocal(end: Endpoint): boolean {
    const words = addressWords(end.addr);
    return words !== undefined && this.#addresses.has(...words);
  }

  /** The sink hears of a process before it hears of its connection; one that is gone unread is unknown. */
  #tell(owner: Owner | undefined, fallbackName: string, nowNs: number): Owner | undefined {
    if (owner === undefined || owner.pid === 0) return owner;
    if (this.#table.processOf(owner.pid, nowNs) !== undefined) return owner;
    return { pid: 0, ownerBy: "port", fallbackName: owner.fallbackName === "" ? fallbackName : owner.fallbackName };
  }

  #adopt(report: SynReport): void {
    for (const seen of report.processes) this.#table.adopt(seen, this.#clock.nowNs());
  }

  #tellLate(socket: number, report: SynReport): void {
    const clientOwner = this.#tell(report.clientOwner, "unknown", this.#clock.nowNs());
    if (clientOwner === undefined || clientOwner.ownerBy === "port") return;
    // A client that is local is always the `local` end: see `SocketOpened.sight`.
    this.#sink.owner(socket, "local", clientOwner);
  }
}
