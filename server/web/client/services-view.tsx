/** Services with rate, errors and duration of the last five minutes. */

import { durationText, rateText, shareText } from "./format.ts";
import { EmptyNote, RecordedMark, TroubleNote } from "./notes.tsx";
import { usePolled } from "./polled.ts";
import { askSql, type Cell } from "./server-answers.ts";

const WINDOW_SECONDS = 300;
const EVERY_MS = 2_000;
/** A service seen a moment ago has no rate of its own. */
const RATE_SECONDS_MIN = 10;
const QUERY = `SELECT service,
  sum(CASE WHEN kind = 'server' THEN weight ELSE 0 END) AS served,
  sum(CASE WHEN kind = 'server' AND status = 'error' THEN weight ELSE 0 END) AS failed,
  quantile_cont(CASE WHEN kind = 'server' THEN duration_ns END, 0.5) AS p50,
  quantile_cont(CASE WHEN kind = 'server' THEN duration_ns END, 0.95) AS p95,
  sum(CASE WHEN kind = 'client' THEN weight ELSE 0 END) AS called,
  min(start_ns) AS first,
  max(CASE WHEN source = 'replay' THEN 1 ELSE 0 END) AS recorded
FROM spans WHERE start_ns > $1 AND duplicate_of IS NULL GROUP BY service ORDER BY served DESC, service LIMIT 500`;

/** The services seen, with rates and latencies. */
export function ServicesView() {
  const polled = usePolled(
    () => askSql(QUERY, [String(BigInt(Date.now() - WINDOW_SECONDS * 1000) * 1_000_000n)]),
    EVERY_MS,
    "services",
  );
  if (polled.value === undefined) return <TroubleNote trouble={polled.trouble} />;
  if (polled.value.length === 0) return <EmptyNote what="No service was seen in the last five minutes." />;
  return (
    <section>
      <TroubleNote trouble={polled.trouble} />
      <table id="services">
        <caption>Requests each service answered in the last five minutes; errors are answers of 5xx</caption>
        <thead>
          <tr>
            <th>Service</th>
            <th class="number">Rate</th>
            <th class="number">Errors</th>
            <th class="number">p50</th>
            <th class="number">p95</th>
            <th class="number">Calls made</th>
          </tr>
        </thead>
        <tbody>
          {polled.value.map(([service, served, failed, p50, p95, called, first, recorded]) => (
            <tr key={String(service)}>
              <td>
                <a href={`#/requests/${encodeURIComponent(String(service))}`}>{service}</a>{" "}
                <RecordedMark recorded={Number(recorded) === 1} />
              </td>
              <td class="number">{rateText(Number(served) / secondsSince(first))}</td>
              <td class={Number(failed) > 0 ? "number bad" : "number"}>{shareText(Number(failed), Number(served))}</td>
              <td class="number">{durationText(p50 === null ? null : Number(p50))}</td>
              <td class="number">{durationText(p95 === null ? null : Number(p95))}</td>
              <td class="number">{rateText(Number(called) / secondsSince(first))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}

/** Rates are over the time since a service was first seen, at most the whole window. */
function secondsSince(firstNs: Cell | undefined): number {
  const since = Date.now() / 1000 - Number(firstNs) / 1e9;
  return Math.min(WINDOW_SECONDS, Math.max(RATE_SECONDS_MIN, since));
}
