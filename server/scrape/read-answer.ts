/** The body of an answer through its format, in turns: other work comes in between, and one answer after the other. */

import { isUtf8 } from "node:buffer";
import type { Clock } from "../model/clock.ts";
import type { BodyBlocks } from "../platform/body-blocks.ts";
import { LoopTurns } from "../platform/loop-turns.ts";
import type { ExpositionSink } from "../wire/exposition.ts";
import { type HistogramChoice, ProtobufExposition } from "../wire/exposition-protobuf.ts";
import { LINE_UNITS_MAX, lineTooLong, TextExposition } from "../wire/exposition-text.ts";

/** Reading gives way after so long. */
const TURN_MS = 2;
/** Lines that are read between looks at the clock. */
const LINES = 200;
/** Metrics and other fields of protobuf between looks at the clock. */
const FIELDS = 8;
const LINE_FEED = 10;
/** Bytes of a line that is not whole yet. */
const LINE_BYTES_MAX = 3 * LINE_UNITS_MAX;

/** Gives one turn of the loop to each who waits, in their order, however many they are. */
export class TurnQueue {
  readonly #clock: Pick<Clock, "monotonicMs">;
  readonly #turns = new LoopTurns();

  constructor(clock: Pick<Clock, "monotonicMs">) {
    this.#clock = clock;
  }

  /** Calls `read` in turns that nobody else is given, until it says that there is no more. */
  async run(read: () => boolean): Promise<void> {
    for (let isMore = true; isMore; ) {
      await this.#turns.next();
      const untilMs = this.#clock.monotonicMs() + TURN_MS;
      do isMore = read();
      while (isMore && this.#clock.monotonicMs() < untilMs);
    }
  }
}

/** Where an answer goes. */
interface Reading {
  readonly sink: ExpositionSink;
  readonly turns: TurnQueue;
}

/**
 * Reads a text format line by line, each block freed before the next is read.
 *
 * @throws ExpositionError where the text leaves the format; what stood before was told to the sink.
 */
export async function readText(
  body: BodyBlocks,
  { openMetrics, sink, turns }: Reading & { readonly openMetrics: boolean },
): Promise<void> {
  if (body.length === 0) return;
  const reader = new TextExposition("", { openMetrics, isUtf8: true, isLast: false }, sink);
  /** Of a line that is not whole yet: put together once, however many blocks it lies in. */
  let rest: Buffer[] = [];
  let restBytes = 0;
  const append = async (bytes: Buffer, isLast: boolean) => {
    reader.append(bytes.toString(), { isUtf8: isUtf8(bytes), isLast });
    await turns.run(() => reader.read(LINES));
  };
  for (const block of body.read()) {
    const end = block.lastIndexOf(LINE_FEED) + 1;
    if (end > 0) {
      await append(Buffer.concat([...rest, block.subarray(0, end)]), false);
      rest = [];
      restBytes = 0;
    }
    restBytes += block.length - end;
    if (restBytes > LINE_BYTES_MAX) throw lineTooLong();
    rest.push(Buffer.from(block.subarray(end)));
  }
  await append(Buffer.concat(rest), true);
}

/**
 * Reads protobuf, whose families may be as long as the body: it is put together for it.
 *
 * @throws ExpositionError where the bytes leave the format; what stood before was told to the sink.
 */
export async function readProtobuf(
  body: BodyBlocks,
  { choice, sink, turns }: Reading & { readonly choice: HistogramChoice },
): Promise<void> {
  const reader = new ProtobufExposition(body.join(), choice, sink);
  await turns.run(() => reader.read(FIELDS));
}
