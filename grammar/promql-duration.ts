/** Durations as Prometheus writes them: `1h30m`, units from `y` to `ms`, each once and shrinking. */

const UNIT_MS: ReadonlyArray<readonly [unit: string, milliseconds: number]> = [
  ["y", 31_536_000_000],
  ["w", 604_800_000],
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];

/** The longest duration Prometheus holds: an int64 of nanoseconds. */
const DURATION_MS_MAX = 9_223_372_036_854;

/** A duration text in milliseconds, or the reason why it is none. */
export type DurationOutcome =
  | { readonly kind: "ok"; readonly milliseconds: number }
  | { readonly kind: "refused"; readonly reason: string };

/** Parses `0` or digits with units, such as `1h30m`. */
export function parseDuration(text: string): DurationOutcome {
  if (text === "") return { kind: "refused", reason: "empty duration string" };
  if (text === "0") return { kind: "ok", milliseconds: 0 };
  let total = 0;
  let unitAt = -1;
  let at = 0;
  while (at < text.length) {
    const digitsAt = at;
    while (isDigit(text.charCodeAt(at))) at++;
    if (at === digitsAt) return { kind: "refused", reason: `not a valid duration string: "${text}"` };
    const lettersAt = at;
    while (at < text.length && !isDigit(text.charCodeAt(at))) at++;
    const unit = text.slice(lettersAt, at);
    const index = UNIT_MS.findIndex(([name]) => name === unit);
    const entry = UNIT_MS[index];
    if (entry === undefined) {
      return unit === ""
        ? { kind: "refused", reason: `not a valid duration string: "${text}"` }
        : { kind: "refused", reason: `unknown unit "${unit}" in duration "${text}"` };
    }
    if (index <= unitAt) return { kind: "refused", reason: `not a valid duration string: "${text}"` };
    unitAt = index;
    total += Number(text.slice(digitsAt, lettersAt)) * entry[1];
    if (total > DURATION_MS_MAX) return { kind: "refused", reason: "duration out of range" };
  }
  return { kind: "ok", milliseconds: total };
}

/** Prints whole milliseconds in the form Prometheus prints: years, weeks and days only where they divide evenly. */
export function printDuration(milliseconds: number): string {
  if (milliseconds === 0) return "0s";
  let rest = Math.abs(milliseconds);
  let out = milliseconds < 0 ? "-" : "";
  for (const [unit, size] of UNIT_MS) {
    const exactOnly = unit === "y" || unit === "w" || unit === "d";
    if (exactOnly && rest % size !== 0) continue;
    const count = Math.floor(rest / size);
    if (count > 0) {
      out += `${count}${unit}`;
      rest -= count * size;
    }
  }
  return out;
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}
