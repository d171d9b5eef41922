/** Random selectors, ranges, modifiers of time and durations. */

import type { Random } from "./random.ts";
import type { Tally } from "./tally.ts";
import type { Family, World } from "./world.ts";

/** What a range is asked with. */
type RangeMode = "none" | "anchored" | "smoothed";

const RANGES = ["1m", "2m", "5m", "45s", "15s", "10m", "1s", "3m20s", "30m", "90"] as const;
const OFFSETS = ["1m", "15s", "5m", "-1m", "-7s", "90", "-90", "1ms", "1h"] as const;

/** Makes what selects samples. */
export class SelectorMaker {
  readonly #world: World;
  readonly #random: Random;
  readonly #tally: Tally;

  constructor(world: World, random: Random, tally: Tally) {
    this.#world = world;
    this.#random = random;
    this.#tally = tally;
  }

  /** An instant selector. */
  instant(kind: Family["kind"] | "any"): string {
    const selector = this.#selector(kind);
    const smoothed = this.#random.chance(0.04);
    if (smoothed) this.#tally.add(["modifier:smoothed selector"]);
    return `${selector}${smoothed ? " smoothed" : ""}${this.times()}`;
  }

  /** A range selector. */
  range(kind: Family["kind"] | "any", mode: RangeMode): string {
    const selector = `${this.#selector(kind)}[${this.duration(RANGES, false)}]`;
    if (mode !== "none") this.#tally.add([`modifier:${mode}`]);
    return `${selector}${mode === "none" ? "" : ` ${mode}`}${this.times()}`;
  }

  /** Mostly nothing; else `@`, `offset` or both. */
  times(): string {
    const random = this.#random;
    if (random.chance(0.72)) return "";
    const parts: string[] = [];
    if (random.chance(0.55)) parts.push(this.#offset());
    if (parts.length === 0 || random.chance(0.3)) parts.splice(random.whole(0, parts.length), 0, this.#at());
    return ` ${parts.join(" ")}`;
  }

  #offset(): string {
    const random = this.#random;
    if (random.chance(0.25)) {
      this.#tally.add(["modifier:offset duration expression"]);
      return `offset ${random.pick(["(1m + 15s)", "-(30s * 2)", "step()", "range()", "(step() / 2)", "max_of(step(), 10s)", "min_of(1m, range())", "-step()"])}`;
    }
    const by = random.pick(OFFSETS);
    this.#tally.add([by.startsWith("-") ? "modifier:offset negative" : "modifier:offset"]);
    return `offset ${by}`;
  }

  #at(): string {
    const random = this.#random;
    const form = this.#tally.rarer(random, "modifier", ["@ start()", "@ end()", "@ time"]);
    this.#tally.add([`modifier:${form}`]);
    if (form !== "@ time") return form;
    const { startMs, endMs } = this.#world;
    const atMs = random.chance(0.8)
      ? random.whole(startMs, endMs)
      : random.whole(startMs, endMs) + random.pick([-1e6, 1e6, 1e10]);
    return `@ ${random.chance(0.5) ? Math.round(atMs / 15_000) * 15 : atMs / 1000}`;
  }

  /** A duration, at times as arithmetic; a `step` must not be small in an instant query, where `step()` is 0. */
  duration(choices: readonly [string, ...string[]], isStep: boolean): string {
    const random = this.#random;
    if (random.chance(0.85)) return random.pick(choices);
    this.#tally.add(["modifier:duration expression"]);
    const one = random.pick(choices);
    const other = random.pick(choices);
    const least = isStep ? "max_of(step(), 30s)" : "max_of(step() * 3, 1m)";
    return random.pick([
      `${one} + ${other}`,
      `${one} * 2`,
      `(${one} + 1s)`,
      least,
      `max_of(range(), ${one})`,
      `min_of(${one}, ${other})`,
      `${one} * 2 - ${one}`,
      `3 ^ 2 * 10`,
      `${one} + step()`,
      `200 % 130`,
      `-(-${one})`,
    ]);
  }

  #selector(kind: Family["kind"] | "any"): string {
    const random = this.#random;
    const known = kind === "any" ? this.#world.families : this.#world.families.filter((family) => family.kind === kind);
    // A family whose label `kind` tells series of different nature apart counts as one metric for each.
    const choices = (known.length > 0 ? known : this.#world.families).flatMap(({ name, labels }) =>
      (labels["kind"] ?? [""]).map((one) => (one === "" ? name : `${name} ${one}`)),
    );
    const [first = "", ...rest] = choices;
    const choice = this.#tally.rarer(random, "metric", [first, ...rest]);
    const [name = "", nature = ""] = choice.split(" ");
    const family = this.#world.families.find((one) => one.name === name);
    if (family === undefined) return name;
    this.#tally.add([`metric:${choice}`, `kind:${family.kind}`]);
    const matchers = this.#matchers(family);
    if (nature !== "" && random.chance(0.85)) matchers.push(`kind=${JSON.stringify(nature)}`);
    if (random.chance(0.06)) return this.#byPattern(matchers);
    const isPlain = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/.test(name);
    const isBare = isPlain || random.chance(0.4);
    if (!isPlain) this.#tally.add([isBare ? "name:unquoted" : "name:quoted"]);
    if (isBare) return matchers.length === 0 ? name : `${name}{${matchers.join(",")}}`;
    return `{${[JSON.stringify(name), ...matchers].join(", ")}}`;
  }

  /** Several metrics at once. */
  #byPattern(matchers: readonly string[]): string {
    this.#tally.add(["name:pattern"]);
    const random = this.#random;
    const pattern = random.pick([
      '__name__=~"queue_.*"',
      '__name__=~"(requests|errors)_total"',
      '__name__=~"latency_(sum|count)"',
      '__name__=~"size|heat"',
      '__name__=~"mixed|spread"',
      '__name__=~"twin.*"',
      '__name__!~".*[a-z].*"',
      '__name__=~".*_limit|odd"',
    ]);
    return `{${[pattern, ...matchers].join(", ")}}`;
  }

  #matchers(family: Family): string[] {
    const random = this.#random;
    const out: string[] = [];
    for (const [label, values] of Object.entries(family.labels)) {
      if (!random.chance(label === "kind" ? 0.05 : 0.2)) continue;
      const value = values[random.whole(0, values.length - 1)] ?? "";
      const other = values[random.whole(0, values.length - 1)] ?? "";
      this.#tally.add(["matcher:label"]);
      const name = /^[a-zA-Z_][a-zA-Z0-9_]*$/.test(label) ? label : JSON.stringify(label);
      const quoted = (text: string) => text.replace(/[.?*+|(){}[\]^$\\]/g, "\\$&");
      out.push(
        random.pick([
          `${name}=${JSON.stringify(value)}`,
          `${name}!=${JSON.stringify(value)}`,
          `${name}=~${JSON.stringify(`${quoted(value)}|${quoted(other)}`)}`,
          `${name}!~${JSON.stringify(`${quoted(value)}.*`)}`,
        ]),
      );
    }
    return out;
  }
}
