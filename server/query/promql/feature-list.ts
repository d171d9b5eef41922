/** What of PromQL is on, in the words of Prometheus' `/api/v1/features`. */

import { promqlFunctions } from "../../../grammar/promql-function.ts";
import type { PromqlSettings } from "./query.ts";

const OPERATORS =
  "!= !~ % * + - / < </ <= == =~ > >/ >= @ ^ and atan2 avg bottomk count count_values group max min or quantile stddev " +
  "stdvar sum topk unless";
const EXPERIMENTAL_OPERATORS = "limit_ratio limitk";
const ALWAYS_ON =
  "anchored at_modifier bool by duration_expr group_left group_right ignoring negative_offset offset on " +
  "per_query_lookback_delta smoothed subqueries without";

/** Features by name and whether they are on. */
export type FeatureList = Readonly<Record<string, boolean>>;

/** The categories that concern PromQL. */
export function promqlFeatureList(settings: PromqlSettings): Readonly<Record<string, FeatureList>> {
  const { experimentalFunctions, fillModifiers } = settings;
  return {
    promql: sorted({
      ...each(ALWAYS_ON, true),
      ...each("fill fill_left fill_right", fillModifiers),
      delayed_name_removal: settings.delayedNameRemoval,
      per_step_stats: settings.perStepStats,
      type_and_unit_labels: settings.typeAndUnitLabels,
      unquoted_utf8_names: settings.unquotedUtf8Names,
    }),
    promql_functions: sorted(
      Object.fromEntries(
        [...promqlFunctions()].map(({ name, experimental }) => [
          name,
          !experimental || (experimentalFunctions && (name !== "start_timestamp" || settings.useStartTimestamps)),
        ]),
      ),
    ),
    promql_operators: sorted({ ...each(OPERATORS, true), ...each(EXPERIMENTAL_OPERATORS, experimentalFunctions) }),
  };
}

function each(names: string, on: boolean): FeatureList {
  return Object.fromEntries(names.split(" ").map((name) => [name, on]));
}

function sorted(list: FeatureList): FeatureList {
  return Object.fromEntries(Object.entries(list).sort((a, b) => (a[0] < b[0] ? -1 : 1)));
}
