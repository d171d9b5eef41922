/** The newest requests, as they arrive. */

import { durationText, timeText } from "./format.ts";
import { EmptyNote, RecordedMark, TroubleNote } from "./notes.tsx";
import { usePolled } from "./polled.ts";
import { askSql } from "./server-answers.ts";

const ROWS = 100;
const EVERY_MS = 1_000;
/** Older requests are not live; the bound keeps the question cheap. */
const BACK_MS = 15 * 60 * 1000;
const COLUMNS =
  "trace_id, span_id, start_ns, service, name, kind, status, duration_ns, attributes['http.response.status_code'] AS code, source";

/** The newest requests, live. */
export function RequestsView({ service }: { readonly service: string }) {
  const polled = usePolled(
    () => {
      const since = String(BigInt(Date.now() - BACK_MS) * 1_000_000n);
      return service === ""
        ? askSql(`SELECT ${COLUMNS} FROM spans WHERE start_ns > $1 ORDER BY start_ns DESC LIMIT ${ROWS}`, [since])
        : askSql(
            `SELECT ${COLUMNS} FROM spans WHERE start_ns > $1 AND service = $2 ORDER BY start_ns DESC LIMIT ${ROWS}`,
            [since, service],
          );
    },
    EVERY_MS,
    `requests ${service}`,
  );
  if (polled.value === undefined) return <TroubleNote trouble={polled.trouble} />;
  if (polled.value.length === 0) return <EmptyNote what="No request was seen in the last fifteen minutes." />;
  return (
    <section>
      <TroubleNote trouble={polled.trouble} />
      {service === "" ? null : (
        <p>
          Only <b>{service}</b>. <a href="#/requests">Show all</a>
        </p>
      )}
      <table id="requests">
        <caption>The newest {ROWS} requests</caption>
        <thead>
          <tr>
            <th>Time</th>
            <th>Service</th>
            <th>Request</th>
            <th>Side</th>
            <th class="number">Status</th>
            <th class="number">Duration</th>
          </tr>
        </thead>
        <tbody>
          {polled.value.map(([traceId, spanId, startNs, name, request, kind, status, duration, code, source]) => (
            <tr key={`${traceId}${spanId}`}>
              <td class="quiet">{timeText(String(startNs))}</td>
              <td>
                {name} <RecordedMark recorded={source === "replay"} />
              </td>
              <td>
                <a href={`#/trace/${traceId}`}>{request}</a>
              </td>
              <td class="quiet">{kind}</td>
              <td class={status === "error" ? "number bad" : "number"}>{code ?? status}</td>
              <td class="number">{durationText(Number(duration))}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </section>
  );
}
