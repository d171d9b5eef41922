/** How often classic buckets had to be lifted, as Prometheus counts it. */

import type { TextRange } from "../../../grammar/promql-tree.ts";
import type { Annotations } from "./annotations.ts";
import { forcedMonotonic } from "./histogram-messages.ts";
import { type StepGrid, stepTimeMs } from "./step-vector.ts";

/** Which buckets of one histogram were lifted. */
interface Lifted {
  readonly minBound: number;
  readonly maxBound: number;
  readonly maxDifference: number;
}

/** What one name has to be told of. */
interface Tally {
  readonly bySteps: Uint32Array;
  minBound: number;
  maxBound: number;
  maxDifference: number;
}

/** Collects over the steps of one call. */
export class LiftedTally {
  readonly #grid: StepGrid;
  readonly #byName = new Map<string, Tally>();

  constructor(grid: StepGrid) {
    this.#grid = grid;
  }

  /** A histogram whose buckets were lifted at a step. */
  note(step: number, name: string, { minBound, maxBound, maxDifference }: Lifted): void {
    let tally = this.#byName.get(name);
    if (tally === undefined) {
      tally = { bySteps: new Uint32Array(this.#grid.steps), minBound, maxBound, maxDifference };
      this.#byName.set(name, tally);
    }
    tally.bySteps[step] = (tally.bySteps[step] ?? 0) + 1;
    tally.minBound = Math.min(tally.minBound, minBound);
    tally.maxBound = Math.max(tally.maxBound, maxBound);
    tally.maxDifference = Math.max(tally.maxDifference, maxDifference);
  }

  /** Tells all of it. */
  say(annotations: Annotations, position: TextRange): void {
    for (const [name, { bySteps, ...lifted }] of this.#byName) {
      const detail = {
        kind: "forced_monotonic",
        ...lifted,
        minMs: stepTimeMs(
          this.#grid,
          bySteps.findIndex((count) => count > 0),
        ),
        maxMs: stepTimeMs(
          this.#grid,
          bySteps.findLastIndex((count) => count > 0),
        ),
        samples: samplesOf(bySteps),
      } as const;
      annotations.info(forcedMonotonic(name), position, detail);
    }
  }
}

/** Prometheus adds up what it knows with itself at each step after the first one that it has to tell of, in 64 bits. */
function samplesOf(bySteps: Uint32Array): bigint {
  let samples = 0n;
  for (const count of bySteps) {
    samples = samples === 0n ? BigInt(count) : BigInt.asIntN(64, 2n * (samples + BigInt(count)));
  }
  return samples;
}
