/** A server that takes remote write and answers remote read, ours or a Prometheus. */

import { remoteDecode, remoteEncode } from "../../server/wire/remote-oracle.ts";
import { decodeSnappy, encodeSnappy } from "../../server/wire/snappy.ts";
import { encodeWrite, type SentSeries, writeHeaders } from "../remote-write.ts";

/** What a server says to a write. */
export interface WriteAnswer {
  readonly status: number;
  /** Floats and histograms that it says to have written. */
  readonly written: string;
  /** The first line of its message. */
  readonly text: string;
}

interface ReadResponse {
  readonly results: readonly { readonly timeseries: readonly ReadSeries[] }[];
}

interface ReadSeries {
  readonly labels: readonly { readonly name: string; readonly value: string }[];
  readonly samples: readonly { readonly value?: number; readonly timestamp?: number }[];
  readonly histograms: readonly ReadHistogram[];
}

interface ReadHistogram {
  readonly count_int?: number;
  readonly count_float?: number;
  readonly sum?: number;
  readonly reset_hint?: number;
  readonly timestamp?: number;
}

const HINTS = ["unknown", "reset", "not_reset", "gauge"];
const TIME_MAX_MS = 4_102_444_800_000;
const MATCHES_REGEX = 2;

/** Sends one write of version 2.0. */
export async function write(http: string, series: SentSeries): Promise<WriteAnswer> {
  const answer = await fetch(`${http}/api/v1/write`, {
    method: "POST",
    headers: writeHeaders(2),
    body: encodeWrite([series], 2),
  });
  const written = ["samples", "histograms"].map(
    (kind) => answer.headers.get(`x-prometheus-remote-write-${kind}-written`) ?? "",
  );
  const [text = ""] = (await answer.text()).trim().split("\n");
  return { status: answer.status, written: written.join("/"), text };
}

/** Everything stored, a line each series: time, value, and for histograms count, sum and hint. */
export async function readAll(http: string): Promise<string[]> {
  const query = {
    start_timestamp_ms: 0,
    end_timestamp_ms: TIME_MAX_MS,
    matchers: [{ type: MATCHES_REGEX, name: "__name__", value: "append_.*" }],
  };
  const answer = await fetch(`${http}/api/v1/read`, {
    method: "POST",
    headers: {
      "content-encoding": "snappy",
      "content-type": "application/x-protobuf",
      "x-prometheus-remote-read-version": "0.1.0",
    },
    body: new Uint8Array(encodeSnappy(remoteEncode("one", "ReadRequest", { queries: [query] }))),
  });
  const body = new Uint8Array(await answer.arrayBuffer());
  const decoded = answer.status === 200 ? decodeSnappy(body) : undefined;
  if (decoded === undefined) throw new Error(`remote read answers ${answer.status}: ${Buffer.from(body).toString()}`);
  const { results } = remoteDecode<ReadResponse>("ReadResponse", decoded);
  return results.flatMap(({ timeseries }) => timeseries.map(lineOf)).sort();
}

function lineOf({ labels, samples, histograms }: ReadSeries): string {
  const texts: [ms: number, text: string][] = [];
  // Nothing but stale markers is NaN here; which type a stale marker has depends on what a server keeps.
  for (const { timestamp = 0, value = 0 } of samples)
    texts.push([timestamp, Number.isNaN(value) ? "stale" : `${value}`]);
  for (const histogram of histograms) {
    const { count_int = 0, count_float = count_int, sum = 0, reset_hint = 0, timestamp = 0 } = histogram;
    const isStale = Number.isNaN(sum) && count_float === 0;
    texts.push([timestamp, isStale ? "stale" : `{${count_float} ${sum} ${HINTS[reset_hint]}}`]);
  }
  texts.sort(([a], [b]) => a - b);
  const name = labels.find((label) => label.name === "__name__")?.value;
  return `${name} ${texts.map(([ms, text]) => `${ms}=${text}`).join(" ")}`;
}
