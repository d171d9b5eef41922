/** One trace as a waterfall: a bar for each span, under the span that caused it. */

import { durationText, timeText } from "./format.ts";
import { RecordedMark, TroubleNote } from "./notes.tsx";
import { usePolled } from "./polled.ts";
import { askSql, type Cell } from "./server-answers.ts";

const SPANS_MAX = 2_000;
const EVERY_MS = 3_000;
const BAR_WIDTH_MIN = 0.3;
const QUERY = `SELECT span_id, parent_span_id, service, name, kind, status, start_ns, duration_ns, link_reason, source
FROM spans WHERE trace_id = $1 ORDER BY start_ns LIMIT ${SPANS_MAX}`;

interface Bar {
  readonly id: string;
  readonly parentId: string;
  readonly service: string;
  readonly name: string;
  readonly kind: string;
  readonly failed: boolean;
  readonly startNs: bigint;
  readonly durationNs: number;
  readonly why: string;
  readonly source: string;
}

/** One trace as a waterfall. */
export function TraceView({ traceId }: { readonly traceId: string }) {
  const polled = usePolled(() => askSql(QUERY, [traceId]), EVERY_MS, `trace ${traceId}`);
  if (polled.value === undefined) return <TroubleNote trouble={polled.trouble} />;
  const bars = polled.value.map(barOf);
  const first = bars[0];
  if (first === undefined) return <p class="note">No spans of trace {traceId} are kept.</p>;
  const start = first.startNs;
  const whole = Math.max(1, ...bars.map((bar) => Number(bar.startNs - start) + bar.durationNs));
  return (
    <section>
      <h2>
        {first.service} {first.name}
      </h2>
      <p class="quiet">
        <RecordedMark recorded={first.source === "replay"} /> {timeText(String(start))}, {durationText(whole)},{" "}
        {bars.length} spans. Trace <code>{traceId}</code> <a href={`/api/v1/traces/${traceId}`}>as OTLP JSON</a>
      </p>
      <ol id="waterfall">
        {inTreeOrder(bars).map(({ bar, depth }) => (
          <li class="bar-row" key={bar.id} title={titleOf(bar)}>
            <svg class="bar-indent" width={depth * 14} height="1" aria-hidden="true" />
            <span class="bar-name">
              <b>{bar.service}</b> {bar.name} <span class="quiet">{bar.kind}</span>
            </span>
            <svg class="bar-track" viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true">
              <rect
                class={bar.failed ? "bar failed" : `bar ${bar.kind}`}
                x={(100 * Number(bar.startNs - start)) / whole}
                y="1"
                width={Math.max(BAR_WIDTH_MIN, (100 * bar.durationNs) / whole)}
                height="8"
                rx="0.4"
              />
            </svg>
            <span class="bar-time number">{durationText(bar.durationNs)}</span>
          </li>
        ))}
      </ol>
    </section>
  );
}

function barOf(row: readonly Cell[]): Bar {
  const text = (at: number) => (row[at] === null || row[at] === undefined ? "" : String(row[at]));
  return {
    id: text(0),
    parentId: text(1),
    service: text(2),
    name: text(3),
    kind: text(4),
    failed: text(5) === "error",
    startNs: BigInt(text(6)),
    durationNs: Number(text(7)),
    why: text(8),
    source: text(9),
  };
}

function titleOf(bar: Bar): string {
  const parent =
    bar.parentId === "" ? "root" : `parent ${bar.parentId}${bar.why === "" ? "" : `, drawn by ${bar.why}`}`;
  return `${bar.service} ${bar.name}\nspan ${bar.id}, ${parent}\nseen by ${bar.source}`;
}

/** Every bar once: children after their parent by start; bars whose parent is missing or in a loop stand as roots. */
function inTreeOrder(bars: readonly Bar[]): { bar: Bar; depth: number }[] {
  const ids = new Set(bars.map((bar) => bar.id));
  const children = new Map<string, Bar[]>();
  for (const bar of bars) {
    const parent = ids.has(bar.parentId) ? bar.parentId : "";
    children.set(parent, [...(children.get(parent) ?? []), bar]);
  }
  const ordered: { bar: Bar; depth: number }[] = [];
  const drawn = new Set<Bar>();
  const drawFrom = (roots: readonly Bar[]) => {
    const pending = roots.map((bar) => ({ bar, depth: 0 })).reverse();
    for (let top = pending.pop(); top !== undefined; top = pending.pop()) {
      if (drawn.has(top.bar)) continue;
      drawn.add(top.bar);
      ordered.push(top);
      const depth = top.depth + 1;
      pending.push(...(children.get(top.bar.id) ?? []).map((bar) => ({ bar, depth })).reverse());
    }
  };
  drawFrom(children.get("") ?? []);
  drawFrom(bars);
  return ordered;
}
