/**
 * How benches print what they found: one JSON line a figure.
 */

/** A figure, with what it is compared to. */
export interface Figure {
  readonly bench: string;
  readonly measure: string;
  readonly unit: string;
  /** One value a run; the line gives their median, minimum and maximum. */
  readonly values: readonly number[];
  /** What the same work was measured with beside it; absent where there is nothing to compare with. */
  readonly peer?: { readonly name: string; readonly version: string; readonly values: readonly number[] };
  /** Ratios to the peer, one a round: of what was measured side by side. */
  readonly ratios?: readonly number[];
  /** `none` where nothing is stored. */
  readonly durability?: string;
  readonly note?: string;
}

/** Prints a figure to standard output. */
export function printFigure(figure: Figure): void {
  const { bench, measure, unit, values, peer, ratios } = figure;
  const line = {
    bench,
    measure,
    unit,
    value: rounded(median(values)),
    min: rounded(Math.min(...values)),
    max: rounded(Math.max(...values)),
    runs: values.length,
    peer: peer?.name ?? null,
    peer_version: peer?.version ?? null,
    peer_value: peer === undefined ? null : rounded(median(peer.values)),
    ratio: ratios === undefined ? null : rounded(median(ratios)),
    durability: figure.durability ?? "none",
    note: figure.note ?? "",
  };
  process.stdout.write(`${JSON.stringify(line)}\n`);
}

/** The middle value; the mean of the two middle ones where there is an even number. */
export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const [low, high] = [sorted[(sorted.length - 1) >> 1], sorted[sorted.length >> 1]];
  if (low === undefined || high === undefined) throw new Error("A figure needs at least one value.");
  return (low + high) / 2;
}

/** Four digits that mean something. */
function rounded(value: number): number {
  return Number.isInteger(value) ? value : Number(value.toPrecision(4));
}
