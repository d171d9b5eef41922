/** Prometheus' names of `--enable-feature` and what they mean here. */

import type { PromqlSettings } from "./query.ts";

/** The settings that are switches. */
type PromqlSwitch = {
  [Key in keyof PromqlSettings]: PromqlSettings[Key] extends boolean ? Key : never;
}[keyof PromqlSettings];

/** Features that change how queries are understood. */
const SWITCHES: ReadonlyMap<string, PromqlSwitch> = new Map<string, PromqlSwitch>([
  ["promql-experimental-functions", "experimentalFunctions"],
  ["promql-delayed-name-removal", "delayedNameRemoval"],
  ["promql-binop-fill-modifiers", "fillModifiers"],
  ["promql-unquoted-utf8-names", "unquotedUtf8Names"],
  ["use-start-timestamps", "useStartTimestamps"],
  ["promql-per-step-stats", "perStepStats"],
  ["type-and-unit-labels", "typeAndUnitLabels"],
]);

/** Features that are always on here, most of them in Prometheus too. */
const ALWAYS_ON: ReadonlySet<string> = new Set([
  "exemplar-storage",
  "histograms-st-encoding",
  "metadata-wal-records",
  "native-histograms",
  "ooo-native-histograms",
  "promql-at-modifier",
  "promql-duration-expr",
  "promql-extended-range-selectors",
  "promql-negative-offset",
  "remote-write-receiver",
  "st-storage",
]);

/** What a list of feature names asks for. */
export interface FeatureChoice {
  readonly settings: Partial<PromqlSettings>;
  /** Names that are known to nobody, or concern what Prometheus scrapes or how it lays out its files. */
  readonly ignored: readonly string[];
}

/**
 * Reads names of `--enable-feature`.
 *
 * @see https://prometheus.io/docs/prometheus/latest/feature_flags/
 */
export function chooseFeatures(names: readonly string[]): FeatureChoice {
  const settings: { -readonly [Key in PromqlSwitch]?: boolean } = {};
  const ignored: string[] = [];
  for (const name of names) {
    const key = SWITCHES.get(name);
    if (key !== undefined) settings[key] = true;
    else if (!ALWAYS_ON.has(name)) ignored.push(name);
  }
  return { settings, ignored };
}
