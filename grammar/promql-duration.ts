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

/** Digits of a count that fit 64 bits for sure, and the first count that does not. */
const COUNT_DIGITS = 19;
const COUNT_LIMIT = 2n ** 64n;

/** A duration text in milliseconds, or the reason why it is none. */
export type DurationOutcome =
  | { readonly kind: "ok"; readonly milliseconds: number }
  | { readonly kind: "refused"; readonly reason: string };

/** Parses `0` or digits with units, such as `1h30m`. */
export function parseDuration(text: string): DurationOutcome {
  if (text === "") return { kind: "refused", reason: "empty duration string" };
  if (text === "0") return { kind: "ok", milliseconds: 0 };
  const invalid = { kind: "refused", reason: `not a valid duration string: "${text}"` } as const;
  let total = 0;
  let unitAt = -1;
  let at = 0;
  while (at < text.length) {
    const digitsAt = at;
    while (isDigit(text.charCodeAt(at))) at++;
    const digits = text.slice(digitsAt, at);
    if (digits === "" || (digits.length > COUNT_DIGITS && BigInt(digits) >= COUNT_LIMIT)) return invalid;
    const lettersAt = at;
    while (at < text.length && !isDigit(text.charCodeAt(at))) at++;
    const unit = text.slice(lettersAt, at);
    const index = UNIT_MS.findIndex(([name]) => name === unit);
    const entry = UNIT_MS[index];
    if (unit === "") return invalid;
    if (entry === undefined) return { kind: "refused", reason: `unknown unit "${unit}" in duration "${text}"` };
    if (index <= unitAt) return invalid;
    unitAt = index;
    total += Number(digits) * entry[1];
    if (total > DURATION_MS_MAX) return { kind: "refused", reason: "duration out of range" };
  }
  return { kind: "ok", milliseconds: total };
}

/** Prints whole milliseconds in the form Prometheus prints: years and weeks only where they divide evenly. */
export function printDuration(milliseconds: number): string {
  if (milliseconds === 0) return "0s";
  let rest = Math.abs(milliseconds);
  let out = milliseconds < 0 ? "-" : "";
  for (const [unit, size] of UNIT_MS) {
    if ((unit === "y" || unit === "w") && rest % size !== 0) continue;
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
