/**
 * How metrics of OpenTelemetry become series: what the section `otlp` of Prometheus' configuration file sets.
 *
 * @see https://prometheus.io/docs/prometheus/latest/configuration/configuration/
 */

/** What becomes of characters that Prometheus' older names do not have, and whether units and `_total` are appended. */
export const TRANSLATION_STRATEGIES = [
  "UnderscoreEscapingWithSuffixes",
  "UnderscoreEscapingWithoutSuffixes",
  "NoUTF8EscapingWithSuffixes",
  "NoTranslation",
] as const;

/** @see TRANSLATION_STRATEGIES */
export type TranslationStrategy = (typeof TRANSLATION_STRATEGIES)[number];

/** Settings that last until the configuration is loaded again: what was made for one object holds for it alone. */
export interface OtlpTranslation {
  readonly strategy: TranslationStrategy;
  /** Attributes of a resource that become labels of all its series: those of `keys`, or all but those. */
  readonly promoted: { readonly all: boolean; readonly keys: ReadonlySet<string> };
  /** Whether what makes `job` and `instance` stands in `target_info` too. */
  readonly keepIdentifying: boolean;
  /** Whether name, version, schema URL and attributes of a scope become labels. */
  readonly promoteScope: boolean;
  /** Whether histograms with explicit bounds become native ones with custom buckets. */
  readonly customBuckets: boolean;
  /** Whether series tell type and unit of their metric in `__type__` and `__unit__`: no key of the section, but a feature. */
  readonly typeAndUnitLabels: boolean;
  /** Of labels where names are escaped: whether `key` comes before a single underscore, and runs of them stay. */
  readonly labels: LabelEscaping;
}

/** @see OtlpTranslation */
export interface LabelEscaping {
  readonly prefixUnderscore: boolean;
  readonly keepUnderscores: boolean;
}

/** Prometheus' defaults. */
export const DEFAULT_TRANSLATION: OtlpTranslation = {
  strategy: "UnderscoreEscapingWithSuffixes",
  promoted: { all: false, keys: new Set() },
  keepIdentifying: false,
  promoteScope: false,
  customBuckets: false,
  typeAndUnitLabels: false,
  labels: { prefixUnderscore: true, keepUnderscores: true },
};

/** Whether labels are escaped. */
export function escapesNames(strategy: TranslationStrategy): boolean {
  return strategy === "UnderscoreEscapingWithSuffixes" || strategy === "UnderscoreEscapingWithoutSuffixes";
}
