/** The section `otlp` of Prometheus' configuration file: how metrics that come over OTLP become series. */

import type { Node } from "yaml";
import { quoteGo } from "../../grammar/promql-error.ts";
import type { Fields, YamlFields } from "../rules/yaml-fields.ts";
import {
  DEFAULT_TRANSLATION,
  escapesNames,
  type OtlpTranslation,
  TRANSLATION_STRATEGIES,
} from "../wire/otlp-translation.ts";

const KEYS = [
  "promote_all_resource_attributes",
  "promote_resource_attributes",
  "ignore_resource_attributes",
  "translation_strategy",
  "keep_identifying_resource_attributes",
  "convert_histograms_to_nhcb",
  "promote_scope_metadata",
  "label_name_underscore_sanitization",
  "label_name_preserve_multiple_underscores",
];

/**
 * Reads the section; what is wrong becomes a fault of `yaml`, in Prometheus' words.
 *
 * @param given Undefined where the file has none: then the defaults hold.
 * @param isLegacy Whether the file wants names of letters, digits and underscores alone.
 */
export function readOtlpSection(yaml: YamlFields, given: Node | undefined, isLegacy: boolean): OtlpTranslation {
  const fields = yaml.fields(given, KEYS, "otlp");
  const { strategy, typeAndUnitLabels, labels } = DEFAULT_TRANSLATION;
  return {
    strategy: readStrategy(yaml, fields, isLegacy) ?? strategy,
    promoted: readPromoted(yaml, given, fields),
    keepIdentifying: yaml.flag(fields, "keep_identifying_resource_attributes", false),
    promoteScope: yaml.flag(fields, "promote_scope_metadata", false),
    customBuckets: yaml.flag(fields, "convert_histograms_to_nhcb", false),
    typeAndUnitLabels,
    labels: {
      prefixUnderscore: yaml.flag(fields, "label_name_underscore_sanitization", labels.prefixUnderscore),
      keepUnderscores: yaml.flag(fields, "label_name_preserve_multiple_underscores", labels.keepUnderscores),
    },
  };
}

function readStrategy(yaml: YamlFields, fields: Fields, isLegacy: boolean): OtlpTranslation["strategy"] | undefined {
  const text = yaml.text(fields, "translation_strategy");
  const strategy = TRANSLATION_STRATEGIES.find((each) => each === text);
  const node = fields.get("translation_strategy");
  if (strategy !== undefined && isLegacy && !escapesNames(strategy)) {
    yaml.fault(node, `OTLP translation strategy ${quoteGo(text)} is not allowed when UTF8 is disabled`);
  }
  if (strategy === undefined && text !== "") {
    yaml.fault(
      node,
      `unsupported OTLP translation strategy ${quoteGo(text)}, supported: ${TRANSLATION_STRATEGIES.join(", ")}`,
    );
  }
  return strategy;
}

function readPromoted(yaml: YamlFields, given: Node | undefined, fields: Fields): OtlpTranslation["promoted"] {
  const all = yaml.flag(fields, "promote_all_resource_attributes", false);
  const promoted = yaml.items(fields.get("promote_resource_attributes"), "promote_resource_attributes");
  const ignored = yaml.items(fields.get("ignore_resource_attributes"), "ignore_resource_attributes");
  if (all && promoted.length > 0) {
    yaml.fault(
      given,
      "'promote_all_resource_attributes' and 'promote_resource_attributes' cannot be configured simultaneously",
    );
  }
  if (!all && ignored.length > 0) {
    yaml.fault(
      given,
      "'ignore_resource_attributes' cannot be configured unless 'promote_all_resource_attributes' is true",
    );
  }
  return { all, keys: all ? readKeys(yaml, ignored, "ignore") : readKeys(yaml, promoted, "promote") };
}

function readKeys(yaml: YamlFields, nodes: readonly Node[], verb: "promote" | "ignore"): ReadonlySet<string> {
  const keys = new Set<string>();
  for (const node of nodes) {
    const key = yaml.textOf(node).trim();
    const fault = (what: string) => yaml.fault(node, `invalid '${verb}_resource_attributes': ${what}`);
    if (key === "") fault(`empty ${verb}d OTel resource attribute`);
    if (keys.has(key)) fault(`duplicated ${verb}d OTel resource attribute ${quoteGo(key)}`);
    keys.add(key);
  }
  return keys;
}
