/**
 * Sessions of TLS libraries, by process and by the address that the library knows them by.
 *
 * Invariant: a session leaves the table once; who takes it ends it.
 */

import type { TlsCall } from "./tls-event.ts";
import type { CallHolder, HeldCall } from "./tls-held-calls.ts";
import type { TlsRecords } from "./tls-records.ts";

/** Sessions known at one time; beyond, all are forgotten. */
const sessionsMax = 65_536;

/** A socket that may carry a session. */
export interface CipherSocket {
  readonly id: number;
  readonly isLate: boolean;
  isTls: boolean;
  isOpaqueCounted: boolean;
  /** Its process was said to speak TLS. */
  isToldOf: boolean;
  /** Sent, received. */
  records: readonly [TlsRecords, TlsRecords] | undefined;
  /** When the first record with data was seen; 0: none was. */
  firstDataNs: number;
  session: TlsSession | undefined;
}

/** A session, and the socket it is tied to. */
export interface TlsSession extends CallHolder {
  readonly pid: number;
  readonly address: number;
  readonly firstNs: number;
  /** Its handshake was seen from the beginning. */
  isFresh: boolean;
  socket: CipherSocket | undefined;
  /** Named by the read before, and by the write after, a call; 0: none yet. */
  before: number;
  after: number;
  readonly held: HeldCall[];
}

/** See the file's head. */
export class TlsSessions {
  readonly #byProcess = new Map<number, Map<number, TlsSession>>();
  readonly #forgotten: (session: TlsSession) => void;
  #count = 0;

  /** @param forgotten Is told of each session that leaves to make room. */
  constructor(forgotten: (session: TlsSession) => void) {
    this.#forgotten = forgotten;
  }

  /** The session of a call, which begins with it where none has its address. */
  of(call: TlsCall): TlsSession {
    const known = this.#byProcess.get(call.pid)?.get(call.session);
    if (known !== undefined) return known;
    if (this.#count >= sessionsMax) {
      for (const pid of [...this.#byProcess.keys()])
        for (const session of this.takeProcess(pid)) this.#forgotten(session);
    }
    const session: TlsSession = {
      pid: call.pid,
      address: call.session,
      firstNs: call.entryNs,
      isFresh: false,
      socket: undefined,
      before: 0,
      after: 0,
      held: [],
    };
    const ofProcess = this.#byProcess.get(call.pid);
    if (ofProcess === undefined) this.#byProcess.set(call.pid, new Map([[call.session, session]]));
    else ofProcess.set(call.session, session);
    this.#count++;
    return session;
  }

  /** Takes a session out; undefined where there is none. */
  take(pid: number, address: number): TlsSession | undefined {
    const ofProcess = this.#byProcess.get(pid);
    const session = ofProcess?.get(address);
    if (session === undefined) return undefined;
    ofProcess?.delete(address);
    this.#count--;
    return session;
  }

  /** Takes out all sessions of a process. */
  takeProcess(pid: number): TlsSession[] {
    const sessions = [...(this.#byProcess.get(pid)?.values() ?? [])];
    this.#byProcess.delete(pid);
    this.#count -= sessions.length;
    return sessions;
  }
}
