/** A trace as indented lines, for terminals. */

/** One span as the tree shows it. Ids are hex; `parentId` is empty or unknown for a root. */
export interface TreeSpan {
  readonly id: string;
  readonly parentId: string;
  readonly service: string;
  readonly name: string;
  readonly kind: string;
  readonly startNs: bigint;
  readonly durationNs: bigint;
  readonly error: boolean;
  readonly linkReason: string;
}

/** Deeper spans are drawn at this depth, so that a line stays readable. */
const INDENT_MAX = 20;

/**
 * Draws spans under their parents, siblings by start.
 *
 * A span whose parent is not among `spans` is a root; loops are broken where they close.
 */
export function renderSpanTree(spans: readonly TreeSpan[]): string {
  const known = new Set(spans.map((span) => span.id));
  const children = new Map<string, TreeSpan[]>();
  for (const span of spans) {
    const parent = known.has(span.parentId) && span.parentId !== span.id ? span.parentId : "";
    const siblings = children.get(parent);
    if (siblings === undefined) children.set(parent, [span]);
    else siblings.push(span);
  }
  for (const siblings of children.values()) siblings.sort((left, right) => Number(left.startNs - right.startNs));
  const lines: string[] = [];
  const drawn = new Set<TreeSpan>();
  const pending = (children.get("") ?? []).map((span) => ({ span, depth: 0 })).reverse();
  const draw = () => {
    for (let top = pending.pop(); top !== undefined; top = pending.pop()) {
      if (drawn.has(top.span)) continue;
      drawn.add(top.span);
      lines.push(lineOf(top.span, top.depth));
      const below = (children.get(top.span.id) ?? []).map((span) => ({ span, depth: (top?.depth ?? 0) + 1 }));
      pending.push(...below.reverse());
    }
  };
  draw();
  for (const span of spans) {
    if (drawn.has(span)) continue;
    pending.push({ span, depth: 0 });
    draw();
  }
  return lines.join("\n");
}

function lineOf(span: TreeSpan, depth: number): string {
  const indent = "  ".repeat(Math.min(depth, INDENT_MAX));
  const branch = depth === 0 ? "" : "└ ";
  const reason = span.linkReason === "" ? "" : `  (${span.linkReason})`;
  return `${`${indent}${branch}${span.service}  ${span.name}`.padEnd(52)} ${span.kind.padEnd(8)} ${durationText(span.durationNs).padStart(9)}${span.error ? "  ERROR" : ""}${reason}`;
}

/** `1.23 ms`, `45 µs`, `2.5 s`. */
export function durationText(ns: bigint): string {
  const value = Number(ns);
  if (value < 1e6) return `${(value / 1e3).toFixed(0)} µs`;
  if (value < 1e9) return `${(value / 1e6).toFixed(2)} ms`;
  return `${(value / 1e9).toFixed(2)} s`;
}
