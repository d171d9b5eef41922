/**
 * The text formats of Prometheus (0.0.4 and 1.0.0) and OpenMetrics (1.0) to samples and metadata.
 *
 * What is accepted is what Prometheus accepts. A line is looked at once; names and labels become strings only where the
 * sink asks for them, so that a series that is known from the scrape before costs no more than finding its end.
 *
 * @see https://prometheus.io/docs/instrumenting/exposition_formats/
 * @see https://prometheus.io/docs/specs/om/open_metrics_spec/
 */

import type { MetricType } from "../model/series.ts";
import {
  type ExposedExemplar,
  type ExposedLabels,
  ExpositionError,
  type ExpositionSink,
  floatOf,
  isBoundLabel,
  openMetricsFloat,
} from "./exposition.ts";

const TAB = 9;
const LINE_FEED = 10;
const SPACE = 32;
const QUOTE = 34;
const HASH = 35;
const COMMA = 44;
const COLON = 58;
const EQUALS = 61;
const BACKSLASH = 92;
const BRACE_OPEN = 123;
const BRACE_CLOSE = 125;

const NO_EXEMPLARS: readonly ExposedExemplar[] = [];
const TEXT_TYPES: ReadonlyMap<string, MetricType> = new Map([
  ["counter", "counter"],
  ["gauge", "gauge"],
  ["histogram", "histogram"],
  ["summary", "summary"],
  ["untyped", "unknown"],
]);
const OPEN_METRICS_TYPES: ReadonlyMap<string, MetricType> = new Map([
  ["counter", "counter"],
  ["gauge", "gauge"],
  ["histogram", "histogram"],
  ["gaugehistogram", "gaugehistogram"],
  ["summary", "summary"],
  ["info", "info"],
  ["stateset", "stateset"],
  ["unknown", "unknown"],
]);
/** UTF-16 units of a line that a message shows. */
const SHOWN_MAX = 120;
/** UTF-16 units of a line that is not whole yet: nothing of it is known before its end. */
export const LINE_UNITS_MAX = 2 ** 20;
/** Labels of a line, of which empty ones and those that rules drop are not stored. */
const LINE_LABELS_MAX = 16_384;

/** A quoted text goes on behind what is there. */
class MoreNeeded extends Error {}

/** How a text comes. */
export interface TextPiece {
  /** False where bytes had to be replaced to make it. */
  readonly isUtf8: boolean;
  /** Whether nothing follows; all unless given. Before it, pieces end with a line. */
  readonly isLast?: boolean;
}

/** An answer in one of the text formats: a place in it, and what holds for the line there. */
export class TextExposition {
  #text = "";
  #isUtf8 = true;
  #isLast = false;
  /** Whether the end came that OpenMetrics asks for. */
  #isEnded = false;
  readonly #openMetrics: boolean;
  readonly #sink: ExpositionSink;
  #at = 0;
  #lineStart = 0;
  #type: MetricType = "unknown";
  /** Pairs of offsets of quoted or plain names and of values, four a label. */
  readonly #labelOffsets: number[] = [];
  #nameStart = -1;
  #nameEnd = -1;

  /** @param text The answer, or its first piece. */
  constructor(text: string, options: TextPiece & { readonly openMetrics: boolean }, sink: ExpositionSink) {
    this.#openMetrics = options.openMetrics;
    this.#sink = sink;
    this.append(text, options);
  }

  /**
   * Adds the next piece, once `read` has nothing more to read.
   *
   * @throws ExpositionError where something follows the end, or a line is longer than any that is read.
   */
  append(text: string, { isUtf8, isLast = true }: TextPiece): void {
    if (this.#isEnded && text !== "") throw new ExpositionError("unexpected data after # EOF");
    const rest = this.#text.slice(this.#at);
    if (rest.length > LINE_UNITS_MAX) throw lineTooLong();
    this.#isUtf8 = isUtf8 && (rest === "" || this.#isUtf8);
    this.#isLast = isLast;
    const whole = rest + text;
    const isWhole = !isLast || whole === "" || whole.endsWith("\n") || (this.#openMetrics && whole.endsWith("# EOF"));
    this.#text = isWhole ? whole : `${whole}\n`;
    this.#at = 0;
  }

  /**
   * Reads on for so many lines.
   *
   * @returns Whether there is more to read of what was added.
   * @throws ExpositionError where the text leaves the format; what stood before was told to the sink.
   */
  read(linesMax: number): boolean {
    try {
      return this.#lines(linesMax);
    } catch (error) {
      if (!(error instanceof MoreNeeded)) throw error;
      this.#at = this.#lineStart;
      return false;
    }
  }

  #lines(linesMax: number): boolean {
    const text = this.#text;
    for (let lines = 0; this.#at < text.length; lines++) {
      if (lines === linesMax) return true;
      this.#lineStart = this.#at;
      if (!this.#openMetrics) this.#skipBlanks();
      const code = text.charCodeAt(this.#at);
      if (code === LINE_FEED && !this.#openMetrics) this.#at++;
      else if (code === HASH) {
        if (this.#comment()) return false;
      } else this.#sample();
    }
    if (this.#openMetrics && this.#isLast && !this.#isEnded) {
      throw new ExpositionError("data does not end with # EOF");
    }
    return false;
  }

  /** A line that begins with `#`. Gives true at the end that OpenMetrics asks for. */
  #comment(): boolean {
    const text = this.#text;
    const end = this.#lineEnd();
    const line = text.slice(this.#at, end);
    if (this.#openMetrics && line === "# EOF") {
      if (end + 1 < text.length) throw new ExpositionError("unexpected data after # EOF");
      this.#isEnded = true;
      this.#at = text.length;
      return true;
    }
    const found = (this.#openMetrics ? /^# (HELP|TYPE|UNIT) /y : /^#[ \t]+(HELP|TYPE)[ \t]+/y).exec(line);
    if (found === null) {
      if (this.#openMetrics) throw this.#fault("expected a valid start token");
      this.#at = end + 1;
      return false;
    }
    const rest = line.slice(found[0].length);
    const name = /^(?:"((?:\\.|[^\\"])*)"|([a-zA-Z_:][a-zA-Z0-9_:]*))/s.exec(rest);
    if (name === null) throw this.#fault(`expected metric name after ${found[1]}`);
    const said = rest.slice(name[0].length);
    if (this.#openMetrics && !said.startsWith(" ")) throw this.#fault(`expected text in ${found[1]}`);
    this.#describe(found[1] ?? "", name[2] ?? unescaped(name[1] ?? ""), said.slice(1));
    this.#at = end + 1;
    return false;
  }

  #describe(what: string, name: string, said: string): void {
    if (what === "TYPE") {
      const type = (this.#openMetrics ? OPEN_METRICS_TYPES : TEXT_TYPES).get(said);
      if (type === undefined) throw new ExpositionError(`invalid metric type "${said}"`);
      this.#type = type;
      this.#sink.describe({ name, type });
    } else if (what === "HELP") {
      if (!this.#isUtf8 && said.includes("\ufffd")) throw this.#fault("help text is not a valid utf8 string");
      this.#sink.describe({ name, help: this.#openMetrics ? unescaped(said) : unescapedHelp(said) });
    } else {
      if (said !== "" && !name.endsWith(`_${said}`)) {
        throw new ExpositionError(`unit "${said}" not a suffix of metric "${name}"`);
      }
      this.#sink.describe({ name, unit: said });
    }
  }

  #sample(): void {
    const text = this.#text;
    const start = this.#at;
    this.#labelOffsets.length = 0;
    this.#nameStart = -1;
    this.#nameEnd = -1;
    const first = text.charCodeAt(start);
    if (isNameStart(first)) {
      this.#skipName(true);
      this.#nameStart = start;
      this.#nameEnd = this.#at;
    } else if (first !== BRACE_OPEN) throw this.#fault("expected a valid start token");
    let end = this.#at;
    if (!this.#openMetrics) this.#skipBlanks();
    if (text.charCodeAt(this.#at) === BRACE_OPEN) {
      this.#at++;
      this.#labels(this.#labelOffsets, true);
      end = this.#at;
    } else if (!this.#openMetrics) this.#at = end;
    if (this.#nameStart === -1) throw this.#fault("metric name not set");
    const key = text.slice(start, end);
    const value = this.#number("metric");
    const timestampMs = this.#timestamp();
    const exemplars = this.#openMetrics ? this.#exemplars() : NO_EXEMPLARS;
    if (!this.#openMetrics) this.#skipBlanks();
    if (text.charCodeAt(this.#at) !== LINE_FEED) {
      if (this.#at >= text.length && this.#openMetrics) throw new ExpositionError("data does not end with # EOF");
      throw this.#fault(
        timestampMs === undefined ? "expected timestamp or new record" : "expected next entry after timestamp",
      );
    }
    this.#at++;
    this.#sink.sample({ key, labels: this.#readLabels, value, histogram: undefined, timestampMs, exemplars });
  }

  /** Labels outlive the text: parts of it would keep all of it in memory, those of a copy keep a line. */
  readonly #readLabels = (): ExposedLabels => {
    const start = this.#lineStart;
    const line = ownText(this.#text.slice(start, this.#at));
    const labels: ExposedLabels = [["__name__", unescaped(line.slice(this.#nameStart - start, this.#nameEnd - start))]];
    for (const [name, value] of pairsOf(line, start, this.#labelOffsets)) {
      labels.push([name, isBoundLabel(this.#type, name) ? boundText(value) : value]);
    }
    return labels;
  };

  /** From behind the opening brace to behind the closing one. */
  #labels(offsets: number[], mayName: boolean): void {
    const text = this.#text;
    for (;;) {
      this.#skipLabelBlanks();
      const start = this.#at;
      const code = text.charCodeAt(start);
      if (code === BRACE_CLOSE) break;
      const isQuoted = code === QUOTE;
      if (isQuoted) this.#skipQuoted("label name");
      else if (isNameStart(code) && code !== COLON) this.#skipName(false);
      else throw this.#fault("expected label name");
      const end = this.#at;
      this.#skipLabelBlanks();
      const next = text.charCodeAt(this.#at);
      if (isQuoted && mayName && (next === COMMA || next === BRACE_CLOSE)) {
        if (this.#nameStart !== -1) throw this.#fault("metric name already set");
        this.#nameStart = start + 1;
        this.#nameEnd = end - 1;
        if (next === COMMA) this.#at++;
        continue;
      }
      if (next !== EQUALS) throw this.#fault("expected equal");
      this.#at++;
      this.#skipLabelBlanks();
      if (text.charCodeAt(this.#at) !== QUOTE) throw this.#fault("expected label value");
      const valueStart = this.#at + 1;
      this.#skipQuoted("label value");
      if (!this.#isUtf8 && text.slice(valueStart, this.#at).includes("\ufffd"))
        throw this.#fault("invalid UTF-8 label value");
      if (offsets.length >= 4 * LINE_LABELS_MAX) throw this.#fault(`more than ${LINE_LABELS_MAX} labels`);
      offsets.push(isQuoted ? start + 1 : start, isQuoted ? end - 1 : end, valueStart, this.#at - 1);
      this.#skipLabelBlanks();
      const after = text.charCodeAt(this.#at);
      if (after === COMMA) this.#at++;
      else if (after !== BRACE_CLOSE && this.#openMetrics) throw this.#fault("expected comma or brace close");
    }
    this.#at++;
  }

  #number(after: string): number {
    const start = this.#valueStart();
    if (start === this.#at) throw this.#fault(`expected value after ${after}`);
    try {
      return floatOf(this.#text.slice(start, this.#at));
    } catch (error) {
      if (!(error instanceof ExpositionError)) throw error;
      throw this.#fault(error.message);
    }
  }

  /** Moves behind a value and gives where it starts. */
  #valueStart(): number {
    const text = this.#text;
    if (!this.#openMetrics) this.#skipBlanks();
    else if (text.charCodeAt(this.#at) === SPACE) this.#at++;
    else return this.#at;
    const start = this.#at;
    for (; this.#at < text.length; this.#at++) {
      const code = text.charCodeAt(this.#at);
      if (code === SPACE || code === LINE_FEED || (!this.#openMetrics && (code === TAB || code === BRACE_OPEN))) break;
    }
    return start;
  }

  /** A time behind a value, in milliseconds. */
  #timestamp(): number | undefined {
    const text = this.#text;
    if (this.#openMetrics) {
      if (text.charCodeAt(this.#at) !== SPACE || text.charCodeAt(this.#at + 1) === HASH) return undefined;
      const seconds = this.#number("metric value");
      if (!Number.isFinite(seconds)) throw this.#fault(`invalid timestamp ${seconds}`);
      return Math.trunc(seconds * 1000);
    }
    this.#skipBlanks();
    const start = this.#at;
    while (isDigit(text.charCodeAt(this.#at))) this.#at++;
    if (start === this.#at) return undefined;
    const milliseconds = Number(text.slice(start, this.#at));
    if (milliseconds > 2 ** 63) throw this.#fault("timestamp out of range");
    return milliseconds;
  }

  #exemplars(): readonly ExposedExemplar[] {
    const text = this.#text;
    if (!text.startsWith(" # {", this.#at)) return NO_EXEMPLARS;
    this.#at += 4;
    const offsets: number[] = [];
    this.#labels(offsets, false);
    const labels = pairsOf(ownText(text.slice(this.#lineStart, this.#at)), this.#lineStart, offsets);
    const value = this.#number("exemplar labels");
    if (text.charCodeAt(this.#at) !== SPACE) return [{ labels, value, timestampMs: undefined }];
    const seconds = this.#number("exemplar value");
    if (!Number.isFinite(seconds)) throw this.#fault(`invalid exemplar timestamp ${seconds}`);
    return [{ labels, value, timestampMs: Math.trunc(seconds * 1000) }];
  }

  #skipName(mayColon: boolean): void {
    const text = this.#text;
    for (let code = text.charCodeAt(this.#at); isNameStart(code) || isDigit(code); code = text.charCodeAt(this.#at)) {
      if (code === COLON && !mayColon) return;
      this.#at++;
    }
  }

  /** From a quote to behind the one that closes it. */
  #skipQuoted(what: string): void {
    const text = this.#text;
    for (this.#at++; this.#at < text.length; this.#at++) {
      const code = text.charCodeAt(this.#at);
      if (code === BACKSLASH) this.#at++;
      else if (code === QUOTE) {
        this.#at++;
        return;
      } else if (code === LINE_FEED && this.#openMetrics) throw this.#fault(`expected ${what}`);
    }
    if (!this.#isLast) throw new MoreNeeded();
    throw this.#fault(`expected ${what}`);
  }

  #skipBlanks(): void {
    const text = this.#text;
    for (let code = text.charCodeAt(this.#at); code === SPACE || code === TAB; code = text.charCodeAt(this.#at))
      this.#at++;
  }

  /** OpenMetrics has no blanks among labels. */
  #skipLabelBlanks(): void {
    if (!this.#openMetrics) this.#skipBlanks();
  }

  #lineEnd(): number {
    const end = this.#text.indexOf("\n", this.#at);
    return end === -1 ? this.#text.length : end;
  }

  #fault(what: string): ExpositionError {
    const line = this.#text.slice(this.#lineStart, Math.min(this.#lineEndFrom(), this.#lineStart + SHOWN_MAX));
    return new ExpositionError(
      `${what}, in column ${this.#at - this.#lineStart + 1} while parsing: ${JSON.stringify(line)}`,
    );
  }

  #lineEndFrom(): number {
    const end = this.#text.indexOf("\n", this.#lineStart);
    return end === -1 ? this.#text.length : end;
  }
}

/** What a line without an end in sight is refused with. */
export function lineTooLong(): ExpositionError {
  return new ExpositionError(`a line has more than ${LINE_UNITS_MAX} characters`);
}

/** Labels of a line that stands at `start` of the text that their offsets are of. */
function pairsOf(line: string, start: number, offsets: readonly number[]): ExposedLabels {
  const pairs: ExposedLabels = [];
  const part = (at: number) => unescaped(line.slice((offsets[at] ?? 0) - start, (offsets[at + 1] ?? 0) - start));
  for (let at = 0; at < offsets.length; at += 4) pairs.push([part(at), part(at + 2)]);
  return pairs;
}

/** A copy that shares no memory with the text that it is a part of. */
export function ownText(part: string): string {
  // A part of two texts that were put together is one of their copy.
  return ` ${part}`.slice(1);
}

function isDigit(code: number): boolean {
  return code >= 48 && code <= 57;
}

/** Letters, `_` and `:`. */
function isNameStart(code: number): boolean {
  return (code >= 97 && code <= 122) || (code >= 65 && code <= 90) || code === 95 || code === COLON;
}

function unescaped(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replace(/\\([\\"n])/g, (_, escaped) => (escaped === "n" ? "\n" : escaped));
}

function unescapedHelp(text: string): string {
  if (!text.includes("\\")) return text;
  return text.replace(/\\([\\n])/g, (_, escaped) => (escaped === "n" ? "\n" : "\\"));
}

function boundText(value: string): string {
  try {
    return openMetricsFloat(floatOf(value));
  } catch (error) {
    if (error instanceof ExpositionError) return value;
    throw error;
  }
}
