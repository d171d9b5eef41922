/**
 * Lines of StatsD, with the tags of DogStatsD and of Telegraf: `name:value|type|@rate|#tag:value`.
 *
 * @see https://github.com/statsd/statsd/blob/master/docs/metric_types.md
 * @see https://docs.datadoghq.com/developers/dogstatsd/datagram_shell/
 */

/** What a value is: counted, added to or set, observed, or told apart. */
export type StatsdType = "counter" | "gauge" | "gauge_change" | "timer" | "distribution" | "set";

/** One observation. */
export interface StatsdSample {
  readonly name: string;
  readonly type: StatsdType;
  /** Timers in seconds; 0 for a set. */
  readonly value: number;
  /** What a set tells apart; empty otherwise. */
  readonly member: string;
  /** How many events this stands for: one in a sample rate. */
  readonly weight: number;
  /** Tags as they were written, by name. */
  readonly tags: ReadonlyMap<string, string>;
}

/** Values that one line may hold. */
const VALUES_MAX = 1_000;
const TYPES: ReadonlyMap<string, StatsdType> = new Map([
  ["c", "counter"],
  ["m", "counter"],
  ["g", "gauge"],
  ["ms", "timer"],
  ["h", "distribution"],
  ["d", "distribution"],
  ["s", "set"],
]);

/**
 * Reads a line.
 *
 * @returns Its samples, or undefined where it is none. Events and checks of DogStatsD (`_e`, `_sc`) are no samples: empty.
 */
export function readStatsdLine(line: string): readonly StatsdSample[] | undefined {
  if (line.startsWith("_e{") || line.startsWith("_sc|")) return [];
  const [head = "", typeText = "", ...parts] = line.split("|");
  const colon = head.indexOf(":");
  if (colon <= 0) return undefined;
  const type = TYPES.get(typeText);
  if (type === undefined) return undefined;
  const tags = new Map<string, string>();
  const name = nameOf(head.slice(0, colon), tags);
  let weight = 1;
  for (const part of parts) {
    if (part.startsWith("@")) {
      const rate = Number(part.slice(1));
      if (!(rate > 0 && rate <= 1)) return undefined;
      weight = 1 / rate;
    } else if (part.startsWith("#")) readTags(part.slice(1), ",", tags);
  }
  const values = head.slice(colon + 1).split(":");
  if (name === "" || values.length > VALUES_MAX) return undefined;
  const samples: StatsdSample[] = [];
  for (const text of values) {
    if (type === "set") {
      samples.push({ name, type, value: 0, member: text, weight: 1, tags });
      continue;
    }
    if (!/^[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?$/.test(text)) return undefined;
    const value = type === "timer" ? Number(text) / 1000 : Number(text);
    if (!Number.isFinite(value)) return undefined;
    const isChange = type === "gauge" && /^[+-]/.test(text);
    samples.push({ name, type: isChange ? "gauge_change" : type, value, member: "", weight, tags });
  }
  return samples;
}

/** Telegraf and others put tags behind the name: `name,tag=value`. */
function nameOf(text: string, tags: Map<string, string>): string {
  const comma = text.indexOf(",");
  if (comma === -1) return text;
  for (const pair of text.slice(comma + 1).split(",")) {
    const at = pair.indexOf("=");
    if (at > 0) tags.set(pair.slice(0, at), pair.slice(at + 1));
  }
  return text.slice(0, comma);
}

function readTags(text: string, separator: string, tags: Map<string, string>): void {
  for (const pair of text.split(separator)) {
    const at = pair.indexOf(":");
    if (at > 0) tags.set(pair.slice(0, at), pair.slice(at + 1));
    else if (pair !== "") tags.set(pair, "true");
  }
}
