import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { openIn, rowsOf, temporaryDirectory } from "./store-fixture.ts";

const KILLS = 3;
const ROWS = 40;

test("kill -9 under load: every acknowledged commit is found whole, and numbers go on", async (t) => {
  const directory = await temporaryDirectory(t);
  const acknowledged = new Map<string, string>();
  for (let kill = 0; kill < KILLS; kill++) {
    const child = spawn(
      process.execPath,
      [fileURLToPath(import.meta.resolve("./store-child.ts")), directory, "0", String(ROWS)],
      {
        stdio: ["ignore", "pipe", "inherit"],
      },
    );
    const exited = once(child, "exit");
    let said = "";
    child.stdout.once("data", () => setTimeout(() => child.kill("SIGKILL"), 150 + 130 * kill));
    for await (const text of child.stdout) said += String(text);
    assert.deepEqual(await exited, [null, "SIGKILL"]);
    const lines = said
      .slice(0, said.lastIndexOf("\n") + 1)
      .trim()
      .split("\n");
    for (const line of lines) {
      const [sequence = "", commit = ""] = line.split(" ");
      assert.ok(!acknowledged.has(sequence), `sequence ${sequence} was given twice`);
      acknowledged.set(sequence, commit);
    }
  }
  assert.ok(acknowledged.size > KILLS * 10, `only ${acknowledged.size} commits were acknowledged`);
  const store = await openIn(t, directory);
  const rows = await rowsOf(
    store,
    `SELECT CAST(commit_sequence AS VARCHAR), right(trace_id, 16), count(*), count(DISTINCT span_id)
     FROM spans GROUP BY ALL`,
  );
  const found = new Map(rows.map(([sequence, trace]) => [sequence, String(BigInt(`0x${String(trace)}`))]));
  for (const [sequence, commit] of acknowledged) assert.equal(found.get(sequence), commit, `commit ${sequence}`);
  for (const [sequence, , spans, ids] of rows) {
    assert.deepEqual([spans, ids], [String(ROWS), String(ROWS)], `commit ${String(sequence)} is whole`);
  }
  assert.deepEqual(await rowsOf(store, "SELECT count(*) FROM spans"), [[String(found.size * ROWS)]]);
});
