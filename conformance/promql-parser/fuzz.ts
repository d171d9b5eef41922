/**
 * The suite `promql-parser-fuzz`: texts that are PromQL or nearly so, judged and printed by us and by a real Prometheus.
 *
 * Compared are the first message with its place, or the several lines of `/api/v1/format_query`.
 */

import { join } from "node:path";
import { parseArgs } from "node:util";
import { randomFrom } from "../../grammar/test-trees.ts";
import { PROMQL_DEFAULTS, type PromqlSettings } from "../../server/query/promql/query.ts";
import { formatPromql } from "../../server/query/promql-texts.ts";
import { PROMQL_FEATURES, Prometheus } from "../prometheus.ts";
import { readRecording, writeRecording } from "../recording.ts";
import { type SuiteOutcome, SuiteReport } from "../suite.ts";
import { MutatedTexts } from "./mutated-text.ts";

const RECORDING = join(import.meta.dirname, "recorded.ndjson.gz");
const RECORDED_TEXTS = 2000;
const TEXTS_DEFAULT = 20_000;
const ASKED_AT_ONCE = 8;

/** What `PROMQL_FEATURES` switches on. */
const SWITCHED: PromqlSettings = {
  ...PROMQL_DEFAULTS,
  experimentalFunctions: true,
  fillModifiers: true,
  unquotedUtf8Names: true,
};

interface RecordedText {
  readonly text: string;
  /** Whether `PROMQL_FEATURES` were on. */
  readonly switched: boolean;
  /** How Prometheus 3.16 prints it, or its message. */
  readonly printed?: string;
  readonly message?: string;
}

/**
 * Options behind the suite's name: `--prometheus PATH` asks that Prometheus in place of the recorded answers, `--cases N`
 * so many texts, `--seed N` other ones, `--record` writes a recording.
 */
export async function runPromqlParserFuzz({ args = [] }: { args?: readonly string[] } = {}): Promise<SuiteOutcome> {
  const { values } = parseArgs({
    args: [...args],
    options: {
      prometheus: { type: "string" },
      cases: { type: "string" },
      seed: { type: "string", default: "1" },
      record: { type: "boolean", default: false },
      dir: { type: "string" },
    },
    allowPositionals: true,
  });
  const report = new SuiteReport({ quiet: true });
  if (values.prometheus === undefined) {
    for (const one of readRecording<RecordedText>(RECORDING) ?? []) judge(one, report);
    return report.outcome;
  }
  const count = Number(values.cases ?? (values.record ? RECORDED_TEXTS : TEXTS_DEFAULT));
  const recorded: RecordedText[] = [];
  for (const switched of [false, true]) {
    const texts = new MutatedTexts(randomFrom(Number(values.seed)), switched);
    const prometheus = await Prometheus.start(values.prometheus, switched ? { features: PROMQL_FEATURES } : {});
    try {
      for (let done = 0; done < count / 2; done += ASKED_AT_ONCE) {
        const some = Array.from({ length: ASKED_AT_ONCE }, () => texts.next());
        for (const one of await Promise.all(some.map((text) => ask(prometheus.http, text, switched)))) {
          judge(one, report);
          recorded.push(one);
        }
      }
    } finally {
      await prometheus.discard();
    }
  }
  const refused = recorded.filter(({ message }) => message !== undefined).length;
  process.stdout.write(`${recorded.length} texts, ${refused} refused\n`);
  if (values.record) process.stdout.write(`recorded: ${writeRecording(RECORDING, recorded)} bytes\n`);
  return report.outcome;
}

async function ask(http: string, text: string, switched: boolean): Promise<RecordedText> {
  const body = new URLSearchParams({ query: text });
  const answer = await fetch(`${http}/api/v1/format_query`, { method: "POST", body });
  const { data, error }: { data?: string; error?: string } = JSON.parse(await answer.text());
  if (data !== undefined) return { text, switched, printed: data };
  return { text, switched, message: (error ?? "").replace(/^invalid parameter "query": /, "") };
}

/** Prometheus cuts some literals instead of rounding them, and so prints a millisecond less than was written. */
function sameText(got: string, want: string): boolean {
  const withoutMilliseconds = (text: string) => text.replaceAll(/(?<=\d[smhdwy])\d+ms|\b\d+ms/g, "");
  return got === want || (got.includes("ms") && withoutMilliseconds(got) === withoutMilliseconds(want));
}

function judge({ text, switched, printed, message }: RecordedText, report: SuiteReport): void {
  const outcome = formatPromql(text, switched ? SWITCHED : PROMQL_DEFAULTS);
  const got = outcome.kind === "text" ? outcome.text : outcome.message;
  const want = printed ?? message ?? "";
  const agrees = sameText(got, want) && (outcome.kind === "text") === (printed !== undefined);
  report.add(JSON.stringify(text), agrees ? "" : `got      ${JSON.stringify(got)}\nexpected ${JSON.stringify(want)}`);
}
