/** Samples like those of the demo service that the compliance queries are about: three instances, scraped every 5 s. */

import type { SentSample, SentSeries } from "../remote-write.ts";

const SCRAPE_MS = 5000;
const BUCKET_BOUNDS = Array.from({ length: 26 }, (_, index) => 0.0001 * 1.5 ** index);
const HANDLERS = [
  ["/api/foo", "200", "GET"],
  ["/api/bar", "200", "POST"],
  ["/api/foo", "500", "GET"],
  ["/api/nonexistent", "404", "GET"],
] as const;

/** A value by seconds since the beginning; undefined where the scrape lacks it. */
type Curve = (second: number) => number | undefined;

/** Every series from `fromMs` to `toMs`; the same times give the same samples. */
export function demoSeries(fromMs: number, toMs: number): SentSeries[] {
  const series: SentSeries[] = [];
  for (let instance = 0; instance < 3; instance++) {
    const labels = { instance: `demo.promlabs.com:1000${instance}`, job: "demo" };
    for (const [own, curve] of curvesOf(instance, fromMs)) {
      const samples: SentSample[] = [];
      for (let timestampMs = fromMs + 700 * instance; timestampMs < toMs; timestampMs += SCRAPE_MS) {
        const value = curve((timestampMs - fromMs) / 1000);
        if (value !== undefined) samples.push({ timestampMs, startMs: 0, value });
      }
      const sorted = Object.entries({ ...own, ...labels }).sort(([a], [b]) => (a < b ? -1 : 1));
      series.push({ labels: sorted, samples });
    }
  }
  return series;
}

function* curvesOf(instance: number, fromMs: number): Generator<[Record<string, string>, Curve]> {
  for (const [index, type] of ["used", "buffers", "cached", "free"].entries()) {
    const base = 1e9 * (1 + ((index * 7 + instance * 3) % 5));
    const width = 200 + 170 * index + 90 * instance;
    const curve = (s: number) => Math.round(base + 2e8 * Math.sin(s / width) + 1e6 * ((s * 7919) % 13));
    yield [{ __name__: "demo_memory_usage_bytes", type }, curve];
  }
  for (const [index, mode] of ["user", "system", "idle"].entries()) {
    for (const cpu of ["0", "1"]) {
      // The counters begin again with the process, at another time on each instance.
      const life = 3000 + 500 * instance;
      const share = 0.1 + 0.3 * index + 0.05 * Number(cpu);
      const curve = (s: number) => Math.round((100 * share + share * (s % life)) * 1000) / 1000;
      yield [{ __name__: "demo_cpu_usage_seconds_total", mode, cpu }, curve];
    }
  }
  yield [{ __name__: "demo_num_cpus" }, () => 4];
  yield [{ __name__: "demo_is_holiday" }, () => 0];
  yield [{ __name__: "up" }, () => 1];
  for (const [index, device] of ["disk0", "disk1"].entries()) {
    const curve = (s: number) => 1e10 + s * 1000 * (index + instance + 1) + 1e5 * Math.sin(s / 17);
    yield [{ __name__: "demo_disk_usage_bytes", device }, curve];
  }
  yield [{ __name__: "demo_disk_total_bytes" }, () => 3e10];
  const lastSuccess = (s: number) => fromMs / 1000 + Math.floor(s / 61) * 61;
  yield [{ __name__: "demo_batch_last_success_timestamp_seconds" }, lastSuccess];
  const intermittent = (s: number) => (Math.floor(s / 30) % (3 + instance) === 0 ? undefined : s);
  yield [{ __name__: "demo_intermittent_metric" }, intermittent];
  for (const [index, [path, status, method]] of HANDLERS.entries()) {
    const perSecond = 1.5 + 2 * index + instance;
    const own = { path, status, method };
    const name = "demo_api_request_duration_seconds";
    for (const [at, bound] of [...BUCKET_BOUNDS, Number.POSITIVE_INFINITY].entries()) {
      const share = Math.min(1, (at + 1) / BUCKET_BOUNDS.length) ** 1.7;
      const le = bound === Number.POSITIVE_INFINITY ? "+Inf" : String(bound);
      yield [{ __name__: `${name}_bucket`, ...own, le }, (s) => Math.floor(perSecond * s * share)];
    }
    yield [{ __name__: `${name}_count`, ...own }, (s) => Math.floor(perSecond * s)];
    yield [{ __name__: `${name}_sum`, ...own }, (s) => perSecond * s * 0.0213];
  }
}
