/**
 * What becomes of the rest of a body that is refused: it is read and thrown away for a while, since a connection that is
 * closed over bytes that nobody read takes its answer with it.
 */

import type { IncomingMessage } from "node:http";
import { Socket } from "node:net";
import { isCrumbs } from "./body-collector.ts";

/** How long the rest of a refused body is read after the answer. */
const PASS_OVER_MS = 5_000;
/** Refusals are written in the same turn of the loop; how long there is for it anyway. */
const ANSWER_MS = 250;
/** Bytes that are read of it where they are not looked at. */
const UNPARSED_BYTES_MAX = 64 * 2 ** 20;

const unparsed = new WeakSet<IncomingMessage>();

/**
 * Lets the rest of a body run past, so that the answer arrives and the connection can be used again; one that takes long
 * is cut off, and of one in crumbs nobody looks for the end.
 */
export function passOver(request: IncomingMessage): void {
  let count = 0;
  let bytes = 0;
  const onData = (chunk: Buffer) => {
    bytes += chunk.length;
    freeNow(chunk);
    if (!isCrumbs(++count, bytes)) return;
    request.off("data", onData);
    passOverUnparsed(request);
  };
  request.on("data", onData);
  request.resume();
  if (request.complete || request.destroyed) return;
  const impatient = setTimeout(() => request.destroy(), PASS_OVER_MS);
  request.once("end", () => clearTimeout(impatient)).once("close", () => clearTimeout(impatient));
}

/**
 * Closes the connection of a request that is its last only once its body is there, if the answer comes before it: the
 * answer is sent, what still comes is thrown away, and who sends for too long is cut off.
 */
export function endGently(request: IncomingMessage): void {
  const { socket, headers } = request;
  if (headers["content-length"] === undefined && headers["transfer-encoding"] === undefined) return;
  socket.destroySoon = () => {
    const close = () => Socket.prototype.destroySoon.call(socket);
    if (request.complete || request.destroyed) return close();
    socket.end();
    request.once("end", close);
    const impatient = setTimeout(() => socket.destroy(), PASS_OVER_MS);
    socket.once("close", () => clearTimeout(impatient));
  };
}

/**
 * Reads what still comes over a request's connection without parsing it, which costs a microsecond and some hundred bytes
 * for each chunk of a byte. Where the body ends is not seen, so the connection serves no further request:
 * its answer should say so, see `isLast`.
 */
export function passOverUnparsed(request: IncomingMessage): void {
  if (unparsed.has(request)) return;
  unparsed.add(request);
  // What the parser has at hand still comes as chunks.
  request.on("data", freeNow);
  request.resume();
  const { socket } = request;
  // Node closes after an answer that is the last, over whatever is unread. Here the sender is told the end, and closes itself.
  socket.destroySoon = () => socket.end();
  process.nextTick(() => {
    // Node's own listener parses what comes, as its parser does beside it until another listener is there.
    socket.removeAllListeners("data");
    let bytes = 0;
    socket.on("data", (chunk: Buffer) => {
      bytes += chunk.length;
      freeNow(chunk);
      if (bytes > UNPARSED_BYTES_MAX) socket.destroy();
    });
    socket.once("end", () => Socket.prototype.destroySoon.call(socket));
    socket.resume();
    // An answer that left before the crumbs came did not say that it is the last.
    const answered = setTimeout(() => socket.end(), ANSWER_MS);
    const impatient = setTimeout(() => socket.destroy(), PASS_OVER_MS);
    socket.once("close", () => {
      clearTimeout(answered);
      clearTimeout(impatient);
    });
  });
}

/** Whether a request's connection serves no other after it. */
export function isLast(request: IncomingMessage): boolean {
  return unparsed.has(request);
}

/** Every chunk is a copy that the parser made; left to the collector, those of many bodies would pile up. */
export function freeNow({ buffer, byteOffset, byteLength }: Buffer): void {
  if (byteOffset === 0 && byteLength === buffer.byteLength && buffer instanceof ArrayBuffer) buffer.transfer(0);
}
