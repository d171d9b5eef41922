/** Warnings and infos of a query: they never fail it. */

import type { TextRange } from "../../../grammar/promql-tree.ts";
import { lineColumnAt } from "../../../grammar/text-position.ts";

/** Annotations of one kind that an answer shows; one more line says how many were left out. */
const SHOWN_MAX = 10;

/** Different annotations that are kept; more only count. */
const KEPT_MAX = 1000;

/** Collects what a query has to say beside its result, each text and place once. */
export class Annotations {
  readonly #text: string;
  readonly #warnings = new Set<string>();
  readonly #infos = new Set<string>();

  constructor(text: string) {
    this.#text = text;
  }

  warn(message: string, position: TextRange): void {
    this.#add(this.#warnings, `PromQL warning: ${message}`, position);
  }

  info(message: string, position: TextRange): void {
    this.#add(this.#infos, `PromQL info: ${message}`, position);
  }

  #add(into: Set<string>, message: string, position: TextRange): void {
    if (into.size >= KEPT_MAX) return;
    const { line, column } = lineColumnAt(this.#text, position.start);
    into.add(`${message} (${line}:${column})`);
  }

  get warnings(): readonly string[] {
    return shorten(this.#warnings, "warning");
  }

  get infos(): readonly string[] {
    return shorten(this.#infos, "info");
  }
}

function shorten(all: ReadonlySet<string>, name: string): readonly string[] {
  const shown = Array.from(all).slice(0, SHOWN_MAX);
  const left = all.size - shown.length;
  if (left > 0) shown.push(`${left} more ${name} annotations omitted`);
  return shown;
}
