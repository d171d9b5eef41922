/** What the tests of rules share: a group over a real store and real workers, time that a test moves. */

import type { TestContext } from "node:test";
import type { Labels, SeriesToAppend } from "../model/series.ts";
import type { PromqlDoor } from "../query/doors.ts";
import { PROMQL_DEFAULTS, parseOptions } from "../query/promql/query.ts";
import { openPromqlDoor } from "../query/promql-door.ts";
import type { Store } from "../store/store.ts";
import { FakeClock, openIn, temporaryDirectory } from "../store/store-fixture.ts";
import type { Alert } from "./alert-state.ts";
import { readRuleFile } from "./rule-file.ts";
import { RuleGroup, type RuleGroupDeps } from "./rule-group.ts";
import { ruleSample } from "./rule-samples.ts";

/** Every switch that rules of tests use. */
export const SYNTAX = parseOptions({ ...PROMQL_DEFAULTS, experimentalFunctions: true });

/** A store with rules on it. */
export interface RuleBench {
  readonly store: Store;
  readonly clock: FakeClock;
  readonly deps: RuleGroupDeps;
  /** What was handed to the notifier, as `STATE alertname`. */
  readonly notified: { readonly expression: string; readonly alerts: readonly Alert[] }[];
  readonly logged: string[];
  /** A group of the text of a rule file with one group. */
  group(text: string, restores?: boolean): RuleGroup;
  /** Stores samples at the clock's time. */
  put(...samples: readonly (readonly [labels: Labels, value: number])[]): Promise<void>;
  /** An instant query at the clock's time: series as text, values. */
  ask(query: string): Promise<Record<string, number>>;
}

/** Opens a store and workers that are closed when the test ends. */
export async function ruleBench(t: TestContext, directory?: string): Promise<RuleBench> {
  const clock = new FakeClock();
  let door: PromqlDoor | undefined;
  const at = directory ?? (await temporaryDirectory(t, async () => door?.close()));
  const store = await openIn(t, at, clock);
  const opened = openPromqlDoor({ reader: store.reader, clock });
  door = opened;
  if (directory !== undefined) t.after(() => opened.close());
  const notified: { expression: string; alerts: readonly Alert[] }[] = [];
  const logged: string[] = [];
  const deps: RuleGroupDeps = {
    writer: store.writer,
    select: (matchers, minMs, maxMs) => store.reader.select(matchers, minMs, maxMs),
    evaluate: (query, timeMs) => opened.evaluate({ query, timeMs, timeoutMs: 10_000 }),
    clock,
    intervalMs: 60_000,
    resendMs: 60_000,
    externalUrl: "http://rules.example",
    externalLabels: [["region", "eu"]],
    notify: (expression, alerts) => notified.push({ expression, alerts: alerts.map((alert) => ({ ...alert })) }),
    onTemplateFailure: (alert, why) => logged.push(`${alert}: ${why}`),
    onIteration: () => {},
    onRule: (_, rule, error) => {
      if (error !== "") logged.push(`${rule}: ${error}`);
    },
    onGroup: () => {},
  };
  return {
    store,
    clock,
    deps,
    notified,
    logged,
    group: (text, restores = false) => {
      const outcome = readRuleFile("rules.yml", text, SYNTAX);
      if (outcome.kind === "refused") throw new Error(outcome.reasons.join("\n"));
      const [spec] = outcome.groups;
      if (spec === undefined) throw new Error("no group");
      return new RuleGroup(spec, deps, restores);
    },
    put: async (...samples) => {
      const series: SeriesToAppend[] = samples.map(([labels, value]) => ruleSample(labels, clock.ms, value));
      await store.writer.appendSeries(series);
    },
    ask: async (query) => {
      const outcome = await opened.evaluate({ query, timeMs: clock.ms, timeoutMs: 10_000 });
      if (outcome.kind === "failed") throw new Error(outcome.message);
      return Object.fromEntries(
        outcome.samples.map(({ labels, value, histogram }) => [
          labels.map(([name, text]) => `${name}=${text}`).join(","),
          histogram === undefined ? value : histogram.count,
        ]),
      );
    },
  };
}
