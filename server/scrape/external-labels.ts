/** Labels that everything gets which leaves this server: those of Prometheus' file, and those of other settings. */

import type { Labels } from "../model/series.ts";

/** Merged labels, and the variables that have no value. */
export interface ExternalLabels {
  /** In order of name, none of them empty. */
  readonly labels: Labels;
  readonly missing: readonly string[];
}

/** A name in braces, a single sign, or a name; a dollar before anything else stands for itself. */
const VARIABLE = /\$(?:\{([^}]*)\}|([*#$@!?\-0-9])|([A-Za-z_][A-Za-z0-9_]*))/g;

/**
 * Merges them.
 *
 * @param fromFile Values in which `$NAME` and `${NAME}` stand for variables, `$$` for a dollar.
 * @param own Of other settings, which win.
 * @param variable Undefined where there is none.
 */
export function mergeExternalLabels(
  fromFile: Labels,
  own: Labels,
  variable: (name: string) => string | undefined,
): ExternalLabels {
  const missing: string[] = [];
  const expansionOf = (name: string): string => {
    if (name === "$") return name;
    const value = variable(name) ?? "";
    if (value === "") missing.push(name);
    return value;
  };
  const expanded = fromFile.map(([label, text]) => {
    const value = text.replace(VARIABLE, (_, braced?: string, sign?: string, name?: string) =>
      expansionOf(braced ?? sign ?? name ?? ""),
    );
    return [label, value] as const;
  });
  const merged = [...new Map([...expanded, ...own])].filter(([, value]) => value !== "");
  return { labels: merged.sort(([a], [b]) => (a < b ? -1 : 1)), missing };
}
