/** Counts that were found beside those that are expected. */

/** Virtual nodes appear when a half edge expires. */
export const DERIVED_MS_MAX = 30_000;
const LINES_MAX = 20;

/** A line for each key whose count is another one; empty where all agree. */
export function differences(wanted: Iterable<readonly [string, number]>, found: ReadonlyMap<string, number>): string {
  const lines: string[] = [];
  const keys = new Set<string>();
  for (const [key, count] of wanted) {
    keys.add(key);
    if (found.get(key) !== count) lines.push(`${key}: expected ${count}, found ${found.get(key) ?? 0}`);
  }
  for (const [key, count] of found) if (!keys.has(key)) lines.push(`${key}: not expected, found ${count}`);
  return lines.slice(0, LINES_MAX).join("\n");
}
