/**
 * Folds a run of operands and operators by precedence while it is read, as an LR parser would: an operation is made as
 * soon as an operator that binds no tighter follows. Time is linear in the run.
 *
 * A sign binds like `*`: `-1 ^ 2` is `-(1 ^ 2)`, `-a * b` is `(-a) * b`.
 */

/** An operator that waits for its right side. */
interface Waiting<Node, Operator> {
  readonly operator: Operator;
  readonly level: number;
  /** Undefined for a sign. */
  readonly left: Node | undefined;
}

/** A run that is being read. */
export interface Run<Node, Operator> {
  readonly waiting: Waiting<Node, Operator>[];
  operand: Node;
}

/** Makes the node of an operation; `left` is undefined for a sign. `last` is the last token of `right`. */
export type Combine<Node, Operator> = (operator: Operator, left: Node | undefined, right: Node, last: number) => Node;

const POWER_LEVEL = 6;
const SIGN_LEVEL = 5;

const LEVELS: ReadonlyMap<string, number> = new Map(
  ["o", "au", "exlg<>jk", "+-", "*/%t", "^"].flatMap((kinds, index) =>
    Array.from(kinds, (kind): [string, number] => [kind, index + 1]),
  ),
);

/** Starts a run with its first operand. */
export function openRun<Node, Operator>(operand: Node): Run<Node, Operator> {
  return { waiting: [], operand };
}

/** Makes every operation that ends before an operator of token kind `kind`; without one all of them. */
export function reduceRun<Node, Operator>(
  run: Run<Node, Operator>,
  kind: string | undefined,
  last: number,
  combine: Combine<Node, Operator>,
): void {
  const level = kind === undefined ? 0 : levelOf(kind);
  for (let top = run.waiting.at(-1); top !== undefined; top = run.waiting.at(-1)) {
    if (top.level < level || (top.level === level && level === POWER_LEVEL)) return;
    run.waiting.pop();
    run.operand = combine(top.operator, top.left, run.operand, last);
  }
}

/** Adds a sign before the next operand. */
export function pushSign<Node, Operator>(run: Run<Node, Operator>, operator: Operator): void {
  run.waiting.push({ operator, level: SIGN_LEVEL, left: undefined });
}

/** Adds an operator; what stands in `operand` becomes its left side. */
export function pushOperator<Node, Operator>(run: Run<Node, Operator>, operator: Operator, kind: string): void {
  run.waiting.push({ operator, level: levelOf(kind), left: run.operand });
}

function levelOf(kind: string): number {
  const level = LEVELS.get(kind);
  if (level === undefined) throw new Error(`no operator ${kind}`);
  return level;
}
