/** The verb `check`: `thalweg check rules FILE…` and `check config FILE…` judge files as a server would. */

import { ThalwegError } from "../model/errors.ts";
import { readPatternFiles } from "../platform/pattern-files.ts";
import { chooseFeatures } from "../query/promql/features.ts";
import { PROMQL_DEFAULTS, parseOptions } from "../query/promql/query.ts";
import { readRemoteWriteConfig } from "../remote-write/remote-write-config.ts";
import { RULE_FILE_BYTES_MAX, readRuleFile } from "../rules/rule-file.ts";
import { readScrapeConfig } from "../scrape/scrape-config.ts";

const USAGE = "Usage: thalweg check rules FILE… [--enable-feature=A,B]\n       thalweg check config FILE…\n";
const FEATURE_FLAG = "--enable-feature=";

/** 0 where all files are right, 1 where one is wrong. */
export async function check(args: readonly string[]): Promise<number> {
  const [what, ...words] = args;
  const files = words.filter((word) => !word.startsWith("--"));
  const flags = words.filter((word) => word.startsWith("--"));
  if (what === "config" && files.length > 0 && flags.length === 0) return checkConfigs(files);
  if (what !== "rules" || files.length === 0 || flags.some((flag) => !flag.startsWith(FEATURE_FLAG))) {
    process.stderr.write(USAGE);
    return 2;
  }
  const features = flags.flatMap((flag) => flag.slice(FEATURE_FLAG.length).split(","));
  const syntax = parseOptions({ ...PROMQL_DEFAULTS, ...chooseFeatures(features).settings });
  let wrong = 0;
  for (const { name, text } of await readFiles(files)) {
    process.stdout.write(`Checking ${name}\n`);
    const outcome = readRuleFile(name, text, syntax);
    if (outcome.kind === "refused") {
      wrong++;
      for (const reason of outcome.reasons) process.stderr.write(`  FAILED: ${reason}\n`);
    } else {
      const rules = outcome.groups.reduce((sum, group) => sum + group.rules.length, 0);
      for (const warning of outcome.warnings) process.stderr.write(`  WARNING: ${warning}\n`);
      process.stdout.write(`  SUCCESS: ${rules} rules found\n`);
    }
  }
  return wrong === 0 ? 0 : 1;
}

async function checkConfigs(files: readonly string[]): Promise<number> {
  let wrong = 0;
  for (const { name, text } of await readFiles(files)) {
    process.stdout.write(`Checking ${name}\n`);
    const scrapes = readScrapeConfig(name, text);
    const writes = readRemoteWriteConfig(name, text, []);
    // Both tell of a file that is no YAML and of sections that nobody knows.
    const reasons = new Set([scrapes, writes].flatMap((read) => (read.kind === "refused" ? read.reasons : [])));
    if (reasons.size > 0) wrong++;
    for (const reason of reasons) process.stderr.write(`  FAILED: ${reason}\n`);
    if (reasons.size > 0 || scrapes.kind !== "jobs" || writes.kind !== "targets") continue;
    for (const warning of scrapes.warnings) process.stderr.write(`  WARNING: ${warning}\n`);
    const targets = writes.targets.length > 0 ? `, ${writes.targets.length} targets of remote write` : "";
    process.stdout.write(`  SUCCESS: ${scrapes.jobs.length} scrape jobs${targets} found\n`);
  }
  return wrong === 0 ? 0 : 1;
}

async function readFiles(patterns: readonly string[]) {
  try {
    return await readPatternFiles(patterns, RULE_FILE_BYTES_MAX);
  } catch (cause) {
    throw new ThalwegError("rules_invalid", { reason: cause instanceof Error ? cause.message : String(cause) }, cause);
  }
}
