/**
 * Remote write 2.0 as a sender writes it.
 *
 * @see https://prometheus.io/docs/specs/prw/remote_write_spec_2_0/
 */

import type { SeriesSamples } from "../model/series.ts";
import { ProtobufWriter } from "./protobuf-writer.ts";
import { writeSamples } from "./remote-read-encode.ts";

const REQUEST_SYMBOLS = 4;
const REQUEST_SERIES = 5;
const SERIES_LABELS = 1;
const SERIES_HISTOGRAMS = 3;

/** An `io.prometheus.write.v2.Request`, not compressed. */
export function encodeRemoteWrite(all: readonly SeriesSamples[]): Uint8Array {
  const out = new ProtobufWriter();
  const symbols = new Map<string, number>([["", 0]]);
  const refs = all.map(({ labels }) => labels.flat().map((text) => numberOf(symbols, text)));
  for (const text of symbols.keys()) out.writeText(REQUEST_SYMBOLS, text);
  for (const [index, series] of all.entries()) {
    const opened = out.openMessage(REQUEST_SERIES);
    for (const ref of refs[index] ?? []) out.writeUint32(SERIES_LABELS, ref);
    writeSamples(out, series, SERIES_HISTOGRAMS);
    out.closeMessage(opened);
  }
  return out.take();
}

function numberOf(symbols: Map<string, number>, text: string): number {
  const known = symbols.get(text);
  if (known !== undefined) return known;
  symbols.set(text, symbols.size);
  return symbols.size - 1;
}
