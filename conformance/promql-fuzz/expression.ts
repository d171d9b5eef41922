/** Random PromQL expressions that are well typed, over the metrics of a world. */

import { Random } from "./random.ts";
import { SelectorMaker } from "./selector.ts";
import type { Tally } from "./tally.ts";
import {
  ANCHORED_FUNCTIONS,
  ARITHMETIC,
  COMPARISONS,
  DATE_FUNCTIONS,
  HISTOGRAM_FUNCTIONS,
  OTHER_FUNCTIONS,
  PARAMETER_AGGREGATIONS,
  PLAIN_AGGREGATIONS,
  RANGE_FUNCTIONS,
  SCALAR_FUNCTIONS,
  SET_OPERATORS,
  SMOOTHED_FUNCTIONS,
  TRIMS,
  VECTOR_FUNCTIONS,
} from "./vocabulary.ts";
import type { Family, World } from "./world.ts";

/** A query as it is sent; `stepMs` 0 is an instant query. */
export interface FuzzQuery {
  readonly text: string;
  readonly startMs: number;
  readonly endMs: number;
  readonly stepMs: number;
}

const PHIS = ["0.5", "0", "1", "0.9", "0.25", "-0.1", "1.1", "NaN", "0.999", "1e-3"] as const;
const NUMBERS = [
  "0",
  "1",
  "2",
  "-1",
  "0.5",
  "3.7",
  "1e3",
  "-2.5e-3",
  "0x1F",
  "Inf",
  "-Inf",
  "NaN",
  "1e308",
  "5m",
  "1_000",
  "017",
  "-0",
] as const;
const GROUPING = [
  "job",
  "instance",
  "code",
  "kind",
  "le",
  "place",
  "__name__",
  "nothing",
  '"service.name"',
  "場所",
] as const;
const DEPTH_MAX = 3;

type Kind = Family["kind"] | "any";

/** Makes queries; what each uses is counted in the tally. */
export class ExpressionMaker {
  readonly #random: Random;
  readonly #tally: Tally;
  readonly #selectors: SelectorMaker;
  readonly #world: World;

  constructor(world: World, seed: number, tally: Tally) {
    this.#random = new Random(seed);
    this.#tally = tally;
    this.#world = world;
    this.#selectors = new SelectorMaker(world, this.#random, tally);
    for (const name of [
      ...VECTOR_FUNCTIONS,
      ...DATE_FUNCTIONS,
      ...HISTOGRAM_FUNCTIONS,
      ...RANGE_FUNCTIONS,
      ...OTHER_FUNCTIONS,
      ...SCALAR_FUNCTIONS,
    ])
      tally.announce(`function:${name}`);
    for (const name of [...PLAIN_AGGREGATIONS, ...PARAMETER_AGGREGATIONS]) tally.announce(`aggregation:${name}`);
    for (const name of [...ARITHMETIC, ...COMPARISONS, ...TRIMS, ...SET_OPERATORS]) tally.announce(`operator:${name}`);
  }

  /** The next query. */
  next(): FuzzQuery {
    const random = this.#random;
    const isInstant = random.chance(0.5);
    const times = this.#times(isInstant);
    this.#use(`query:${isInstant ? "instant" : "range"}`);
    const text = random.chance(0.06) ? this.#special(isInstant) : this.#vector(random.whole(1, DEPTH_MAX), "any");
    return { text, ...times };
  }

  #use(feature: string): void {
    this.#tally.add([feature]);
  }

  #times(isInstant: boolean): Omit<FuzzQuery, "text"> {
    const random = this.#random;
    const { startMs, endMs } = this.#world;
    const span = endMs - startMs;
    // Mostly among the samples and on the very millisecond of some; now and then before, behind and far away.
    let at = startMs + random.whole(0, span / 15_000) * 15_000;
    if (random.chance(0.3)) at = startMs + random.whole(-600_000, span + 1_200_000);
    if (random.chance(0.02)) at = random.pick([0, -3_600_000, startMs + 86_400_000, 4_102_444_800_000]);
    if (isInstant) return { startMs: at, endMs: at, stepMs: 0 };
    const stepMs = random.pick([15_000, 60_000, 1000, 37_001, 300_000, 7_500, 123]);
    return { startMs: at, endMs: at + stepMs * random.whole(0, 7) + (random.chance(0.2) ? 1 : 0), stepMs };
  }

  /** What is no vector at the top: scalars, strings, raw ranges. */
  #special(isInstant: boolean): string {
    const random = this.#random;
    const form = random.pick(["scalar", "scalar", "string", "range", "subquery"]);
    this.#use(`top:${form}`);
    if (form === "scalar" || !isInstant) return this.#scalar(2);
    if (form === "string") return random.pick(['"text"', "'a\\n\"b'", "`raw\\n`", '"\\u00e9"']);
    return form === "range" ? this.#selectors.range(this.#anyKind(), "none") : this.#subquery(1, "any");
  }

  #anyKind(): Kind {
    return this.#random.pick(["gauge", "counter", "native", "native", "mixed", "classic", "any"]);
  }

  #vector(depth: number, kind: Kind): string {
    const random = this.#random;
    if (depth <= 0) return this.#selectors.instant(kind);
    const form = random.pick([
      "selector",
      ...Array<"function">(8).fill("function"),
      ...Array<"range">(5).fill("range"),
      ...Array<"aggregation">(3).fill("aggregation"),
      ...Array<"binary">(3).fill("binary"),
      "scalars",
      "unary",
      "paren",
    ]);
    switch (form) {
      case "selector":
        return this.#selectors.instant(kind);
      case "function":
        return this.#function(depth - 1, kind);
      case "range":
        return this.#rangeFunction(depth - 1, kind);
      case "aggregation":
        return this.#aggregation(depth - 1, kind);
      case "binary":
        return this.#binary(depth - 1, kind);
      case "scalars":
        return this.#withScalar(depth - 1, kind);
      case "unary":
        this.#use("operator:unary -");
        return `-${this.#operand(depth - 1, kind)}`;
      default:
        return `(${this.#vector(depth - 1, kind)})`;
    }
  }

  #scalar(depth: number): string {
    const random = this.#random;
    if (depth <= 0 || random.chance(0.5)) return random.pick(NUMBERS);
    if (random.chance(0.25)) {
      const op = this.#tally.rarer(random, "operator", [...ARITHMETIC, ...COMPARISONS]);
      this.#use(`operator:${op}`);
      this.#use("matching:scalar scalar");
      const bool = isComparison(op) ? " bool" : "";
      return `(${this.#scalar(depth - 1)} ${op}${bool} ${this.#scalar(depth - 1)})`;
    }
    const name = this.#tally.rarer(random, "function", SCALAR_FUNCTIONS);
    this.#use(`function:${name}`);
    if (name === "scalar") return `scalar(${this.#vector(depth - 1, "any")})`;
    if (name === "max_of" || name === "min_of")
      return `${name}(${this.#scalar(depth - 1)}, ${this.#scalar(depth - 1)})`;
    return `${name}()`;
  }

  #function(depth: number, kind: Kind): string {
    const random = this.#random;
    const name = this.#tally.rarer(random, "function", [
      ...VECTOR_FUNCTIONS,
      ...DATE_FUNCTIONS,
      ...HISTOGRAM_FUNCTIONS,
      ...OTHER_FUNCTIONS,
    ]);
    this.#use(`function:${name}`);
    if (isOneOf(HISTOGRAM_FUNCTIONS, name)) return `${name}(${this.#vector(depth, this.#mostly("native"))})`;
    if (isOneOf(DATE_FUNCTIONS, name)) return random.chance(0.2) ? `${name}()` : `${name}(${this.#dates(depth)})`;
    if (isOneOf(VECTOR_FUNCTIONS, name)) return `${name}(${this.#vector(depth, kind)})`;
    return this.#otherFunction(name, depth, kind);
  }

  #dates(depth: number): string {
    return this.#random.pick([
      `${this.#vector(depth, "gauge")} * 86400 * 31`,
      `vector(time() + ${this.#random.whole(-4e9, 9e9)})`,
      this.#vector(depth, "any"),
    ]);
  }

  #mostly(kind: Kind): Kind {
    return this.#random.chance(0.9) ? kind : "any";
  }

  #otherFunction(name: (typeof OTHER_FUNCTIONS)[number], depth: number, kind: Kind): string {
    const random = this.#random;
    const vector = () => this.#vector(depth, kind);
    const buckets = () =>
      this.#vector(random.chance(0.6) ? depth : 0, random.pick(["native", "native", "classic", "any"]));
    const number = () => (random.chance(0.7) ? random.pick(NUMBERS) : this.#scalar(1));
    switch (name) {
      case "clamp":
        return `clamp(${vector()}, ${number()}, ${number()})`;
      case "clamp_max":
      case "clamp_min":
        return `${name}(${vector()}, ${number()})`;
      case "round":
        return random.chance(0.4)
          ? `round(${vector()})`
          : `round(${vector()}, ${random.pick(["0.1", "5", "0", "-2", "1e-9", "Inf"])})`;
      case "vector":
        return `vector(${this.#scalar(2)})`;
      case "double_exponential_smoothing": {
        const factor = () => random.pick(["0.5", "0.1", "0.99", "0.3", "0", "1", "2"]);
        return `${name}(${this.#range(depth, this.#mostly("gauge"))}, ${factor()}, ${factor()})`;
      }
      case "predict_linear":
        return `predict_linear(${this.#range(depth, kind)}, ${number()})`;
      case "quantile_over_time":
        return `quantile_over_time(${random.pick(PHIS)}, ${this.#range(depth, kind)})`;
      case "histogram_fraction":
        return `histogram_fraction(${this.#bound()}, ${this.#bound()}, ${buckets()})`;
      case "histogram_quantile":
        return `histogram_quantile(${random.chance(0.8) ? random.pick(PHIS) : this.#scalar(1)}, ${buckets()})`;
      case "histogram_quantiles": {
        const phis = Array.from({ length: random.whole(1, 3) }, () => random.pick(PHIS));
        return `histogram_quantiles(${buckets()}, "${random.pick(["q", "job", "quantile"])}", ${phis.join(", ")})`;
      }
      case "info":
        return this.#info(depth);
      case "label_join":
        return `label_join(${vector()}, "${random.pick(["to", "job", "instance", "__name__"])}", "${random.pick(["-", "", ":"])}"${random
          .some(["job", "instance", "nothing", "__name__"], 0.5)
          .map((label) => `, "${label}"`)
          .join("")})`;
      case "label_replace": {
        const to = random.pick(["to", "job", "instance", "__name__", "kind", "service.name"]);
        const by = random.pick(["$1", "x-$1-$2", "$" + "{1}y", "", "const", "$name", "$1a", "$$1"]);
        const pattern = random.pick(["(.*)", "(.).*", "(?P<name>[a-d]+).*", "a.*", "(a|b):(.*)", ""]);
        return `label_replace(${vector()}, "${to}", "${by}", "${random.pick(["job", "instance", "kind", "nothing", "__name__"])}", "${pattern}")`;
      }
      case "sort_by_label":
      case "sort_by_label_desc":
        return `${name}(${vector()}${random
          .some(["job", "instance", "kind", "nothing"], 0.5)
          .map((label) => `, "${label}"`)
          .join("")})`;
    }
  }

  #bound(): string {
    return this.#random.pick(["0", "1", "-1", "0.5", "2", "10", "-Inf", "Inf", "NaN", "0.001", "100", "1e300"]);
  }

  #info(depth: number): string {
    const random = this.#random;
    const operand = random.chance(0.7)
      ? this.#selectors.instant(random.pick(["counter", "gauge", "native"]))
      : this.#vector(depth, "any");
    const selector = random.pick([
      "",
      "",
      ', {version="1"}',
      ', {version=~".*"}',
      ', {__name__="build_info"}',
      ', {__name__=~".*_info", revision="x"}',
      ', {region!=""}',
      ', {nothing="x"}',
      ', {__name__!="target_info"}',
      ', {version=~"2|"}',
    ]);
    return `info(${operand}${selector})`;
  }

  /** A range vector: of a selector, or the steps of a sub-query. */
  #range(depth: number, kind: Kind): string {
    if (depth > 0 && this.#random.chance(0.3)) return this.#subquery(depth - 1, kind);
    return this.#selectors.range(kind, "none");
  }

  #subquery(depth: number, kind: Kind): string {
    const random = this.#random;
    const step = random.chance(0.25) ? "" : this.#selectors.duration(["15s", "1m", "7s", "100ms", "2m"], true);
    this.#use(step === "" ? "modifier:subquery without step" : "modifier:subquery");
    const range = this.#selectors.duration(["1m", "5m", "3m", "90s", "10m"], false);
    return `${this.#operand(depth, kind)}[${range}:${step}]${this.#selectors.times()}`;
  }

  #rangeFunction(depth: number, kind: Kind): string {
    const random = this.#random;
    const name = this.#tally.rarer(random, "function", RANGE_FUNCTIONS);
    this.#use(`function:${name}`);
    const counters = ["increase", "irate", "rate", "resets"];
    const of: Kind = counters.includes(name) && random.chance(0.6) ? random.pick(["counter", "native", "mixed"]) : kind;
    if (name === "integral") {
      const strategy = random.pick(["", "", ", 0", ", 1", ", 2", ", 3", ", NaN"]);
      return `integral(${this.#range(depth, of)}${strategy})`;
    }
    if (isOneOf(SMOOTHED_FUNCTIONS, name) && random.chance(0.4))
      return `${name}(${this.#selectors.range(of, "smoothed")})`;
    if (isOneOf(ANCHORED_FUNCTIONS, name) && random.chance(0.3))
      return `${name}(${this.#selectors.range(of, "anchored")})`;
    return `${name}(${this.#range(depth, of)})`;
  }

  #aggregation(depth: number, kind: Kind): string {
    const random = this.#random;
    const op = this.#tally.rarer(random, "aggregation", [...PLAIN_AGGREGATIONS, ...PARAMETER_AGGREGATIONS]);
    this.#use(`aggregation:${op}`);
    const operand = this.#vector(depth, kind);
    const grouping = this.#grouping();
    const parameter = this.#aggregationParameter(op);
    const inside = parameter === "" ? operand : `${parameter}, ${operand}`;
    return random.chance(0.5) ? `${op}${grouping} (${inside})` : `${op}(${inside})${grouping}`;
  }

  #aggregationParameter(op: string): string {
    const random = this.#random;
    switch (op) {
      case "topk":
      case "bottomk":
      case "limitk":
        return random.chance(0.85) ? random.pick(["1", "2", "3", "5", "0", "-1", "1.9", "100"]) : this.#scalar(1);
      case "quantile":
        return random.chance(0.85) ? random.pick(PHIS) : this.#scalar(1);
      case "limit_ratio":
        return random.pick(["0.5", "-0.5", "0.2", "-0.8", "1", "0", "-1", "1.5", "-1.5"]);
      case "count_values":
        return random.pick(['"value"', '"job"', '"a.b"']);
      default:
        return "";
    }
  }

  #grouping(): string {
    const random = this.#random;
    const form = this.#tally.rarer(random, "grouping", ["by", "without", "none"]);
    this.#use(`grouping:${form}`);
    return form === "none" ? "" : ` ${form} (${random.some(GROUPING, 0.25).join(", ")})`;
  }

  /** An operand that needs no parentheses around it. */
  #operand(depth: number, kind: Kind): string {
    return depth <= 0 ? this.#selectors.instant(kind) : `(${this.#vector(depth, kind)})`;
  }

  #withScalar(depth: number, kind: Kind): string {
    const random = this.#random;
    const op = this.#tally.rarer(random, "operator", [...ARITHMETIC, ...COMPARISONS, ...TRIMS]);
    this.#use(`operator:${op}`);
    const isTrim = isOneOf(TRIMS, op);
    const vector = this.#operand(depth, isTrim ? this.#mostly("native") : kind);
    const scalar = isTrim ? this.#bound() : this.#scalar(1);
    const bool = isComparison(op) && random.chance(0.4) ? " bool" : "";
    if (bool !== "") this.#use("modifier:bool");
    const isLeft = !isTrim && random.chance(0.4);
    this.#use(isLeft ? "matching:scalar vector" : "matching:vector scalar");
    return isLeft ? `${scalar} ${op}${bool} ${vector}` : `${vector} ${op}${bool} ${scalar}`;
  }

  #binary(depth: number, kind: Kind): string {
    const random = this.#random;
    const op = this.#tally.rarer(random, "operator", [...ARITHMETIC, ...COMPARISONS, ...SET_OPERATORS, ...TRIMS]);
    this.#use(`operator:${op}`);
    const left = this.#operand(depth, isOneOf(TRIMS, op) ? "native" : kind);
    const right = random.chance(0.25)
      ? left
      : this.#operand(random.whole(0, depth), isOneOf(TRIMS, op) ? "gauge" : kind);
    if (isOneOf(SET_OPERATORS, op)) return `${left} ${op}${this.#on("set ")} ${right}`;
    const bool = isComparison(op) && random.chance(0.4) ? " bool" : "";
    if (bool !== "") this.#use("modifier:bool");
    return `${left} ${op}${bool}${this.#on("")}${this.#grouped()}${this.#fill()} ${right}`;
  }

  #on(prefix: string): string {
    const random = this.#random;
    const form = this.#tally.rarer(random, "matching", ["on", "ignoring", "all"]);
    this.#use(`matching:${prefix}${form}`);
    this.#hasOn = form !== "all";
    if (form === "all") return "";
    const labels =
      form === "on" ? random.some(["job", "instance", "kind", "code", "nothing"], 0.45) : random.some(GROUPING, 0.3);
    return ` ${form} (${labels.join(", ")})`;
  }

  /** Grouping may only follow `on` or `ignoring`. */
  #hasOn = false;

  #grouped(): string {
    const random = this.#random;
    if (!this.#hasOn || random.chance(0.4)) return "";
    const form = this.#tally.rarer(random, "matching", ["group_left", "group_right"]);
    this.#use(`matching:${form}`);
    const labels = random.some(["place", "version", "nothing"], 0.2);
    return ` ${form} (${labels.join(", ")})`;
  }

  #fill(): string {
    const random = this.#random;
    if (random.chance(0.7)) return "";
    const value = () => random.pick(["0", "1", "-2", "NaN", "Inf"]);
    const form = this.#tally.rarer(random, "matching", ["fill", "fill_left", "fill_right", "fill both"]);
    this.#use(`matching:${form}`);
    return form === "fill both" ? ` fill_left(${value()}) fill_right(${value()})` : ` ${form}(${value()})`;
  }
}

function isComparison(op: string): boolean {
  return isOneOf(COMPARISONS, op);
}

function isOneOf<T extends string>(names: readonly T[], name: string): name is T {
  return names.some((one) => one === name);
}
