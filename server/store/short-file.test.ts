import assert from "node:assert/strict";
import { readdir, stat, truncate } from "node:fs/promises";
import { join } from "node:path";
import { test } from "node:test";
import type { ThalwegError } from "../model/errors.ts";
import { systemClock } from "../platform/system-clock.ts";
import { openStore } from "./store.ts";
import { batchOf, DAY_MS, rowsOf, temporaryDirectory } from "./store-fixture.ts";

test("a day file that was cut short is set aside, wherever it ends, and the store opens by itself", async (t) => {
  for (const part of [0, 0.25, 0.5, 0.9]) {
    const directory = await temporaryDirectory(t);
    const damages: ThalwegError[] = [];
    const open = () =>
      openStore({
        directory,
        clock: systemClock(),
        retentionMs: DAY_MS,
        memoryLimitBytes: 2 ** 28,
        onDamage: (damage) => damages.push(damage),
      });
    const store = await open();
    const spans = Array.from({ length: 40_000 }, (_, row) => ({ spanId: BigInt(row + 1), name: `span ${row * 7919}` }));
    await store.writer.commitSpans(batchOf(spans));
    await store.close();
    const [file = ""] = await readdir(join(directory, "db"));
    const path = join(directory, "db", file);
    await truncate(path, Math.floor((await stat(path)).size * part));
    const again = await open();
    for (let tries = 0; tries < 100 && damages.length === 0; tries++) {
      const whole = await rowsOf(again, "SELECT max(hash(s)) FROM spans s").catch(() => undefined);
      // What is cut off may be free.
      if (whole !== undefined) break;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
    // A block that a reader of the start met is looked for beside this.
    await new Promise((resolve) => setTimeout(resolve, 500));
    const kept = damages.length === 0 ? String(spans.length) : "0";
    assert.deepEqual(await rowsOf(again, "SELECT count(*) FROM spans"), [[kept]], `cut to ${part}`);
    if (part <= 0.5) assert.equal(damages.length, 1);
    await again.writer.commitSpans(batchOf([{ spanId: 1n }]));
    await again.close();
  }
});
