import assert from "node:assert/strict";
import { test } from "node:test";
import { RecentTraces } from "./recent-traces.ts";

const id = (number: number): [bigint, bigint] => [BigInt(number % 7), BigInt(number)];

function idsOf(numbers: readonly number[]): BigUint64Array {
  return BigUint64Array.from(numbers.flatMap(id));
}

test("every commit of a trace is named, over growth and forgetting", () => {
  const recent = new RecentTraces();
  const commits = new Map<number, Set<number>>();
  for (let sequence = 1; sequence <= 400; sequence++) {
    const numbers = Array.from({ length: 60 }, (_, at) =>
      at < 3 ? at : at % 2 === 0 ? sequence * 100 + at : sequence,
    );
    recent.add(sequence, idsOf(numbers));
    for (const number of numbers) commits.set(number, (commits.get(number) ?? new Set()).add(sequence));
  }
  for (const forgotten of [0, 150, 400]) {
    recent.forget(forgotten);
    for (const [number, sequences] of commits) {
      const found = recent.find(...id(number));
      assert.equal(found.missingFrom, Number.POSITIVE_INFINITY);
      for (const sequence of sequences) assert.equal(found.sequences.includes(sequence), sequence > forgotten);
      assert.equal(new Set(found.sequences).size, found.sequences.length);
    }
  }
});

test("a trace that was not added is seldom named", () => {
  const recent = new RecentTraces();
  for (let sequence = 1; sequence <= 100; sequence++) recent.add(sequence, idsOf([sequence]));
  let named = 0;
  for (let number = 1_000; number < 11_000; number++) named += recent.find(...id(number)).sequences.length;
  assert.ok(named <= 2, `${named} of 10,000`);
});

test("what finds no room is told as missing until a block holds it", () => {
  const recent = new RecentTraces();
  const perCommit = 1 << 16;
  let next = 0;
  for (let sequence = 1; sequence <= 20; sequence++) {
    recent.add(sequence, idsOf(Array.from({ length: perCommit }, () => next++)));
  }
  const { missingFrom } = recent.find(...id(0));
  assert.ok(missingFrom > 1 && missingFrom <= 17, String(missingFrom));
  recent.forget(missingFrom);
  assert.equal(recent.find(...id(0)).missingFrom, missingFrom + 1);
  recent.forget(20);
  assert.equal(recent.find(...id(0)).missingFrom, Number.POSITIVE_INFINITY);
  recent.add(21, idsOf([5]));
  assert.deepEqual(recent.find(...id(5)).sequences, [21]);
});
