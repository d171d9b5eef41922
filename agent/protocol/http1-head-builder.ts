/**
 * Puts a head together line by line, with header lines that go on in the next line.
 *
 * Invariant: the header of the last line is held back until the next line shows that it does not go on.
 */

import { applyHeader, HEADER_OTHER, type Head, headerOf, headerValue, trimmedText } from "./http1-head.ts";

const SPACE = 0x20;
const TAB = 0x09;

/** The head under way, if there is one. */
export class HeadBuilder {
  #head: Head | undefined;
  #heldHeader = HEADER_OTHER;
  #heldValue = "";

  /** Begins with what the start line said. */
  begin(head: Head): void {
    this.#head = head;
    this.#heldHeader = HEADER_OTHER;
  }

  /** Takes a header line, its end left out. */
  line(bytes: Uint8Array, start: number, end: number): void {
    const first = bytes[start];
    if (first === SPACE || first === TAB) {
      if (this.#heldHeader !== HEADER_OTHER) this.#heldValue += ` ${trimmedText(bytes, start, end)}`;
      return;
    }
    this.settle();
    const header = headerOf(bytes, start, end);
    if (header === HEADER_OTHER) return;
    this.#heldHeader = header;
    this.#heldValue = headerValue(bytes, start, end);
  }

  /** The header that was held back is whole. @returns The head so far. */
  settle(): Head | undefined {
    if (this.#heldHeader !== HEADER_OTHER && this.#head !== undefined) {
      applyHeader(this.#head, this.#heldHeader, this.#heldValue.trim());
      this.#heldHeader = HEADER_OTHER;
      this.#heldValue = "";
    }
    return this.#head;
  }

  /** The head is whole, or no more of it will be seen. */
  take(): Head {
    const head = this.settle();
    if (head === undefined) throw new Error("a head is taken before it began");
    this.#head = undefined;
    return head;
  }
}
