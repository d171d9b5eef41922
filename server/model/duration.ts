/** Durations as Prometheus writes them: `1h30m`, units from large to small, each at most once. */

const DURATION = /^(?:(\d+)y)?(?:(\d+)w)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?$/;
const UNITS_MS = [31_536_000_000, 604_800_000, 86_400_000, 3_600_000, 60_000, 1000, 1];
/** Units that are printed; weeks and years would only hide the days. */
const PRINTED_UNITS: readonly (readonly [string, number])[] = [
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];
/** Go's longest duration, 292 years. */
const DURATION_MS_MAX = 9_223_372_036_854;

/** Milliseconds of `1h30m` and the like; undefined where the text is no duration or more than `DURATION_MS_MAX`. */
export function parseDurationMs(text: string): number | undefined {
  const match = text === "" ? null : DURATION.exec(text);
  if (match === null) return undefined;
  let durationMs = 0;
  for (const [index, unitMs] of UNITS_MS.entries()) durationMs += Number(match[index + 1] ?? "0") * unitMs;
  return durationMs <= DURATION_MS_MAX ? durationMs : undefined;
}

/** Text of whole milliseconds above 0 that `parseDurationMs` reads again: `15d`, `1h30m`. */
export function printDurationMs(durationMs: number): string {
  let rest = durationMs;
  let text = "";
  for (const [unit, unitMs] of PRINTED_UNITS) {
    if (rest >= unitMs) text += `${Math.floor(rest / unitMs)}${unit}`;
    rest %= unitMs;
  }
  return text;
}
