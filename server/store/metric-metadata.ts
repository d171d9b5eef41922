/** Types, helps and units of metrics, and which of them the log does not hold yet. */

import type { MetricMetadata } from "../model/series.ts";

const METADATA_MAX = 10_000;

/** What is known of metrics, by name. */
export class MetadataTable {
  readonly #known = new Map<string, MetricMetadata>();
  readonly #announced = new Set<string>();
  /** Log segment that starts with all of it. */
  #describedIn = 0;

  /** Something was announced since the last write to the log. */
  get isDue(): boolean {
    return this.#announced.size > 0;
  }

  all(): MetricMetadata[] {
    return [...this.#known.values()];
  }

  /** Keeps what the log said. */
  keep(metadata: MetricMetadata): boolean {
    if (this.#known.size >= METADATA_MAX && !this.#known.has(metadata.name)) return false;
    this.#known.set(metadata.name, metadata);
    return true;
  }

  /** Keeps what somebody announced. @returns Whether it is something that the log does not hold. */
  announce(metadata: MetricMetadata): boolean {
    const known = this.#known.get(metadata.name);
    const { type, help, unit } = metadata;
    if (known !== undefined && known.type === type && known.help === help && known.unit === unit) return false;
    if (!this.keep(metadata)) return false;
    this.#announced.add(metadata.name);
    return true;
  }

  /** What a write to this segment must bring: all at its start, what is announced later. */
  dueIn(segment: number): MetricMetadata[] {
    const names = this.#describedIn === segment ? this.#announced : this.#known.keys();
    return [...names].flatMap((name) => this.#known.get(name) ?? []);
  }

  /** The log holds all of it, the last in this segment. */
  written(segment: number): void {
    this.#describedIn = segment;
    this.#announced.clear();
  }

  /** Stops asking for a write: whoever announced it does so again. */
  giveUp(): void {
    this.#announced.clear();
  }
}
