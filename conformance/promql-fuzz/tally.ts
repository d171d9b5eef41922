/** How often each feature of the language was used, and which of several comes too short. */

import type { Random } from "./random.ts";

/** Counts uses by `group:name`. */
export class Tally {
  readonly #counts = new Map<string, number>();
  #recent: string[] = [];

  /** Makes a feature show with 0 where it is never used. */
  announce(feature: string): void {
    if (!this.#counts.has(feature)) this.#counts.set(feature, 0);
  }

  count(feature: string): number {
    return this.#counts.get(feature) ?? 0;
  }

  add(features: readonly string[]): void {
    for (const feature of features) this.#counts.set(feature, this.count(feature) + 1);
    this.#recent.push(...features);
  }

  /** What was used since the last call. */
  takeRecent(): string[] {
    const recent = this.#recent;
    this.#recent = [];
    return recent;
  }

  /** One of two random choices: the one used less so far. */
  rarer<T extends string>(random: Random, group: string, choices: readonly [T, ...T[]]): T {
    const one = random.pick(choices);
    const other = random.pick(choices);
    return this.count(`${group}:${one}`) <= this.count(`${group}:${other}`) ? one : other;
  }

  /** Lines of a table, group by group, the least used first. */
  table(): string[] {
    const groups = new Map<string, [string, number][]>();
    for (const [feature, count] of this.#counts) {
      const [group = "", name = ""] = splitOnce(feature);
      const list = groups.get(group) ?? [];
      groups.set(group, list);
      list.push([name, count]);
    }
    return [...groups]
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([group, list]) => {
        const sorted = list.sort((a, b) => a[1] - b[1]).map(([name, count]) => `${name} ${count}`);
        return `${group}: ${sorted.join(", ")}`;
      });
  }

  /** Features used less than `min` times. */
  below(min: number): string[] {
    return [...this.#counts].filter(([, count]) => count < min).map(([feature, count]) => `${feature} ${count}`);
  }
}

function splitOnce(feature: string): [string, string] {
  const at = feature.indexOf(":");
  return [feature.slice(0, at), feature.slice(at + 1)];
}
