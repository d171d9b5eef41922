/**
 * What metrics of one request are, by the names they got; and which of those names metrics of several types or units got.
 */

import { quotedText } from "../model/labels-text.ts";
import type { MetricMetadata } from "../model/series.ts";

/** Metrics of one request that are described. */
const METADATA_MAX = 10_000;
/** Metrics of several types or units that the sender is told of, with so many UTF-16 units of each name. */
const MIXED_TOLD_MAX = 10;
const NAME_UNITS_TOLD_MAX = 100;

/** Made for one request. */
export class RequestMetadata {
  readonly #byName = new Map<string, { readonly metadata: MetricMetadata; readonly sentName: string }>();
  readonly #mixed = new Set<string>();
  readonly #told: string[] = [];

  /** Names that metrics of several types or units got. */
  get mixed(): number {
    return this.#mixed.size;
  }

  /** What the sender is told of those. */
  get told(): readonly string[] {
    return this.#told;
  }

  all(): MetricMetadata[] {
    return Array.from(this.#byName.values(), ({ metadata }) => metadata);
  }

  /** Takes what a metric is, in place of what one of the same name was. @param sentName What its sender calls it. */
  describe(metadata: MetricMetadata, sentName: string): void {
    if (this.#byName.size >= METADATA_MAX) return;
    const { name, type, unit } = metadata;
    const before = this.#byName.get(name);
    if (before !== undefined && (before.metadata.type !== type || before.metadata.unit !== unit)) {
      const both = `${described(before.metadata, before.sentName)} and ${described(metadata, sentName)}`;
      this.#mix(name, `OTLP metrics ${both} become one metric ${shortText(name)}`);
    }
    this.#byName.set(name, { metadata, sentName });
  }

  #mix(name: string, what: string): void {
    if (this.#mixed.has(name)) return;
    this.#mixed.add(name);
    if (this.#told.length < MIXED_TOLD_MAX) this.#told.push(what);
  }
}

function described({ type, unit }: MetricMetadata, sentName: string): string {
  return `${shortText(sentName)} (${unit === "" ? type : `${type}, ${unit}`})`;
}

function shortText(name: string): string {
  return quotedText(name.slice(0, NAME_UNITS_TOLD_MAX));
}
