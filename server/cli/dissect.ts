/**
 * `thalweg dissect`: prints the exchanges of a capture file, one JSON object a line.
 *
 * The bytes go through the very code that live capture runs. What they hold is redacted as it is there.
 */

import { statSync } from "node:fs";
import { readCaptureFile } from "../../agent/capture/capture-file.ts";
import type { Connection, ConnectionSink } from "../../agent/connection/connection-sink.ts";
import { Connections } from "../../agent/connection/connections.ts";
import type { Exchange } from "../../agent/protocol/exchange.ts";
import { PROTOCOLS } from "../../agent/protocol/protocols.ts";
import type { Endpoint } from "../model/capture-event.ts";

const USAGE = "Usage: thalweg dissect FILE [--protocol NAME] [--perspective client|server]\n";

/** Lines are written together once they hold this many characters. */
const WRITE_CHARS = 65_536;

interface DissectOptions {
  readonly file: string;
  readonly protocol: string | undefined;
  readonly perspective: "client" | "server" | undefined;
}

/**
 * Runs the verb.
 *
 * @returns Exit status: 0 ok, 2 usage, 4 where the file cannot be read as a capture.
 */
export async function runDissect(
  argv: string[],
  stdout: NodeJS.WritableStream,
  stderr: NodeJS.WritableStream,
): Promise<number> {
  const options = parseArguments(argv);
  if (typeof options === "string") {
    stderr.write(`thalweg dissect: ${options}\n${USAGE}`);
    return 2;
  }
  const { protocol } = options;
  if (protocol !== undefined && !PROTOCOLS.some((known) => known.name === protocol)) {
    await write(stdout, `${JSON.stringify({ type: "unsupported", protocol })}\n`);
    return 0;
  }
  const printer = new ExchangePrinter(protocol);
  try {
    dissect(options, printer);
  } catch (error) {
    if (!(error instanceof Error)) throw error;
    stderr.write(`thalweg dissect: ${error.message}\n`);
    return 4;
  }
  for (const text of printer.texts()) await write(stdout, text);
  return 0;
}

function dissect(options: DissectOptions, printer: ExchangePrinter): void {
  // An empty file is a capture of nothing, of whatever kind it is.
  if (statSync(options.file).size === 0) return;
  const protocols = options.protocol === undefined ? PROTOCOLS : PROTOCOLS.filter((p) => p.name === options.protocol);
  const connections = new Connections(printer, { redaction: true, protocols });
  readCaptureFile(options.file, connections, {
    perspective: options.perspective,
    clock: (offset) => printer.setClock(offset.bootToUnixNano),
  });
  connections.stop(0);
}

/** @returns The options, or what is wrong with the arguments. */
function parseArguments(argv: readonly string[]): DissectOptions | string {
  let file: string | undefined;
  let protocol: string | undefined;
  let perspective: "client" | "server" | undefined;
  for (let at = 0; at < argv.length; at++) {
    const word = argv[at] ?? "";
    const [flag, inline] = splitFlag(word);
    if (flag === undefined) {
      if (file !== undefined) return `one file at a time; '${word}' is the second.`;
      file = word;
      continue;
    }
    if (flag !== "--protocol" && flag !== "--perspective") return `there is no option '${flag}'.`;
    const value = inline ?? argv[++at];
    if (value === undefined || value === "") return `${flag} needs a value.`;
    if (flag === "--protocol") protocol = value.toLowerCase();
    else if (value === "client" || value === "server") perspective = value;
    else return `--perspective '${value}' is neither client nor server.`;
  }
  return file === undefined ? "a file is needed." : { file, protocol, perspective };
}

function splitFlag(word: string): [string | undefined, string | undefined] {
  if (!word.startsWith("--")) return [undefined, undefined];
  const equals = word.indexOf("=");
  return equals < 0 ? [word, undefined] : [word.slice(0, equals), word.slice(equals + 1)];
}

/** Collects exchanges as text. */
class ExchangePrinter implements ConnectionSink {
  readonly #protocol: string | undefined;
  readonly #texts: string[] = [];
  #text = "";
  #bootToUnixNano = 0n;

  constructor(protocol: string | undefined) {
    this.#protocol = protocol;
  }

  setClock(bootToUnixNano: bigint): void {
    this.#bootToUnixNano = bootToUnixNano;
  }

  exchangeStarted(): void {}

  exchangeFinished(connection: Connection, exchange: Exchange): void {
    if (this.#protocol !== undefined && exchange.protocol !== this.#protocol) return;
    this.#text += `${printExchange(connection, exchange, this.#bootToUnixNano)}\n`;
    if (this.#text.length < WRITE_CHARS) return;
    this.#texts.push(this.#text);
    this.#text = "";
  }

  connectionClosed(): void {}

  texts(): readonly string[] {
    return [...this.#texts, this.#text];
  }
}

/** One line of the verb's answer. Times have more digits than JavaScript's numbers hold, so they are printed from bigints. */
function printExchange(connection: Connection, exchange: Exchange, bootToUnixNano: bigint): string {
  const first = exchange.request ?? exchange.response;
  const last = exchange.response ?? exchange.request;
  const unix = (timeNs: number | undefined) => (timeNs === undefined ? 0n : bootToUnixNano + wholeNano(timeNs));
  const before = {
    protocol: exchange.protocol,
    type: exchange.type,
    op: exchange.op,
    resource: exchange.resource,
    endpoint: exchange.endpoint,
    status: exchange.status,
    code: exchange.code,
    id: exchange.id,
    client: printEndpoint(connection.client),
    server: printEndpoint(connection.server),
    request_bytes: exchange.request?.bytes ?? 0,
    response_bytes: exchange.response?.bytes ?? 0,
  };
  const after = { stream: exchange.stream, version: exchange.version, attributes: exchange.attributes };
  const times = `"start_ns":${unix(first?.startNs)},"end_ns":${unix(last?.endNs)}`;
  return `${JSON.stringify(before).slice(0, -1)},${times},${JSON.stringify(after).slice(1)}`;
}

/** Far from the beginning of its file, a time is exact to some tens of nanoseconds only: it is printed in microseconds. */
function wholeNano(timeNs: number): bigint {
  return Number.isSafeInteger(Math.round(timeNs))
    ? BigInt(Math.round(timeNs))
    : BigInt(Math.round(timeNs / 1000)) * 1000n;
}

function printEndpoint(end: Endpoint): string {
  return end.addr.includes(":") ? `[${end.addr}]:${end.port}` : `${end.addr}:${end.port}`;
}

/** Writes and waits until the stream takes more. */
function write(stream: NodeJS.WritableStream, text: string): Promise<void> {
  return new Promise((resolve, reject) => {
    stream.write(text, (error?: Error | null) => {
      if (error === undefined || error === null) resolve();
      else reject(error);
    });
  });
}
