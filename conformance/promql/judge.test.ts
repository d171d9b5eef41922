import assert from "node:assert/strict";
import { test } from "node:test";
import { askEngine } from "./engine-answer.ts";
import { judge } from "./judge.ts";
import { MemoryStore } from "./memory-store.ts";
import { parseTestFile } from "./test-language.ts";

const DATA = `
load 1m
  a{x="1"} 1 2 3
  a{x="2"} 4+1x1 stale
  h {{count:3 sum:2 buckets:[1 2]}}+{{count:1 buckets:[1]}}x2
  c@st _ -30s -90s
  c 1 2 3
`;

/** What is wrong with each eval of a text, in its order. */
async function faults(text: string): Promise<string[]> {
  const store = new MemoryStore();
  const out: string[] = [];
  for (const command of parseTestFile(DATA + text)) {
    if (command.kind === "load") await store.load(command.series);
    else if (command.kind === "eval") out.push(judge(command, await askEngine(store, command)));
    else if (command.kind === "malformed") out.push(`malformed: ${command.why}`);
  }
  return out;
}

test("what a file wants is found", async () => {
  const found = await faults(`
eval instant at 1m a
  a{x="1"} 2
  a{x="2"} 5

eval instant at 2m a
  a{x="1"} 3

eval range from 0 to 2m step 1m a{x="2"}
  a{x="2"} 4 5 _

eval instant at 2m h
  h {{count:5 sum:2 buckets:[3 2] counter_reset_hint:not_reset}}

eval instant at 2m a[1m]
  expect range vector from 2m to 2m step 1m
    a{x="1"} 3

eval instant at 0 1 + 1
  2

eval instant at 0 "text"
  expect string 'text'

eval instant at 0 sum(
  expect fail regex: unclosed

eval range from 0 to 1m step 1m sort(a{x="1"})
  expect warn regex: ineffective
  a{x="1"} 1 2
`);
  assert.deepEqual(found, Array(9).fill(""));
});

test("what a file does not want is told", async () => {
  const found = await faults(`
eval instant at 1m a{x="1"}
  a{x="1"} 2.00001

eval instant at 1m a
  a{x="1"} 2

eval instant at 1m a{x="1"}
  a{x="1"} 2
  a{x="3"} 2

eval instant at 1m sort_desc(a)
  expect ordered
  a{x="1"} 2
  a{x="2"} 5

eval range from 0 to 2m step 1m a{x="2"}
  a{x="2"} 4 5 5

eval range from 0 to 2m step 1m a{x="1"}
  a{x="1"} 1 2

eval instant at 2m h
  h {{count:5 sum:2 buckets:[3 3]}}

eval instant at 2m h
  h {{count:5 sum:2 buckets:[3 2] counter_reset_hint:gauge}}

eval instant at 2m h
  h 5

eval instant at 0 1 + 1
  3

eval instant at 0 a
  expect fail

eval instant at 0 sum(
  expect fail msg: something else

eval instant at 0 a{x="1"}
  expect warn
  a{x="1"} 1

eval instant at 0 quantile(2, a)
  expect no_warn
  {} Inf

eval instant at 0 quantile(2, a)
  expect warn msg: another text
  {} Inf

eval instant at 1m a{x="1"}
`);
  assert.equal(found.length, 16);
  assert.deepEqual(
    found.flatMap((fault, index) => (fault === "" ? [index] : [])),
    [],
  );
});

test("what is malformed is a fault of its own, and the rest still runs", async () => {
  const found = await faults(`
eval instant at 1x a
  a 1

eval instant at 1m a{x="1"}
  a{x="1"} 2

expect nothing

load 1m
  b 1+1

load 1m
  b@st _
  b 1 2
`);
  assert.deepEqual(
    found.map((fault) => fault.startsWith("malformed")),
    [true, false, true, true, true],
  );
});
