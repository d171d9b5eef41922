/** Warnings and infos of a query: they never fail it. */

import type { TextRange } from "../../../grammar/promql-tree.ts";
import { lineColumnAt } from "../../../grammar/text-position.ts";
import { printGeneral } from "./number-text.ts";

/** Annotations of one kind that an answer shows; one more line says how many were left out. */
const SHOWN_MAX = 10;

/** Different annotations of one kind that are kept; more only count. */
const KEPT_MAX = 1000;

/** What is added up over annotations that say the same. */
export type AnnotationDetail =
  /** Classic buckets that were lifted: bounds, relative difference and times between which they lie. */
  | {
      readonly kind: "forced_monotonic";
      readonly minMs: number;
      readonly maxMs: number;
      readonly minBound: number;
      readonly maxBound: number;
      readonly maxDifference: number;
      readonly samples: bigint;
    }
  /** Start timestamps before the sample before. */
  | { readonly kind: "start_overlap"; readonly occurrences: number };

interface Annotation {
  readonly position: TextRange;
  readonly detail: AnnotationDetail | undefined;
}

/**
 * Collects what a query has to say beside its result, each text once.
 *
 * Of equal texts the last place counts; of those with details, which are added up, the first.
 */
export class Annotations {
  readonly #text: string;
  readonly #warnings = new Map<string, Annotation>();
  readonly #infos = new Map<string, Annotation>();
  #warningsLost = 0;
  #infosLost = 0;

  constructor(text: string) {
    this.#text = text;
  }

  warn(message: string, position: TextRange, detail?: AnnotationDetail): undefined {
    if (!add(this.#warnings, `PromQL warning: ${message}`, position, detail)) this.#warningsLost++;
  }

  info(message: string, position: TextRange, detail?: AnnotationDetail): undefined {
    if (!add(this.#infos, `PromQL info: ${message}`, position, detail)) this.#infosLost++;
  }

  get warnings(): readonly string[] {
    return this.#print(this.#warnings, this.#warningsLost, "warning");
  }

  get infos(): readonly string[] {
    return this.#print(this.#infos, this.#infosLost, "info");
  }

  #print(all: ReadonlyMap<string, Annotation>, lost: number, name: string): readonly string[] {
    const shown: string[] = [];
    for (const [message, { position, detail }] of all) {
      if (shown.length === SHOWN_MAX) break;
      const { line, column } = lineColumnAt(this.#text, position.start);
      shown.push(`${message}${detail === undefined ? "" : printDetail(detail)} (${line}:${column})`);
    }
    const left = all.size + lost - shown.length;
    if (left > 0) shown.push(`${left} more ${name} annotations omitted`);
    return shown;
  }
}

/** False where there is no room for one more. */
function add(
  into: Map<string, Annotation>,
  message: string,
  position: TextRange,
  detail: AnnotationDetail | undefined,
): boolean {
  const before = into.get(message);
  if (before === undefined && into.size >= KEPT_MAX) return false;
  if (before?.detail === undefined || detail === undefined) into.set(message, { position, detail });
  else into.set(message, { position: before.position, detail: join(before.detail, detail) });
  return true;
}

function join(a: AnnotationDetail, b: AnnotationDetail): AnnotationDetail {
  if (a.kind === "start_overlap")
    return b.kind === a.kind ? { kind: a.kind, occurrences: a.occurrences + b.occurrences } : b;
  if (b.kind === "start_overlap") return b;
  return {
    kind: a.kind,
    minMs: Math.min(a.minMs, b.minMs),
    maxMs: Math.max(a.maxMs, b.maxMs),
    minBound: Math.min(a.minBound, b.minBound),
    maxBound: Math.max(a.maxBound, b.maxBound),
    maxDifference: Math.max(a.maxDifference, b.maxDifference),
    samples: a.samples + b.samples,
  };
}

function printDetail(detail: AnnotationDetail): string {
  if (detail.kind === "start_overlap") return detail.occurrences > 1 ? ` (${detail.occurrences} occurrences)` : "";
  const { minMs, maxMs, minBound, maxBound, maxDifference, samples } = detail;
  const bounds = `from buckets ${printGeneral(minBound)} to ${printGeneral(maxBound)}`;
  const difference = `with a max diff of ${printGeneral(maxDifference, 2)}`;
  return `, ${bounds}, ${difference}, over ${samples} samples from ${printInstant(minMs)} to ${printInstant(maxMs)}`;
}

/** RFC 3339 in UTC, whole seconds cut towards 1970. */
function printInstant(timeMs: number): string {
  return new Date(Math.trunc(timeMs / 1000) * 1000).toISOString().replace(".000Z", "Z");
}
