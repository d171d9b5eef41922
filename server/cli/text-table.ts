/** Rows as aligned columns for terminals. */

/** Wider cells are cut with an ellipsis. */
const CELL_WIDTH_MAX = 80;

/** Draws a header, a rule and rows; numbers are set to the right. */
export function renderTable(names: readonly string[], rows: readonly (readonly string[])[]): string {
  const cut = (text: string) => {
    const line = text.replaceAll(/[\r\n\t]/g, " ");
    return line.length > CELL_WIDTH_MAX ? `${line.slice(0, CELL_WIDTH_MAX - 1)}…` : line;
  };
  const cells = rows.map((row) => row.map(cut));
  const widths = names.map((name, column) => Math.max(name.length, ...cells.map((row) => row[column]?.length ?? 0)));
  const numeric = names.map((_, column) => cells.every((row) => /^-?[\d.]*(e[+-]?\d+)?$/.test(row[column] ?? "")));
  const line = (row: readonly string[]) =>
    row
      .map((cell, column) => (numeric[column] ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0)))
      .join("  ")
      .trimEnd();
  const rule = widths.map((width) => "─".repeat(width)).join("  ");
  return `${[line(names), rule, ...cells.map(line)].join("\n")}\n`;
}
