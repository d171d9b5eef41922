/**
 * Exchanges that the kernel counted, on their way to the store: each row under the resource of its process.
 */

import type { CountedCalls } from "../../server/model/capture-event.ts";
import { CountedHops, countedRow } from "./counted-rows.ts";
import type { FinishedSpanSink } from "./finished-span.ts";
import type { ObservedProcesses } from "./observed-processes.ts";

/** Sends the rows that stand for counted exchanges. */
export class CountedSpans {
  readonly #sink: FinishedSpanSink;
  readonly #processes: ObservedProcesses;
  readonly #hostName: string;
  readonly #hops = new CountedHops();
  #number = 0;
  #calls = 0;
  #rows = 0;

  constructor(sink: FinishedSpanSink, processes: ObservedProcesses, hostName: string) {
    this.#sink = sink;
    this.#processes = processes;
    this.#hostName = hostName;
  }

  /** Calls counted so far. An exchange whose two ends were counted counts twice. */
  get calls(): number {
    return this.#calls;
  }

  /** Rows that stand for them. */
  get rows(): number {
    return this.#rows;
  }

  /** Takes what was counted since the last look. @param isLast No more comes. */
  add(counted: readonly CountedCalls[], nowUnixNano: bigint, isLast: boolean): void {
    for (const hop of this.#hops.take(counted, isLast)) {
      const setting = { nowUnixNano, number: this.#number++, salt: `${this.#hostName} ${nowUnixNano}` };
      for (const kind of ["client", "server"] as const) {
        const pid = hop[kind]?.pid;
        if (pid === undefined) continue;
        const resource = this.#processes.resource(pid) ?? this.#processes.fallbackResource(`pid-${pid}`);
        this.#rows += 1;
        this.#calls += hop.weight;
        this.#sink.finished(resource, countedRow(hop, kind, setting));
      }
    }
  }
}
