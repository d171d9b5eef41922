import assert from "node:assert/strict";
import { test } from "node:test";
import { type ExposedSample, ExpositionError } from "./exposition.ts";
import { LINE_UNITS_MAX, TextExposition } from "./exposition-text.ts";

/** What a sink is told, in order, and how it ended. */
function outcomeOf(pieces: readonly string[], openMetrics: boolean): string[] {
  const told: string[] = [];
  const sink = {
    describe: (metadata: object) => void told.push(JSON.stringify(metadata)),
    sample: ({ key, labels, value, timestampMs, exemplars }: ExposedSample) =>
      void told.push(JSON.stringify([key, labels(), String(value), timestampMs, exemplars])),
  };
  try {
    const [first = "", ...others] = pieces;
    const reader = new TextExposition(first, { openMetrics, isUtf8: true, isLast: others.length === 0 }, sink);
    while (reader.read(3));
    for (const [at, piece] of others.entries()) {
      reader.append(piece, { isUtf8: true, isLast: at === others.length - 1 });
      while (reader.read(3));
    }
  } catch (error) {
    if (!(error instanceof ExpositionError)) throw error;
    told.push(error.message);
  }
  return told;
}

/** A generator that is the same on every run. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * below);
  };
}

const LINES = [
  "a 1",
  'a{b="c"} 2 17',
  '{"a.b", c="d"} 3',
  'a{b="over\nlines\n\nof text"} 4',
  'a{b="a \\" and\n\\\\"} 5',
  'a{b="never closed} 6',
  'histogram_bucket{le="1"} 7 # {id="a long enough one"} 1 2',
  "# HELP a What\\nit is.",
  "# TYPE histogram histogram",
  "# UNIT a_seconds seconds",
  "# a comment",
  "",
  " \t",
  "a wrong line",
  "# EOF",
];

test("an answer in pieces is what it is as a whole", () => {
  const next = random(17);
  let whole = 0;
  for (let round = 0; round < 20_000; round++) {
    const isClean = next(2) === 0;
    const openMetrics = next(2) === 0;
    const lines = Array.from({ length: 1 + next(8) }, () => LINES[next(isClean ? 5 : LINES.length)] ?? "");
    if (openMetrics && next(3) > 0) lines.push("# EOF");
    const text = lines.join("\n") + (next(2) === 0 ? "\n" : "");
    const cuts = [...text].flatMap((letter, at) => (letter === "\n" && next(2) === 0 ? [at + 1] : []));
    const pieces = [0, ...cuts].map((from, at) => text.slice(from, cuts[at] ?? text.length));
    const wanted = outcomeOf([text], openMetrics);
    assert.deepEqual(outcomeOf(pieces, openMetrics), wanted, JSON.stringify(pieces));
    if (pieces.length > 1 && wanted.length > 2) whole++;
  }
  assert.ok(whole > 5_000);
});

test("a line whose end does not come is refused, and one of too many labels", () => {
  const long = "a".repeat(LINE_UNITS_MAX);
  assert.match(outcomeOf(['a{b="\n', `${long}\n`, "c\n"], false).join(), /^a line has more than 1048576 characters$/);
  const labels = Array.from({ length: 16_385 }, (_, at) => `l${at}="v"`);
  assert.match(outcomeOf([`a{${labels.join(",")}} 1`], false).join(), /^more than 16384 labels, in column \d+ while/);
  assert.equal(outcomeOf([`a{${labels.slice(1).join(",")}} 1`], false).length, 1);
});

test("messages hold no more than a part of a long word", () => {
  assert.equal(outcomeOf([`a ${"1".repeat(100_000)}x`], false).join().length < 1_500, true);
  assert.equal(outcomeOf([`# TYPE a ${"b".repeat(100_000)}`], false).join().length < 1_500, true);
});
