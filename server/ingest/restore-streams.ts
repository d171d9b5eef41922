/** What derive knew when the program stopped: the saved state, and the spans committed after it. */

import { DerivedStreams } from "../derive/derived-streams.ts";
import type { DerivedSnapshot } from "../store/writer.ts";
import type { FlushDeps } from "./flush-deps.ts";

/** Reads the last snapshot and derives every later commit again. A snapshot that cannot be read is reported, and all spans are derived again. */
export async function restoreStreams(deps: FlushDeps): Promise<DerivedStreams> {
  const { writer, clock } = deps;
  const saved = await writer.loadDerived();
  const restored = saved === undefined ? undefined : readSnapshot(saved, deps);
  const streams = restored ?? new DerivedStreams();
  const startedMs = clock.nowMs();
  await writer.replaySpans(streams.sequence, (batch, sequence) => {
    // Edges by minute up to the snapshot are stored already, also where the snapshot itself is of no use.
    if (
      restored === undefined &&
      saved !== undefined &&
      sequence > saved.sequence &&
      streams.sequence <= saved.sequence
    ) {
      streams.takeRows();
    }
    streams.observe(batch, sequence, startedMs);
  });
  if (restored === undefined && saved !== undefined && streams.sequence <= saved.sequence) streams.takeRows();
  return streams;
}

function readSnapshot(saved: DerivedSnapshot, { clock, telemetry, log }: FlushDeps): DerivedStreams | undefined {
  const streams = new DerivedStreams();
  try {
    streams.restore(saved.state, clock.nowMs());
    return streams;
  } catch (error) {
    telemetry.count("thalweg_store_damage_total", { reason: "derived_state" });
    log.error({ error, bytes: saved.state.length }, "derived state cannot be read, all spans are derived again");
    return undefined;
  }
}
