/**
 * HTTP/2, with or without its beginning, and gRPC on it: pairs requests with responses by stream.
 *
 * Invariants: `#streams` holds exchanges that are started and not finished, at most `STREAMS_MAX`; each is finished
 * once. `#over` holds streams that may still carry frames though their exchange is finished or was left out, at most
 * `OVER_MAX`. Header blocks are decoded in the order of the wire, also those that nobody asks for, since each may
 * change the table that later ones refer to.
 *
 * @see RFC 9113; RFC 7540 section 3.2 (upgrade from HTTP/1.1); RFC 8441 (extended CONNECT)
 */

import type { Exchange, ExchangeSink, MessageMark, ProtocolParser, StreamSlice } from "./exchange.ts";
import { type FieldReader, HpackDecoder } from "./hpack.ts";
import { enterBodySize, enterCutShort } from "./http1-exchange.ts";
import {
  answerHttp2,
  emptyFields,
  enterField,
  enterGrpcReset,
  enterTrailers,
  exchangeOfHttp2Request,
  exchangeOfHttp2Response,
  type Fields,
  isFieldRead,
} from "./http2-exchange.ts";
import { judgeFrames } from "./http2-frame.ts";
import { type FrameOwner, FrameReader, type HeaderBlock, type Moment } from "./http2-reader.ts";
import type { ParserContext, Protocol } from "./protocol.ts";

/** Exchanges of one connection under way at a time; further ones are counted and left out. */
export const STREAMS_MAX = 1024;
/** Streams remembered though their exchange is finished, since frames of theirs may still come. */
export const OVER_MAX = 1024;
/** A request without an answer is given up after this much silence on its stream. */
export const ANSWER_WAIT_NS_MAX = 600e9;
/** An answer whose end may be among lost bytes is taken for ended after this much silence on its stream. */
export const DOUBTFUL_QUIET_NS = 2e9;

const NO_ERROR = 0;
const REFUSED_STREAM = 7;
const CANCEL = 8;

/** An exchange under way. */
interface Stream {
  readonly exchange: Exchange;
  /** Content of either direction; -1 where frames are missing. */
  readonly bodyBytes: [number, number];
  isRequestEnded: boolean;
  /** Bytes are missing that may have been its answer, or the end of it, and nothing of it came since. */
  isDoubtful: boolean;
  lastNs: number;
}

/** HTTP/2. Its calls of gRPC are exchanges of the protocol `grpc`. */
export const HTTP2: Protocol = {
  name: "http2",
  ports: [50051],
  upgradeTokens: ["h2c"],
  detect: judgeFrames,
  create: (sink, context) => new Http2Parser(sink, context),
};

/** gRPC, for those who ask for it by name: any HTTP/2 connection may carry it. */
export const GRPC: Protocol = { ...HTTP2, name: "grpc", ports: [], upgradeTokens: [] };

class Http2Parser implements ProtocolParser, FrameOwner {
  detached: ProtocolParser["detached"] = "";
  readonly detachedTo = "";
  readonly #sink: ExchangeSink;
  readonly #context: ParserContext;
  readonly #readers: readonly [FrameReader, FrameReader];
  readonly #decoders: [HpackDecoder, HpackDecoder];
  readonly #streams = new Map<number, Stream>();
  readonly #over = new Set<number>();
  /** Highest stream that the client has begun. */
  #lastStream = 0;
  /** No byte is missing so far. */
  #isWhole: boolean;
  readonly #isTrackLost: [boolean, boolean] = [false, false];
  #fields: Fields = emptyFields();
  readonly #readField: FieldReader = (name, value) => enterField(this.#fields, name, value);

  constructor(sink: ExchangeSink, context: ParserContext) {
    this.#sink = sink;
    this.#context = context;
    this.#isWhole = !context.joinedLate;
    const { joinedLate } = context;
    this.#readers = [new FrameReader(this, 0, joinedLate), new FrameReader(this, 1, joinedLate)];
    this.#decoders = [new HpackDecoder(joinedLate, isFieldRead), new HpackDecoder(joinedLate, isFieldRead)];
  }

  data(direction: 0 | 1, slice: StreamSlice): number {
    if (this.detached !== "") return 0;
    const reader = this.#readers[direction];
    reader.feed(slice);
    if (reader.isHopeless && this.#streams.size === 0) this.detached = "invalid";
    return slice.bytes.length;
  }

  gap(direction: 0 | 1, count: number, timeNs: number, tid: number): void {
    if (this.detached !== "" || count === 0) return;
    this.#isWhole = false;
    this.#readers[direction].gap(count, timeNs, tid);
  }

  closed(_timeNs: number, reset: boolean): void {
    this.#finishAll(reset ? "reset" : "connection_closed");
  }

  stopped(): void {
    this.#finishAll("");
  }

  expire(nowNs: number): void {
    for (const [id, stream] of this.#streams) {
      const quietNs = nowNs - stream.lastNs;
      const isAnswered = stream.exchange.response !== undefined;
      if (isAnswered) {
        if (stream.isDoubtful && quietNs > DOUBTFUL_QUIET_NS) this.#finish(id, stream, "");
      } else if (quietNs > ANSWER_WAIT_NS_MAX) this.#finish(id, stream, stream.isDoubtful ? "gap" : "timeout");
    }
  }

  isOpen(stream: number): boolean {
    return this.#streams.has(stream);
  }

  prefaceRead(): void {
    // The connection was seen from its beginning after all: no table has entries yet.
    if (this.#isWhole || this.#isTrackLost[0] || this.#isTrackLost[1] || this.#lastStream > 0) return;
    this.#decoders[0] = new HpackDecoder(false, isFieldRead);
    this.#decoders[1] = new HpackDecoder(false, isFieldRead);
    this.#readers[1].trust();
    this.#isWhole = true;
  }

  prefaceMissed(): void {
    this.#isWhole = false;
    for (const direction of [0, 1] as const) {
      this.#readers[direction].distrust();
      this.#decoders[direction].lose();
    }
  }

  blockRead(direction: 0 | 1, block: HeaderBlock): void {
    const decoder = this.#decoders[direction];
    this.#fields = emptyFields();
    const outcome = decoder.decode(block.bytes, block.start, block.end, this.#readField);
    if (outcome === "damaged") this.count("http2_block_damaged");
    if (block.isCut) decoder.lose();
    if (block.isCut || outcome !== "whole") this.#fields.isPartial = true;
    if (block.promised !== 0) this.#pushBlock(block);
    else if (direction === 1) this.#responseBlock(block);
    else if (block.stream % 2 === 1) this.#requestBlock(block);
  }

  dataPassed(direction: 0 | 1, id: number, bodyBytes: number, bytes: number, moment: Moment): void {
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    const { exchange } = stream;
    if (stream.bodyBytes[direction] >= 0) stream.bodyBytes[direction] += bodyBytes;
    stream.lastNs = moment.timeNs;
    if (direction === 1) stream.isDoubtful = false;
    const mark = direction === 0 ? exchange.request : exchange.response;
    if (mark === undefined) return;
    mark.bytes += bytes;
    mark.endNs = moment.timeNs;
    mark.lastTid = moment.tid;
  }

  dataEnded(direction: 0 | 1, id: number): void {
    this.#messageEnded(direction, id, this.#streams.get(id));
  }

  streamReset(direction: 0 | 1, id: number, code: number): void {
    this.#over.delete(id);
    const stream = this.#streams.get(id);
    if (stream === undefined) return;
    const { exchange } = stream;
    const isAnswered = exchange.response !== undefined;
    // Who has read enough of an answer may leave the rest: that fails nobody.
    const isHarmless = isAnswered && (code === NO_ERROR || (code === CANCEL && direction === 0));
    if (!isHarmless || code === CANCEL) enterGrpcReset(exchange, code);
    this.#finish(id, stream, isHarmless ? "" : "reset");
  }

  goneAway(direction: 0 | 1, lastStream: number): void {
    if (direction === 0) return;
    for (const [id, stream] of this.#streams) {
      if (id <= lastStream || stream.exchange.response !== undefined) continue;
      enterGrpcReset(stream.exchange, REFUSED_STREAM);
      this.#finish(id, stream, "reset");
    }
  }

  payloadMaxSet(direction: 0 | 1, bytes: number): void {
    const other = this.#readers[direction === 0 ? 1 : 0];
    other.payloadMax = Math.max(other.payloadMax, bytes);
  }

  trackLost(direction: 0 | 1, mayHaveAdded: boolean): void {
    this.#isWhole = false;
    this.#isTrackLost[direction] = true;
    if (mayHaveAdded) this.#decoders[direction].lose();
    for (const stream of this.#streams.values()) {
      const isOver = direction === 0 && stream.isRequestEnded;
      if (!isOver) stream.bodyBytes[direction] = -1;
      stream.isDoubtful = true;
    }
  }

  count(reason: string): void {
    this.#context.count(reason);
  }

  #requestBlock(block: HeaderBlock): void {
    const { stream: id, mark } = block;
    const stream = this.#streams.get(id);
    if (stream !== undefined) {
      extend(stream, stream.exchange.request, mark);
      if (block.endsStream) this.#messageEnded(0, id, stream);
      return;
    }
    if (id <= this.#lastStream || this.#over.has(id)) {
      if (block.endsStream) this.#over.delete(id);
      return;
    }
    const fields = this.#fields;
    if (fields.method === "" && (block.endsStream || !fields.isPartial)) {
      // Trailers of a request that was not seen, or a malformed request.
      this.count("http2_request_without_method");
      return;
    }
    this.#lastStream = id;
    if (this.#streams.size >= STREAMS_MAX && !this.#makeRoom()) {
      this.count("http2_streams_max");
      this.#rememberOver(id);
      return;
    }
    const exchange = exchangeOfHttp2Request(fields, id, mark, this.#context);
    this.#streams.set(id, makeStream(exchange, mark.endNs, block.endsStream));
    this.#sink.started(exchange);
  }

  /** The server announces an answer to a request that nobody sent. */
  #pushBlock(block: HeaderBlock): void {
    this.count("http2_push_promise");
    const { promised: id, mark } = block;
    if (id <= 0 || id % 2 === 1 || this.#fields.method === "" || this.#streams.has(id)) return;
    if (this.#streams.size >= STREAMS_MAX) {
      this.count("http2_streams_max");
      return;
    }
    const exchange = exchangeOfHttp2Request(this.#fields, id, mark, this.#context);
    exchange.type = "message";
    exchange.request = undefined;
    this.#streams.set(id, makeStream(exchange, mark.endNs, true));
  }

  #responseBlock(block: HeaderBlock): void {
    const { stream: id, mark } = block;
    const fields = this.#fields;
    let stream = this.#streams.get(id);
    if (stream === undefined) {
      if (this.#over.has(id)) {
        if (block.endsStream) this.#over.delete(id);
        return;
      }
      stream = this.#unasked(block);
      if (stream === undefined) return;
    } else if (fields.status >= 100 && fields.status < 200) {
      stream.lastNs = mark.endNs;
      return;
    } else if (stream.exchange.response === undefined) {
      const isPushed = stream.exchange.type === "message";
      answerHttp2(stream.exchange, fields, mark);
      if (isPushed) stream.exchange.type = "message";
      stream.lastNs = mark.endNs;
    } else {
      extend(stream, stream.exchange.response, mark);
      enterTrailers(stream.exchange, fields);
    }
    stream.isDoubtful = false;
    if (block.endsStream) this.#messageEnded(1, id, stream);
  }

  /** A response to a request that was not seen. */
  #unasked(block: HeaderBlock): Stream | undefined {
    const { stream: id, mark } = block;
    // The answer on stream 1 to a request that was sent before the connection changed to HTTP/2 is asked for.
    const isUpgraded = id === 1 && this.#lastStream === 0;
    if (id % 2 === 0 || ((this.#isWhole || id <= this.#lastStream) && !isUpgraded)) {
      this.count("http2_response_unasked");
      return undefined;
    }
    if (this.#fields.status < 200 || this.#streams.size >= STREAMS_MAX) return undefined;
    const exchange = exchangeOfHttp2Response(this.#fields, id, mark);
    const stream = makeStream(exchange, mark.endNs, true);
    this.#streams.set(id, stream);
    return stream;
  }

  #messageEnded(direction: 0 | 1, id: number, stream: Stream | undefined): void {
    if (stream === undefined) {
      this.#over.delete(id);
      return;
    }
    if (direction === 0) stream.isRequestEnded = true;
    else if (stream.exchange.response !== undefined) this.#finish(id, stream, "");
    // The end of an answer whose head was not seen.
    else this.#finish(id, stream, "gap");
  }

  /** Gives up the oldest exchange of which bytes are missing. */
  #makeRoom(): boolean {
    for (const [id, stream] of this.#streams) {
      if (!stream.isDoubtful) continue;
      this.#finish(id, stream, stream.exchange.response === undefined ? "gap" : "");
      return true;
    }
    return false;
  }

  #finishAll(reason: string): void {
    for (const [id, stream] of this.#streams) {
      const isAnswered = stream.exchange.response !== undefined;
      this.#finish(id, stream, reason === "" || !stream.isDoubtful ? reason : isAnswered ? "" : "gap");
    }
  }

  #finish(id: number, stream: Stream, reason: string): void {
    const { exchange } = stream;
    this.#streams.delete(id);
    if (!stream.isRequestEnded || reason !== "") this.#rememberOver(id);
    const [asked, answered] = stream.bodyBytes;
    if (exchange.request !== undefined && asked >= 0) enterBodySize(exchange, 0, asked);
    if (exchange.response !== undefined && answered >= 0) enterBodySize(exchange, 1, answered);
    if (reason !== "") enterCutShort(exchange, reason);
    this.#sink.finished(exchange);
  }

  #rememberOver(id: number): void {
    this.#over.add(id);
    if (this.#over.size <= OVER_MAX) return;
    for (const oldest of this.#over) {
      this.#over.delete(oldest);
      return;
    }
  }
}

function makeStream(exchange: Exchange, lastNs: number, isRequestEnded: boolean): Stream {
  return { exchange, bodyBytes: [0, 0], isRequestEnded, isDoubtful: false, lastNs };
}

/** Another header block, or trailers, belongs to the message of `mark`. */
function extend(stream: Stream, mark: MessageMark | undefined, block: MessageMark): void {
  stream.lastNs = block.endNs;
  if (mark === undefined) return;
  mark.bytes += block.bytes;
  mark.endNs = block.endNs;
  mark.lastTid = block.lastTid;
}
