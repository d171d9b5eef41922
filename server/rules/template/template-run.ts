/**
 * Runs a template.
 *
 * `query` asks the server and so takes its time, while running takes none: a run that meets a text whose answer is not
 * there ends, the answer is fetched, and the template runs again.
 */

import { TemplateError } from "./template-error.ts";
import { callFunction, isTemplateFunction, type TemplateContext } from "./template-functions.ts";
import { parseTemplate } from "./template-parse.ts";
import { lineAt } from "./template-token.ts";
import type {
  Template,
  TemplateBranch,
  TemplateCommand,
  TemplateNode,
  TemplateOperand,
  TemplatePipe,
} from "./template-tree.ts";
import { isTrue, printValue, type TemplateList, type TemplateValue, typeOf } from "./template-value.ts";

/** Characters of text that one template may make. */
const OUTPUT_MAX = 65_536;
/** Nodes, commands and items that one run may visit: a run holds the main thread. */
const STEPS_MAX = 100_000;
/** Templates that may call each other. */
const CALLS_MAX = 100;
/** Queries that one template may ask. */
const QUERIES_MAX = 20;
/** Characters of an expression that are shown where it fails. */
const SHOWN_MAX = 200;

/** Templates that are kept read. */
const PARSED_MAX = 512;

const parsed = new Map<string, Template>();

/** What a template runs with. */
export interface TemplateRun {
  readonly data: TemplateValue;
  readonly nowMs: number;
  readonly externalUrl: string;
  /** @throws Error in the words to be shown. */
  readonly query: (text: string) => Promise<TemplateList>;
}

/**
 * Reads and runs a template.
 *
 * @throws TemplateError in Prometheus' words.
 */
export async function expandTemplate(name: string, text: string, run: TemplateRun): Promise<string> {
  const template = templateOf(name, text);
  const answers = new Map<string, TemplateList | TemplateError>();
  for (;;) {
    try {
      return new TemplateRunner(template, run, answers).run();
    } catch (cause) {
      if (cause instanceof TemplateError) throw new TemplateError(`error executing template ${name}: ${cause.message}`);
      if (!(cause instanceof Asked)) throw cause;
      answers.set(cause.query, await answerOf(cause.query, run, answers.size));
    }
  }
}

/** Reads a template, or takes the one read before: alerts of a rule share their texts. */
function templateOf(name: string, text: string): Template {
  const key = `${name}\u0000${text}`;
  const known = parsed.get(key);
  if (known !== undefined) return known;
  let template: Template;
  try {
    template = parseTemplate(name, text, isTemplateFunction);
  } catch (cause) {
    if (!(cause instanceof TemplateError)) throw cause;
    throw new TemplateError(`error parsing template ${name}: ${cause.message}`);
  }
  const [oldest] = parsed.keys();
  if (parsed.size >= PARSED_MAX && oldest !== undefined) parsed.delete(oldest);
  parsed.set(key, template);
  return template;
}

async function answerOf(query: string, run: TemplateRun, asked: number): Promise<TemplateList | TemplateError> {
  if (asked >= QUERIES_MAX) return new TemplateError(`a template may ask ${QUERIES_MAX} queries at most`);
  try {
    return await run.query(query);
  } catch (cause) {
    return new TemplateError(cause instanceof Error ? cause.message : String(cause));
  }
}

/** Ends a run that needs the answer to a query. */
class Asked extends Error {
  readonly query: string;

  constructor(query: string) {
    super("an answer is needed");
    this.query = query;
  }
}

/** How a list of nodes ended. */
type Ending = "through" | "break" | "continue";

/** Text so far, and the variables in sight, the latest last. */
class TemplateRunner {
  readonly #template: Template;
  readonly #data: TemplateValue;
  readonly #context: TemplateContext;
  #variables: { readonly name: string; value: TemplateValue }[];
  #out = "";
  #steps = 0;
  #calls = 0;

  constructor(template: Template, run: TemplateRun, answers: ReadonlyMap<string, TemplateList | TemplateError>) {
    this.#template = template;
    this.#data = run.data;
    this.#variables = [{ name: "$", value: run.data }];
    this.#context = {
      nowMs: run.nowMs,
      externalUrl: run.externalUrl,
      query: (text) => {
        const answer = answers.get(text);
        if (answer === undefined) throw new Asked(text);
        if (answer instanceof TemplateError) throw new TemplateError(answer.message);
        return answer;
      },
    };
  }

  run(): string {
    this.#list(this.#template.root, this.#data);
    return this.#out;
  }

  #fail(at: number, shown: string, why: string): never {
    const { name, text } = this.#template;
    const column = Buffer.byteLength(text.slice(text.lastIndexOf("\n", at - 1) + 1, at));
    const short = shown.length > SHOWN_MAX ? `${shown.slice(0, SHOWN_MAX)}...` : shown;
    throw new TemplateError(
      `template: ${name}:${lineAt(text, at)}:${column}: executing "${name}" at <${short}>: ${why}`,
    );
  }

  #list(nodes: readonly TemplateNode[], dot: TemplateValue): Ending {
    for (const node of nodes) {
      const ending = this.#node(node, dot);
      if (ending !== "through") return ending;
    }
    return "through";
  }

  #node(node: TemplateNode, dot: TemplateValue): Ending {
    this.#step();
    switch (node.kind) {
      case "text":
        this.#write(node.text);
        return "through";
      case "action": {
        const value = this.#pipe(node.pipe, dot);
        if (node.pipe.variables.length === 0) this.#write(printValue(value));
        return "through";
      }
      case "break":
      case "continue":
        return node.kind;
      case "template":
        this.#call(node, dot);
        return "through";
      case "range":
        return this.#range(node, dot);
      default: {
        const known = this.#variables.length;
        const value = this.#pipe(node.pipe, dot);
        const chosen = isTrue(value) ? node.body : node.otherwise;
        const ending = this.#list(chosen, node.kind === "with" && chosen === node.body ? value : dot);
        this.#variables.length = known;
        return ending;
      }
    }
  }

  #step(): void {
    if (++this.#steps > STEPS_MAX) throw new TemplateError(`the template takes more than ${STEPS_MAX} steps`);
  }

  #write(text: string): void {
    this.#out += text;
    if (this.#out.length > OUTPUT_MAX) throw new TemplateError(`the text is longer than ${OUTPUT_MAX} characters`);
  }

  #call({ name, pipe, at }: TemplateNode & { readonly kind: "template" }, dot: TemplateValue): void {
    const nodes = this.#template.defined.get(name);
    if (nodes === undefined) this.#fail(at, `{{template "${name}"}}`, `template "${name}" not defined`);
    if (++this.#calls > CALLS_MAX)
      this.#fail(at, `{{template "${name}"}}`, `exceeded maximum template depth (${CALLS_MAX})`);
    const value = pipe === undefined ? undefined : this.#pipe(pipe, dot);
    const variables = this.#variables;
    this.#variables = [{ name: "$", value }];
    this.#list(nodes, value);
    this.#variables = variables;
    this.#calls--;
  }

  #range(node: TemplateBranch, dot: TemplateValue): Ending {
    const known = this.#variables.length;
    const value = this.#pipe(node.pipe, dot, false);
    let empty = true;
    for (const [key, item] of this.#items(value, node)) {
      empty = false;
      this.#step();
      const { variables, assigns } = node.pipe;
      const names =
        variables.length === 2
          ? [[variables[0], key] as const, [variables[1], item] as const]
          : [[variables[0], item] as const];
      for (const [name, each] of names) if (name !== undefined) this.#set(name, each, assigns);
      const ending = this.#list(node.body, item);
      this.#variables.length = known;
      if (ending === "break") break;
    }
    if (empty) this.#list(node.otherwise, dot);
    this.#variables.length = known;
    return "through";
  }

  *#items(value: TemplateValue, { pipe }: TemplateBranch): Generator<readonly [TemplateValue, TemplateValue]> {
    if (typeof value === "bigint") {
      for (let i = 0n; i < value; i++) yield [i, i];
    } else if (typeof value === "object" && value.kind === "list") {
      for (const [index, item] of value.items.entries()) yield [BigInt(index), item];
    } else if (typeof value === "object" && value.kind === "map") {
      for (const key of [...value.entries.keys()].sort()) yield [key, value.entries.get(key)];
    } else if (value !== undefined) this.#fail(pipe.at, pipe.text, `range can't iterate over ${printValue(value)}`);
  }

  /** Value of a pipeline; its variables are set, but not by `range`, which sets them for each item. */
  #pipe({ commands, variables, assigns }: TemplatePipe, dot: TemplateValue, sets = true): TemplateValue {
    let value: TemplateValue;
    for (const [index, command] of commands.entries()) {
      value = this.#command(command, dot, index === 0 ? [] : [value]);
    }
    if (sets) for (const name of variables) this.#set(name, value, assigns);
    return value;
  }

  #set(name: string, value: TemplateValue, assigns: boolean): void {
    const known = assigns ? this.#variables.findLast((variable) => variable.name === name) : undefined;
    if (known === undefined) this.#variables.push({ name, value });
    else known.value = value;
  }

  #command(
    { operands, text, at }: TemplateCommand,
    dot: TemplateValue,
    piped: readonly TemplateValue[],
  ): TemplateValue {
    this.#step();
    const [first, ...others] = operands;
    if (first === undefined) throw new TemplateError("empty command");
    if (first.kind === "function") return this.#function(first.name, { text, at }, others, dot, piped);
    if (others.length > 0 || piped.length > 0) this.#refuseArguments(first);
    if (first.kind === "nil") this.#fail(first.at, "nil", "nil is not a command");
    return this.#operand(first, dot);
  }

  #refuseArguments(first: TemplateOperand): never {
    if (first.kind === "field" || first.kind === "variable" || first.kind === "chain") {
      const name = first.fields.at(-1);
      if (name !== undefined) this.#fail(first.at, first.text, `${name} is not a method but has arguments`);
    }
    this.#fail(first.at, first.text, `can't give argument to non-function ${first.text}`);
  }

  #function(
    name: string,
    place: { readonly text: string; readonly at: number },
    operands: readonly TemplateOperand[],
    dot: TemplateValue,
    piped: readonly TemplateValue[],
  ): TemplateValue {
    const args: TemplateValue[] = [];
    for (const operand of operands) {
      const value = operand.kind === "nil" ? undefined : this.#operand(operand, dot);
      // The first value that decides is the result, and what follows is not looked at.
      if ((name === "and" && !isTrue(value)) || (name === "or" && isTrue(value))) return value;
      args.push(value);
    }
    try {
      return callFunction(name, [...args, ...piped], this.#context);
    } catch (cause) {
      if (cause instanceof TemplateError) this.#fail(place.at, place.text, cause.message);
      throw cause;
    }
  }

  #operand(operand: TemplateOperand, dot: TemplateValue): TemplateValue {
    switch (operand.kind) {
      case "function":
        return this.#function(operand.name, operand, [], dot, []);
      case "dot":
        return dot;
      case "nil":
        return undefined;
      case "bool":
      case "string":
        return operand.value;
      case "number":
        if (operand.value === undefined) this.#fail(operand.at, operand.text, `${operand.text} overflows int`);
        return operand.value;
      case "field":
        return this.#fields(operand, dot, operand.fields);
      case "variable": {
        const variable = this.#variables.findLast(({ name }) => name === operand.name);
        return this.#fields(operand, variable?.value, operand.fields);
      }
      case "pipe":
        return this.#pipe(operand.pipe, dot);
      case "chain":
        return this.#fields(operand, this.#operand(operand.base, dot), operand.fields);
    }
  }

  #fields(
    place: { readonly at: number; readonly text: string },
    from: TemplateValue,
    names: readonly string[],
  ): TemplateValue {
    let value = from;
    for (const name of names) {
      if (value === undefined) this.#fail(place.at, place.text, `nil pointer evaluating interface {}.${name}`);
      const field = fieldOf(value, name);
      if (field === "none") {
        this.#fail(place.at, place.text, `can't evaluate field ${name} in type ${typeOf(value)}`);
      }
      value = field.value;
    }
    return value;
  }
}

const WEEKDAYS = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS = "January February March April May June July August September October November December".split(" ");

/** A field, an entry of a map, or what a time or duration tells of itself. */
function fieldOf(value: TemplateValue, name: string): { readonly value: TemplateValue } | "none" {
  if (typeof value !== "object") return "none";
  switch (value.kind) {
    case "map":
      return { value: value.entries.get(name) ?? (value.values === "string" ? "" : undefined) };
    case "struct":
      return value.fields.has(name) ? { value: value.fields.get(name) } : "none";
    case "time": {
      const at = new Date(value.unixMs);
      const known: Readonly<Record<string, TemplateValue>> = {
        Year: BigInt(at.getUTCFullYear()),
        Month: MONTHS[at.getUTCMonth()],
        Day: BigInt(at.getUTCDate()),
        Hour: BigInt(at.getUTCHours()),
        Minute: BigInt(at.getUTCMinutes()),
        Second: BigInt(at.getUTCSeconds()),
        Weekday: WEEKDAYS[at.getUTCDay()],
        Unix: BigInt(Math.floor(value.unixMs / 1000)),
        UnixMilli: BigInt(value.unixMs),
        String: printValue(value),
      };
      return Object.hasOwn(known, name) ? { value: known[name] } : "none";
    }
    case "duration": {
      const seconds = value.nanoseconds / 1e9;
      const known: Readonly<Record<string, TemplateValue>> = {
        Hours: seconds / 3600,
        Minutes: seconds / 60,
        Seconds: seconds,
        Milliseconds: BigInt(Math.trunc(value.nanoseconds / 1e6)),
        String: printValue(value),
      };
      return Object.hasOwn(known, name) ? { value: known[name] } : "none";
    }
    default:
      return "none";
  }
}
