/**
 * All rule groups: loaded from files, started, replaced when the files are loaded again, stopped.
 *
 * A load that fails changes nothing. Groups that did not change go on as they are; what a changed rule knew of its
 * alerts and series stays with the rule of the same name and labels.
 */

import type { ParseOptions } from "../../grammar/promql-parse.ts";
import type { RuleGroupState } from "../query/doors.ts";
import { type RuleGroupSpec, readRuleFile } from "./rule-file.ts";
import { RuleGroup, type RuleGroupDeps } from "./rule-group.ts";

/** Rules of all files. */
const RULES_MAX = 100_000;

/** A file that was read. */
export interface RuleFile {
  readonly name: string;
  readonly text: string;
}

/** What the engine needs. */
export interface RuleEngineOptions extends RuleGroupDeps {
  readonly syntax: ParseOptions;
  /** Reads every file that the patterns name. @throws Error naming the file. */
  readonly readFiles: () => Promise<readonly RuleFile[]>;
}

/** How a load went. */
export type RuleLoad =
  | { readonly kind: "loaded"; readonly rules: number; readonly warnings: readonly string[] }
  | { readonly kind: "refused"; readonly reasons: readonly string[] };

/** Groups that run. */
export class RuleEngine {
  readonly #options: RuleEngineOptions;
  #groups = new Map<string, RuleGroup>();
  #isFirst = true;
  #stopped = false;
  /** Loads wait for each other. */
  #loading: Promise<unknown> = Promise.resolve();
  /** Timers of groups that are gone and whose series are still to be marked. */
  readonly #ending = new Set<NodeJS.Timeout>();

  constructor(options: RuleEngineOptions) {
    this.#options = options;
  }

  /** Loads the files, for the first time or again. */
  load(): Promise<RuleLoad> {
    const loaded = this.#loading.then(() => this.#load());
    this.#loading = loaded.catch(() => {});
    return loaded;
  }

  /** Groups by file and name. */
  groups(): readonly RuleGroupState[] {
    return [...this.#groups.values()].sort(compareGroups).map((group) => group.state());
  }

  /** Stops all groups; resolves once nothing is under way. */
  async stop(): Promise<void> {
    this.#stopped = true;
    for (const timer of this.#ending) clearTimeout(timer);
    const stopAll = () => Promise.all([...this.#groups.values()].map((group) => group.stop()));
    await stopAll();
    // What a load that was under way has started.
    await this.#loading;
    await stopAll();
  }

  async #load(): Promise<RuleLoad> {
    const specs: RuleGroupSpec[] = [];
    const warnings: string[] = [];
    const reasons: string[] = [];
    for (const { name, text } of await this.#options.readFiles()) {
      const outcome = readRuleFile(name, text, this.#options.syntax);
      if (outcome.kind === "refused") reasons.push(...outcome.reasons);
      else {
        specs.push(...outcome.groups);
        warnings.push(...outcome.warnings);
      }
    }
    const rules = specs.reduce((sum, group) => sum + group.rules.length, 0);
    if (rules > RULES_MAX) reasons.push(`the files hold ${rules} rules; the limit is ${RULES_MAX}`);
    if (reasons.length > 0) return { kind: "refused", reasons };
    if (!this.#stopped) await this.#replace(specs);
    this.#isFirst = false;
    return { kind: "loaded", rules, warnings };
  }

  async #replace(specs: readonly RuleGroupSpec[]): Promise<void> {
    const before = this.#groups;
    const groups = new Map<string, RuleGroup>();
    await Promise.all(
      specs.map(async (spec) => {
        const group = new RuleGroup(spec, this.#options, this.#isFirst);
        const old = before.get(group.key);
        before.delete(group.key);
        if (old !== undefined && sameGroup(old, group)) {
          groups.set(group.key, old);
          return;
        }
        groups.set(group.key, group);
        if (old !== undefined) {
          await old.stop();
          group.copyFrom(old);
        }
        group.start();
      }),
    );
    await Promise.all([...before.values()].map((group) => this.#end(group)));
    this.#groups = groups;
  }

  /** Its series are marked after two intervals: a rule of another name may give them by then. */
  async #end(group: RuleGroup): Promise<void> {
    await group.stop();
    const endedMs = this.#options.clock.nowMs();
    const timer = setTimeout(() => {
      this.#ending.delete(timer);
      void group.markStale(endedMs);
    }, 2 * group.intervalMs);
    timer.unref();
    this.#ending.add(timer);
  }
}

function sameGroup(left: RuleGroup, right: RuleGroup): boolean {
  return left.intervalMs === right.intervalMs && JSON.stringify(left.spec) === JSON.stringify(right.spec);
}

function compareGroups({ spec: a }: RuleGroup, { spec: b }: RuleGroup): number {
  if (a.file !== b.file) return a.file < b.file ? -1 : 1;
  return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}
