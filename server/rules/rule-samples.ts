/** Samples that rules write. */

import type { NativeHistogram } from "../model/histogram.ts";
import { type Labels, type SeriesToAppend, STALE_NAN_BITS } from "../model/series.ts";
import type { Alert } from "./alert-state.ts";
import { withLabels } from "./rule-labels.ts";

const STALE = new Float64Array(BigUint64Array.of(STALE_NAN_BITS).buffer);

/** One sample as a series of its own. */
export function ruleSample(
  labels: Labels,
  timeMs: number,
  value: number,
  histogram?: NativeHistogram | undefined,
): SeriesToAppend {
  const sample = { labels, timestampsMs: Float64Array.of(timeMs), values: Float64Array.of(value) };
  return histogram === undefined ? sample : { ...sample, histograms: [histogram] };
}

/** The marker that a series is gone. Its bits are copied as they are: arithmetic would lose them. */
export function staleSample(labels: Labels, timeMs: number): SeriesToAppend {
  return { labels, timestampsMs: Float64Array.of(timeMs), values: STALE.slice() };
}

/** Whether the last of some values is that marker. */
export function endsStale(values: Float64Array): boolean {
  if (values.length === 0) return false;
  const last = values.length - 1;
  return new DataView(values.buffer, values.byteOffset + last * 8, 8).getBigUint64(0, true) === STALE_NAN_BITS;
}

/** `ALERTS` and `ALERTS_FOR_STATE` of an alert that is pending or firing. */
export function alertSamples(
  alertName: string,
  { labels, state, activeAtMs }: Alert,
  timeMs: number,
): SeriesToAppend[] {
  const named = (name: string): Labels => [
    ["__name__", name],
    ["alertname", alertName],
  ];
  const alerts = withLabels(labels, named("ALERTS"), [["alertstate", state]]);
  const forState = withLabels(labels, named("ALERTS_FOR_STATE"));
  return [ruleSample(alerts, timeMs, 1), ruleSample(forState, timeMs, Math.floor(activeAtMs / 1000))];
}
