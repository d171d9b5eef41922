/**
 * `rules` and `alerts`: the state of rule groups in Prometheus' shape, filtered and paged as it does.
 */

import { createHash } from "node:crypto";
import type { Labels, Matcher } from "../model/series.ts";
import type { ActiveAlert, RuleGroupState, RuleState } from "../query/doors.ts";
import { matcherTest, quoteText } from "../query/promql-texts.ts";
import type { ApiDeps } from "./api-deps.ts";
import type { FormValues } from "./form-values.ts";
import { parseBoolGo, parseIntGo } from "./go-values.ts";
import type { AddRoute, PrometheusAnswer } from "./prometheus-answer.ts";
import { readMatcherSets } from "./prometheus-labels.ts";
import { invalid } from "./prometheus-parameters.ts";

const GROUPS_INT_MAX = 2 ** 31 - 1;
/** Go's zero time: a rule that was never evaluated. */
const NEVER = "0001-01-01T00:00:00Z";

/** Adds the routes. */
export function addRuleRoutes(add: AddRoute, deps: ApiDeps): void {
  add("rules", ["GET"], ({ form }) => answerRules(deps, form));
  add("alerts", ["GET"], () => {
    const alerts = deps.prometheus.ruleGroups().flatMap(({ rules }) => rules.flatMap((rule) => alertsOf(rule)));
    return { data: { alerts } };
  });
}

/** What a request wants to see. */
interface RuleFilter {
  readonly matcherSets: readonly (readonly Matcher[])[];
  readonly kinds: ReadonlySet<RuleState["kind"]>;
  readonly names: ReadonlySet<string>;
  readonly groups: ReadonlySet<string>;
  readonly files: ReadonlySet<string>;
  readonly excludeAlerts: boolean;
}

function answerRules(deps: ApiDeps, form: FormValues): PrometheusAnswer {
  const matcherSets = readMatcherSets(deps, form);
  const filter: RuleFilter = {
    matcherSets,
    kinds: readKinds(form),
    names: new Set(form.all("rule_name[]")),
    groups: new Set(form.all("rule_group[]")),
    files: new Set(form.all("file[]")),
    excludeAlerts: readExcludeAlerts(form),
  };
  const page = readPage(form);
  let found = page.token === "";
  const groups: object[] = [];
  for (const group of deps.prometheus.ruleGroups()) {
    if (!found && page.token !== groupToken(group)) continue;
    found = true;
    const shown = showGroup(group, filter);
    if (shown === undefined) continue;
    if (groups.length === page.groupsMax) return { data: { groups, groupNextToken: groupToken(group) } };
    groups.push(shown);
  }
  if (found) return { data: { groups } };
  throw invalid("group_next_token", `invalid group_next_token '${page.token}'. were rule groups changed?`);
}

function readKinds(form: FormValues): ReadonlySet<RuleState["kind"]> {
  const type = form.get("type").toLowerCase();
  switch (type) {
    case "":
      return new Set(["alerting", "recording"]);
    case "alert":
      return new Set(["alerting"]);
    case "record":
      return new Set(["recording"]);
    default:
      throw invalid("type", `not supported value ${quoteText(type)}`);
  }
}

function readExcludeAlerts(form: FormValues): boolean {
  const text = form.get("exclude_alerts").toLowerCase();
  if (text === "") return false;
  const outcome = parseBoolGo(text);
  if (outcome.kind === "value") return outcome.value;
  throw invalid("exclude_alerts", `error converting exclude_alerts: ${outcome.reason}`);
}

/** Where a page of groups begins and how many it has. */
function readPage(form: FormValues): { readonly groupsMax: number; readonly token: string } {
  const text = form.get("group_limit");
  const token = form.get("group_next_token");
  if (text === "") {
    if (token === "") return { groupsMax: Number.POSITIVE_INFINITY, token };
    throw invalid("group_next_token", "group_limit needs to be present in order to paginate over the groups");
  }
  const limit = parseIntGo(text);
  const outOfRange = limit.kind === "value" && Math.abs(limit.value) > GROUPS_INT_MAX;
  if (limit.kind === "refused" || outOfRange) {
    const why = outOfRange ? "value out of range" : "invalid syntax";
    const reason = `strconv.ParseInt: parsing ${quoteText(text)}: ${why}`;
    throw invalid("group_limit", `group_limit needs to be a valid number: ${reason}`);
  }
  if (limit.value <= 0) throw invalid("group_limit", "group_limit needs to be greater than 0");
  return { groupsMax: limit.value, token };
}

function groupToken({ file, name }: RuleGroupState): string {
  return createHash("sha256").update(`${file};${name}`).digest("hex");
}

/** A group with the rules that pass; undefined where none does. */
function showGroup(group: RuleGroupState, filter: RuleFilter): object | undefined {
  if (filter.groups.size > 0 && !filter.groups.has(group.name)) return undefined;
  if (filter.files.size > 0 && !filter.files.has(group.file)) return undefined;
  const rules = group.rules.filter((rule) => passes(rule, filter));
  if (rules.length === 0) return undefined;
  return {
    name: group.name,
    file: group.file,
    rules: rules.map((rule) => showRule(rule, filter.excludeAlerts)),
    interval: group.intervalSeconds,
    limit: group.limit,
    evaluationTime: group.evaluationSeconds,
    lastEvaluation: timeText(group.lastEvaluationMs),
  };
}

function passes(rule: RuleState, { kinds, names, matcherSets }: RuleFilter): boolean {
  if (!kinds.has(rule.kind) || (names.size > 0 && !names.has(rule.name))) return false;
  const value = (name: string) => rule.labels.find((label) => label[0] === name)?.[1] ?? "";
  return matcherSets.some((matchers) => matchers.every((matcher) => matcherTest(matcher)(value(matcher.name))));
}

function showRule(rule: RuleState, excludeAlerts: boolean): object {
  const shared = {
    name: rule.name,
    query: rule.query,
    labels: objectOf(rule.labels),
  };
  const outcome = {
    health: rule.health,
    ...(rule.lastError === "" ? {} : { lastError: rule.lastError }),
    evaluationTime: rule.evaluationSeconds,
    lastEvaluation: timeText(rule.lastEvaluationMs),
    type: rule.kind,
  };
  if (rule.kind === "recording") return { ...shared, ...outcome };
  return {
    state: rule.state,
    name: shared.name,
    query: shared.query,
    duration: rule.holdSeconds,
    keepFiringFor: rule.keepFiringSeconds,
    labels: shared.labels,
    annotations: objectOf(rule.annotations),
    alerts: excludeAlerts ? null : alertsOf(rule),
    ...outcome,
  };
}

function alertsOf(rule: RuleState): object[] {
  return rule.kind === "alerting" ? rule.alerts.map(showAlert) : [];
}

function showAlert(alert: ActiveAlert): object {
  return {
    labels: objectOf(alert.labels),
    annotations: objectOf(alert.annotations),
    state: alert.state,
    activeAt: timeText(alert.activeAtMs),
    ...(alert.keepFiringSinceMs === undefined ? {} : { keepFiringSince: timeText(alert.keepFiringSinceMs) }),
    value: exponentText(alert.value),
  };
}

function objectOf(labels: Labels): Readonly<Record<string, string>> {
  return Object.fromEntries(labels);
}

/** RFC 3339 as Go prints it: no zeros at the end of a fraction. */
function timeText(timeMs: number | undefined): string {
  if (timeMs === undefined) return NEVER;
  return new Date(timeMs).toISOString().replace(/\.?0*Z$/, "Z");
}

/** Shortest digits with an exponent of at least two: `1e+00`. */
function exponentText(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (!Number.isFinite(value)) return value > 0 ? "+Inf" : "-Inf";
  const text = Object.is(value, -0) ? "-0e+0" : value.toExponential();
  return text.replace(/e([+-])(\d)$/, "e$10$2");
}
