/** Bodies that are small and ask for much: each is refused at once, and the server goes on. */

import { encodeSnappy } from "../../server/wire/snappy.ts";
import type { Program } from "../program.ts";
import { sendWrite, writeHeaders } from "../remote-write.ts";
import type { SuiteReport } from "../suite.ts";

/** Of processor time. */
const REFUSED_MS_MAX = 100;
/** The mean of so many counts. */
const ATTEMPTS = 8;
const MANY = 5_000_000;

/** A body, by what it does. */
interface Bomb {
  readonly name: string;
  readonly path: "write" | "read";
  readonly body: Uint8Array;
  readonly status: readonly number[];
}

function repeated(bytes: readonly number[]): Uint8Array {
  return encodeSnappy(Buffer.alloc(bytes.length * MANY, Buffer.from(bytes)));
}

/** A length that says so, and nothing that could fulfil it. */
function claim(bytes: number): Uint8Array {
  const head: number[] = [];
  let rest = bytes;
  for (; rest > 127; rest = Math.floor(rest / 128)) head.push((rest & 127) | 128);
  return Uint8Array.from([...head, rest, 0, 97]);
}

function bombs(): Bomb[] {
  const bad = [400];
  return [
    { name: "a claim of 2 GiB in 7 bytes", path: "write", body: claim(2 ** 31), status: bad },
    { name: "a claim of 32 MiB in 6 bytes", path: "write", body: claim(2 ** 25), status: bad },
    { name: "256 MiB of zeros", path: "write", body: encodeSnappy(Buffer.alloc(2 ** 28)), status: [400, 413] },
    { name: "32 MiB of zeros", path: "write", body: encodeSnappy(Buffer.alloc(2 ** 25)), status: bad },
    { name: "5,000,000 empty series", path: "write", body: repeated([0x0a, 0]), status: bad },
    { name: "a claim of 2 GiB to read", path: "read", body: claim(2 ** 31), status: bad },
    { name: "5,000,000 empty queries", path: "read", body: repeated([0x0a, 0]), status: bad },
  ];
}

/** Adds a case a bomb to `report`. */
export async function checkBombs(report: SuiteReport, program: Program): Promise<void> {
  for (const { name, path, body, status } of bombs()) {
    const url = `${program.http}/api/v1/${path}`;
    // The server's own time, since the machine may be busy with other things.
    const cpu = () => program.counter("process_cpu_seconds_total");
    const before = await cpu();
    let got = 0;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      const answer = await fetch(url, { method: "POST", headers: writeHeaders(1), body: Buffer.from(body) });
      await answer.arrayBuffer();
      got = answer.status;
    }
    const tookMs = (1_000 * ((await cpu()) - before)) / ATTEMPTS;
    const faults: string[] = [];
    if (!status.includes(got)) faults.push(`answered ${got}`);
    if (tookMs > REFUSED_MS_MAX) faults.push(`took ${tookMs.toFixed(0)} ms, the limit is ${REFUSED_MS_MAX}`);
    report.add(`refused at once: ${name}`, faults.join("; "));
  }
  const sample = { timestampMs: Date.now(), startMs: 0, value: 1 };
  const after = await sendWrite(program.http, [{ labels: [["__name__", "after_bombs"]], samples: [sample] }], 2);
  report.add("writes go on after them", after.status === 204 ? "" : `${after.status}: ${after.text}`);
}
