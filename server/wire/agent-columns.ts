/**
 * Columns that an agent sends as attributes, put back while a request is read.
 */

import { SPAN_SOURCES } from "../model/span-batch.ts";
import { AGENT_KEYS, type AgentColumn } from "./agent-spans.ts";

const COLUMN_LIST = Object.keys(AGENT_KEYS) as AgentColumn[]; // the keys of the record
const NUMBERS: ReadonlyMap<string, number> = new Map(COLUMN_LIST.map((column, at) => [AGENT_KEYS[column], at + 1]));
const PORT_MAX = 0xffff;
const UINT32_MAX = 0xffff_ffff;
const SPAN_ID = /^[0-9a-f]{16}$/;

/** Stands for a key that names no column of an agent. */
export const NO_AGENT_COLUMN = 0;

/** Number that stands for the column a key names; `NO_AGENT_COLUMN` for most keys. */
export function agentColumnOf(key: string): number {
  return NUMBERS.get(key) ?? NO_AGENT_COLUMN;
}

/** Columns as they are filled; ids in halves of 32 bits, the low one first. */
interface Columns {
  readonly source: Uint8Array;
  readonly linkReason: Uint32Array;
  readonly protocol: Uint32Array;
  readonly clientAddr: Uint32Array;
  readonly clientPort: Uint16Array;
  readonly serverAddr: Uint32Array;
  readonly serverPort: Uint16Array;
  readonly pid: Uint32Array;
  readonly weight: Uint32Array;
  readonly duplicateOf: Uint32Array;
}

/** Texts of a request. */
interface Texts {
  read(index: number): string;
}

/** What an agent said of the span at hand: `begin`, `see` each of its attributes, `fill`. */
export class AgentColumns {
  readonly #texts: Texts;
  /** Text by column number; 0 where the agent said nothing. */
  readonly #said = new Uint32Array(COLUMN_LIST.length + 1);

  constructor(texts: Texts) {
    this.#texts = texts;
  }

  begin(): void {
    this.#said.fill(0);
  }

  see(column: number, text: number): void {
    this.#said[column] = text;
  }

  /** Puts what was said into a row that holds what the span is without it. What makes no sense is passed over. */
  fill(columns: Columns, row: number): void {
    for (const [at, column] of COLUMN_LIST.entries()) {
      const text = this.#said[at + 1] ?? 0;
      if (text !== 0) this.#set(columns, row, column, text);
    }
  }

  #set(columns: Columns, row: number, column: AgentColumn, text: number): void {
    switch (column) {
      case "source": {
        const word = this.#texts.read(text);
        // Wider than the list, since the word may be any.
        const source = (SPAN_SOURCES as readonly string[]).indexOf(word);
        if (source >= 0) columns.source[row] = source;
        return;
      }
      case "linkReason":
      case "protocol":
      case "clientAddr":
      case "serverAddr":
        columns[column][row] = text;
        return;
      case "clientPort":
      case "serverPort":
        columns[column][row] = this.#whole(text, PORT_MAX) ?? 0;
        return;
      case "pid":
        columns.pid[row] = this.#whole(text, UINT32_MAX) ?? 0;
        return;
      case "weight":
        columns.weight[row] = this.#whole(text, UINT32_MAX) ?? 1;
        return;
      case "duplicateOf": {
        const id = this.#texts.read(text);
        if (!SPAN_ID.test(id)) return;
        columns.duplicateOf[2 * row] = Number.parseInt(id.slice(8), 16);
        columns.duplicateOf[2 * row + 1] = Number.parseInt(id.slice(0, 8), 16);
      }
    }
  }

  /** A whole number from 1 to `max`. */
  #whole(text: number, max: number): number | undefined {
    const value = Number(this.#texts.read(text));
    return Number.isInteger(value) && value > 0 && value <= max ? value : undefined;
  }
}
