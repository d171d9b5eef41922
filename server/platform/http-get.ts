/** Asks services of the person's choice: bounded in time and bytes, over connections that are kept. */

import { readFile } from "node:fs/promises";
import { Agent as HttpAgent, request as httpRequest, type IncomingMessage } from "node:http";
import { Agent as HttpsAgent, request as httpsRequest } from "node:https";
import { createGunzip, type Gunzip } from "node:zlib";
import { type BlocksFault, BodyBlocks, type ByteRoom, isCrumbs } from "./body-blocks.ts";
import { LoopTurns } from "./loop-turns.ts";

/** Redirects that are followed. */
const REDIRECTS_MAX = 10;
const SOCKETS_KEPT = 8;
/** A body that comes at full speed gives way after so many bytes, for a turn of the loop that it has to itself. */
const TURN_BYTES = 256 * 1024;
/** What is read of an error's or a redirection's body. */
const PASSED_OVER_BYTES_MAX = 64 * 1024;
const PASSED_OVER_PIECES_MAX = 1_000;
/** Output per step of decompression. */
const INFLATED_BYTES = 64 * 1024;
/** Bytes of a file with a secret or a certificate. */
const SECRET_BYTES_MAX = 2 ** 20;

/** How to ask. */
export interface HttpGet {
  readonly url: string;
  readonly headers: Readonly<Record<string, string | readonly string[]>>;
  readonly followRedirects: boolean;
  /** Of the body once it is decompressed. */
  readonly bodyBytesMax: number;
  readonly signal: AbortSignal;
  /** Shared by all who ask, taken as the body comes; without it only `bodyBytesMax` holds. */
  readonly room?: ByteRoom | undefined;
}

/** What came; `contentType` is empty where nothing was said. The caller releases the body. */
export interface HttpAnswer {
  readonly contentType: string;
  readonly body: BodyBlocks;
}

/** TLS as PEM texts. */
export interface HttpTls {
  readonly ca: string | undefined;
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly serverName: string;
  readonly insecureSkipVerify: boolean;
}

/** The body is longer than allowed. */
export class BodyTooLarge extends Error {}

/** Connections that are kept, with these TLS settings. */
export function tlsAgent(tls: HttpTls, maxFreeSockets: number): HttpsAgent {
  return new HttpsAgent({
    keepAlive: true,
    maxFreeSockets,
    rejectUnauthorized: !tls.insecureSkipVerify,
    ...(tls.ca === undefined ? {} : { ca: tls.ca }),
    ...(tls.cert === undefined ? {} : { cert: tls.cert }),
    ...(tls.key === undefined ? {} : { key: tls.key }),
    ...(tls.serverName === "" ? {} : { servername: tls.serverName }),
  });
}

/** Connections to the same places, with the same TLS settings. */
export class HttpGetter {
  readonly #http = new HttpAgent({ keepAlive: true, maxFreeSockets: SOCKETS_KEPT });
  readonly #https: HttpsAgent;

  constructor(tls: HttpTls) {
    this.#https = tlsAgent(tls, SOCKETS_KEPT);
  }

  /** @throws Error whose message says what is wrong; `BodyTooLarge` where the body is. */
  async get(ask: HttpGet): Promise<HttpAnswer> {
    let url = new URL(ask.url);
    for (let redirects = 0; ; redirects++) {
      const answer = await this.#ask(url, ask);
      const status = answer.statusCode ?? 0;
      const location = answer.headers.location;
      if (ask.followRedirects && [301, 302, 303, 307, 308].includes(status) && location !== undefined) {
        passOver(answer);
        if (redirects === REDIRECTS_MAX) throw new Error(`stopped after ${REDIRECTS_MAX} redirects`);
        const next = new URL(location, url);
        if (next.protocol !== "http:" && next.protocol !== "https:") throw new Error(`redirected to ${next.protocol}`);
        url = next;
        continue;
      }
      if (status !== 200) {
        passOver(answer);
        throw new Error(`server returned HTTP status ${status} ${answer.statusMessage ?? ""}`.trimEnd());
      }
      const body = await readBody(answer, ask);
      return { contentType: answer.headers["content-type"] ?? "", body };
    }
  }

  close(): void {
    this.#http.destroy();
    this.#https.destroy();
  }

  #ask(url: URL, ask: HttpGet): Promise<IncomingMessage> {
    const isHttps = url.protocol === "https:";
    // Credentials are for the place they were given for.
    const isElsewhere = url.host !== new URL(ask.url).host;
    const headers = Object.entries(ask.headers).filter(
      ([name]) => !isElsewhere || !/^(authorization|cookie)$/i.test(name),
    );
    return new Promise((resolve, reject) => {
      const request = (isHttps ? httpsRequest : httpRequest)(
        url,
        {
          agent: isHttps ? this.#https : this.#http,
          headers: Object.fromEntries(
            headers.map(([name, value]) => [name, typeof value === "string" ? value : [...value]]),
          ),
          signal: ask.signal,
        },
        resolve,
      );
      request.on("error", (error) =>
        reject(ask.signal.aborted ? new Error("context deadline exceeded", { cause: error }) : error),
      );
      request.end();
    });
  }
}

const FAULTS: Readonly<Record<BlocksFault, string>> = {
  no_room: "there is no room for the body beside others that are read",
  crumbs: "the body comes in chunks of a few bytes",
};

/**
 * Lets a body that nobody wants whole run past, so that its connection is kept; a long one is cut off.
 *
 * @param onCut Told of that.
 */
export function passOver(answer: IncomingMessage, onCut = () => {}): void {
  let length = 0;
  let pieces = 0;
  answer.on("data", (piece: Uint8Array | string) => {
    length += piece.length;
    if (length <= PASSED_OVER_BYTES_MAX && ++pieces <= PASSED_OVER_PIECES_MAX) return;
    onCut();
    answer.destroy();
  });
}

/** Shared by all bodies, whoever asked for them. */
const turns = new LoopTurns();

async function readBody(answer: IncomingMessage, { bodyBytesMax, room }: HttpGet): Promise<BodyBlocks> {
  const encoding = answer.headers["content-encoding"] ?? "";
  if (encoding !== "" && encoding !== "identity" && encoding !== "gzip") {
    answer.destroy();
    throw new Error(`content encoding "${encoding}" was not asked for`);
  }
  const body = new BodyBlocks(room);
  const add = (piece: Uint8Array) => {
    if (body.length + piece.length > bodyBytesMax) return new BodyTooLarge("body size limit exceeded");
    const fault = body.add(piece);
    return fault === undefined ? undefined : new Error(FAULTS[fault]);
  };
  try {
    await readPieces(answer, encoding === "gzip", add);
    if (!answer.complete) throw new Error("unexpected EOF");
    return body;
  } catch (error) {
    body.release();
    throw error;
  }
}

/**
 * Reads an answer piece by piece, as its parser makes them: joined they would hide that they are crumbs. After an error
 * the answer's connection is closed.
 *
 * @param add Takes a piece, or says why not.
 */
function readPieces(
  answer: IncomingMessage,
  isGzip: boolean,
  add: (piece: Uint8Array) => Error | undefined,
): Promise<void> {
  const gunzip = isGzip ? createGunzip({ chunkSize: INFLATED_BYTES }) : undefined;
  const source = gunzip ?? answer;
  return new Promise((resolve, reject) => {
    let isOpen = true;
    let turnBytes = 0;
    const fail = (error: Error) => {
      if (!isOpen) return;
      isOpen = false;
      gunzip?.destroy();
      answer.destroy();
      reject(error);
    };
    source.on("data", (piece: Uint8Array) => {
      if (!isOpen) return;
      turnBytes += piece.length;
      const fault = add(piece);
      freeNow(piece);
      if (fault !== undefined) return fail(fault);
      if (turnBytes < TURN_BYTES) return;
      turnBytes = 0;
      source.pause();
      void turns.next().then(() => source.resume());
    });
    source.once("end", () => {
      isOpen = false;
      resolve();
    });
    source.on("error", fail);
    answer.on("error", fail);
    answer.once("close", () => {
      if (!answer.complete) fail(new Error("unexpected EOF"));
    });
    if (gunzip !== undefined) unpack(answer, gunzip, fail);
  });
}

function unpack(answer: IncomingMessage, gunzip: Gunzip, fail: (error: Error) => void): void {
  let pieces = 0;
  let bytes = 0;
  answer.on("data", (piece: Uint8Array) => {
    bytes += piece.length;
    if (isCrumbs(++pieces, bytes)) fail(new Error(FAULTS.crumbs));
  });
  answer.pipe(gunzip);
}

/** Pieces have memory of their own mostly; left to the collector, those of many answers would pile up. */
function freeNow({ buffer, byteOffset, byteLength }: Uint8Array): void {
  if (byteOffset === 0 && byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0);
}

/** A text that stands in a file, without line ends at its own end. @throws Error that names the file. */
export async function readSecretFile(file: string): Promise<string> {
  const text = await readFile(file, "utf8");
  if (text.length > SECRET_BYTES_MAX) throw new Error(`${file}: it is longer than ${SECRET_BYTES_MAX} bytes`);
  return text.replace(/[\r\n]+$/, "");
}
