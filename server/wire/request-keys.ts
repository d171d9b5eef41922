/**
 * Attribute keys by number, over requests: what a key means is found out once.
 *
 * Spans of one program carry the same keys in the same order, so the key that followed the last one is tried first.
 */

import { addressSourceOf, NO_ADDRESS } from "./address-columns.ts";
import { agentColumnOf, NO_AGENT_COLUMN } from "./agent-columns.ts";
import { ByteNumbers } from "./byte-numbers.ts";
import { grownTo } from "./growing-bytes.ts";
import type { RequestTexts } from "./request-texts.ts";

const KEYS_AT_FIRST = 256;
/** Keys that are kept, and their bytes; beyond them all are forgotten and learned again. */
const KEYS_MAX = 16_384;
const KEY_BYTES_MAX = 4 * 2 ** 20;

/** Keys longer than this are looked up by their bytes. */
const KEPT_KEY_UNITS_MAX = 128;

/** Call `begin` for each request and `forgetIfFull` where no number of a key is in use. */
export class RequestKeys {
  readonly #texts: RequestTexts;
  readonly #numbers = new ByteNumbers();
  /** Numbers of keys that came as strings. */
  readonly #byText = new Map<string, number>();
  #bytes: Uint8Array = new Uint8Array(0);
  #view = new DataView(new ArrayBuffer(0));
  #request = 0;
  #known = 0;
  #last = 0;
  #source = new Uint8Array(KEYS_AT_FIRST);
  #agentColumn = new Uint8Array(KEYS_AT_FIRST);
  #next = new Uint32Array(KEYS_AT_FIRST);
  #text = new Uint32Array(KEYS_AT_FIRST);
  #textRequest = new Uint32Array(KEYS_AT_FIRST);

  constructor(texts: RequestTexts) {
    this.#texts = texts;
  }

  /** Starts on a request; its texts were begun with the same bytes. */
  begin(bytes: Uint8Array): void {
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer as ArrayBuffer, bytes.byteOffset, bytes.byteLength); // whichever it is
    this.#request++;
    this.#last = 0;
    this.forgetIfFull();
  }

  /** Whether numbers start over: those given so far mean nothing any more. */
  forgetIfFull(): boolean {
    if (this.#numbers.count <= KEYS_MAX && this.#numbers.heapBytes <= KEY_BYTES_MAX) return false;
    this.#numbers.clear();
    this.#byText.clear();
    this.#known = 0;
    this.#last = 0;
    this.#next.fill(0);
    this.#textRequest.fill(0);
    return true;
  }

  /** Number of the key at these bytes of the request. */
  at(start: number, end: number): number {
    let key = this.#next[this.#last] ?? 0;
    if (!this.#numbers.isAt(key, this.#view, start, end)) {
      key = this.#learn(this.#numbers.find(this.#bytes, this.#view, start, end));
      this.#next[this.#last] = key;
    }
    this.#last = key;
    if (this.#textRequest[key] !== this.#request) {
      this.#textRequest[key] = this.#request;
      this.#text[key] = this.#texts.at(start, end);
    }
    return key;
  }

  /** Number of a key that is a string. */
  of(text: string): number {
    const key = this.#byText.get(text) ?? this.#learnText(text);
    if (this.#textRequest[key] !== this.#request) {
      this.#textRequest[key] = this.#request;
      this.#text[key] = this.#texts.of(text);
    }
    return key;
  }

  /** Index of a key's text in this request. */
  text(key: number): number {
    return this.#text[key] ?? 0;
  }

  /** Which address a key names, as `addressSourceOf` says. */
  source(key: number): number {
    return this.#source[key] ?? NO_ADDRESS;
  }

  /** Which column of an agent a key names, as `agentColumnOf` says. */
  agentColumn(key: number): number {
    return this.#agentColumn[key] ?? NO_AGENT_COLUMN;
  }

  /** Texts that differ in lone surrogates alone are one key, so there may be more of them. */
  #learnText(text: string): number {
    const bytes = Buffer.from(text, "utf8");
    const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    const key = this.#learn(this.#numbers.find(bytes, view, 0, bytes.length));
    if (this.#byText.size >= KEYS_MAX) this.#byText.clear();
    if (text.length <= KEPT_KEY_UNITS_MAX) this.#byText.set(text, key);
    return key;
  }

  #learn(key: number): number {
    if (key < this.#known) return key;
    this.#known = key + 1;
    if (key >= this.#source.length) {
      this.#source = grownTo(this.#source, new Uint8Array(2 * key));
      this.#agentColumn = grownTo(this.#agentColumn, new Uint8Array(2 * key));
      this.#next = grownTo(this.#next, new Uint32Array(2 * key));
      this.#text = grownTo(this.#text, new Uint32Array(2 * key));
      this.#textRequest = grownTo(this.#textRequest, new Uint32Array(2 * key));
    }
    const text = this.#numbers.read(key);
    this.#source[key] = addressSourceOf(text);
    this.#agentColumn[key] = agentColumnOf(text);
    return key;
  }
}
