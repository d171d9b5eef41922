/** Secrets that can be found again wherever they turn up, whole, cut, encoded or in other letters. */

import { Random } from "../promql-fuzz/random.ts";

/** Shapes that give a secret away wherever it stands. */
const SHAPES = ["jwt", "github", "slack", "stripe", "aws", "google", "base64", "email", "card"] as const;
export type Shape = (typeof SHAPES)[number];

const LETTERS = "abcdefghijklmnopqrstuvwxyz";
const SIGNS = `${LETTERS}0123456789`;
const MARKER_CHARS = 5;

/**
 * Makes secrets and remembers what gives them away.
 *
 * Each but a card number begins and ends with a marker of this run, so that a part of one is found, too. Markers have
 * letters that seldom stand beside each other, so that nothing else holds them.
 */
export class Planter {
  readonly #random: Random;
  readonly #first: string;
  readonly #last: string;
  readonly #cards: string[] = [];
  #planted = 0;

  constructor(seed: number) {
    this.#random = new Random(seed);
    this.#first = `zqv${this.#letters(LETTERS, MARKER_CHARS)}`;
    this.#last = `${this.#letters(LETTERS, MARKER_CHARS)}xjq`;
  }

  /** Secrets made so far. */
  get planted(): number {
    return this.#planted;
  }

  /** A secret that nothing gives away but the place where it stands. */
  plain(): string {
    this.#planted++;
    return `${this.#first}${this.#letters(SIGNS, 6)}7${this.#last}`;
  }

  /** A secret of a shape that its issuer, or a standard, gave it. */
  shaped(shape: Shape): string {
    this.#planted++;
    switch (shape) {
      case "jwt":
        return [`eyJhbGciOi${this.#core()}`, `eyJzdWIiOi${this.#core()}`, `Sig${this.#core()}Z`].join(".");
      case "github":
        return `ghp_${this.#core()}`;
      case "slack":
        return `xoxb-1234-${this.#core()}`;
      case "stripe":
        return `sk_live_${this.#core()}`;
      case "aws":
        return `AKIA${this.#core().toUpperCase()}`;
      case "google":
        return `AIza${this.#core()}Q`;
      case "base64":
        return `Kd93${this.#core()}AbC0${this.#core()}`;
      case "email":
        return `${this.#core()}@mail.example.com`;
      default:
        return this.#card();
    }
  }

  /** One shape after the other. */
  anyShape(): string {
    return this.shaped(SHAPES[this.#planted % SHAPES.length] ?? "jwt");
  }

  /** Bytes to look for, in small letters, in text of small letters. */
  needles(): string[] {
    const hex = (text: string) => Buffer.from(text).toString("hex");
    const wide = (text: string) => Buffer.from(text, "utf16le").toString("latin1");
    return [...[this.#first, this.#last].flatMap((text) => [text, hex(text), wide(text)]), ...this.#cards];
  }

  /** Bytes to look for in text as it stands: base64 of the markers, however they lie in its groups of three. */
  exactNeedles(): string[] {
    return [this.#first, this.#last].flatMap((marker) =>
      [0, 1, 2].flatMap((shift) => {
        const bytes = Buffer.concat([Buffer.alloc(shift), Buffer.from(marker)]);
        const whole = bytes.length - (bytes.length % 3);
        const text = bytes.subarray(0, whole).toString("base64");
        // The first letters depend on what stands before the marker.
        return [text.slice(shift === 0 ? 0 : 4)];
      }),
    );
  }

  #core(): string {
    return `${this.#first}${this.#letters(SIGNS, 6)}7${this.#last}`;
  }

  #letters(from: string, count: number): string {
    let text = "";
    for (let at = 0; at < count; at++) text += from[this.#random.whole(0, from.length - 1)];
    return text;
  }

  #card(): string {
    const digits = [4, ...Array.from({ length: 14 }, () => this.#random.whole(0, 9))];
    const sum = digits.reduce((total, digit, at) => {
      const weighted = at % 2 === 0 ? digit * 2 : digit;
      return total + (weighted > 9 ? weighted - 9 : weighted);
    }, 0);
    const card = [...digits, (10 - (sum % 10)) % 10].join("");
    this.#cards.push(card);
    return card;
  }
}
