/** Texts that are nearly PromQL: printed random trees with words taken out, put in and changed. */

import { printPromql } from "../../grammar/promql-print.ts";
import { type RandomBelow, RandomTree } from "../../grammar/test-trees.ts";

const TOKEN = /\s+|"(?:[^"\\\n]|\\.)*"|[A-Za-z_:][\w:]*|\d[\w.]*|==|!=|=~|!~|<=|>=|<\/|>\/|./gsu;
const WORDS = [
  ..."( ) [ ] { } , : + - * / % ^ == != <= >= < > =~ !~ = </ >/ @ $ ! ~ . # ' ` \\ é".split(" "),
  ..."and or unless atan2 bool by without on ignoring group_left group_right offset start end step range".split(" "),
  ..."min_of max_of anchored smoothed fill fill_left fill_right sum topk count_values limitk rate foo foo:bar".split(
    " ",
  ),
  ..."5 5m 0 -1 0x1f 017 08 1e3 1e 1_000 1__0 .5 5. 5mm 1m1h 9e999 Inf nan 99999999999999999999y".split(" "),
  ..."rate() () [5m] [5m:1m] [step()] [5m:5m:5m] {a='b'} {a=~'('} 'a' \"b\" '\\q' '\\xff' `c`".split(" "),
  "\n",
  " ",
  "# comment\n",
];

/** Makes texts from a source of numbers; every third is right as it is. */
export class MutatedTexts {
  readonly #below: RandomBelow;
  readonly #unquoted: boolean;
  readonly #trees: RandomTree;

  /** @param unquoted Whether names may hold any letter without quotes. */
  constructor(below: RandomBelow, unquoted: boolean) {
    this.#below = below;
    this.#unquoted = unquoted;
    this.#trees = new RandomTree(below, unquoted);
  }

  /** A text of at most some thousand characters. */
  next(): string {
    const text = printPromql(this.#trees.expression(1 + this.#below(4)), { unquotedUtf8Names: this.#unquoted });
    return this.#below(3) === 0 ? text : this.#mutate(text);
  }

  #word(): string {
    return WORDS[this.#below(WORDS.length)] ?? "";
  }

  #mutate(text: string): string {
    const tokens: string[] = text.match(TOKEN) ?? [];
    for (let times = 1 + this.#below(2); times > 0; times--) {
      const at = this.#below(tokens.length + 1);
      switch (this.#below(4)) {
        case 0:
          tokens.splice(at, 1);
          break;
        case 1:
          tokens.splice(at, 0, this.#word());
          break;
        case 2:
          tokens.splice(at, 1, this.#word());
          break;
        default:
          tokens.splice(at, 0, this.#word(), " ");
      }
    }
    return tokens.join("");
  }
}
