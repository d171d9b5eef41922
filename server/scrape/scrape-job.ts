/** What a job of a scrape configuration says. */

import type { ExpositionFormat } from "../wire/exposition.ts";
import type { HistogramChoice } from "../wire/exposition-protobuf.ts";
import type { RelabelRule } from "./relabel.ts";

/** Limits of one scrape; 0 for none. */
export interface ScrapeLimits {
  readonly bodyBytes: number;
  readonly samples: number;
  readonly targets: number;
  readonly labels: number;
  readonly labelNameBytes: number;
  readonly labelValueBytes: number;
  readonly keepDropped: number;
  /** Of one native histogram, whose resolution is reduced to hold it. */
  readonly buckets: number;
  /** Finest schema of native histograms. */
  readonly histogramSchema: number;
}

/** What becomes of histograms. */
export interface HistogramSettings extends HistogramChoice {
  /** Classic histograms become native ones with custom buckets. */
  readonly convertClassic: boolean;
}

/** How targets are asked over HTTP. Files are read anew for every request. */
export interface HttpSettings {
  /** Header name and value, or the file that holds the value. */
  readonly headers: readonly HttpHeader[];
  readonly basic: { readonly username: Secret; readonly password: Secret } | undefined;
  /** Such as `Bearer`, and the credentials behind it. */
  readonly authorization: { readonly scheme: string; readonly credentials: Secret } | undefined;
  readonly followRedirects: boolean;
  readonly tls: TlsSettings;
}

/** A header of every request. */
export interface HttpHeader {
  readonly name: string;
  readonly value: Secret;
}

/** A text that is never shown, or the file it stands in. */
export type Secret = { readonly text: string } | { readonly file: string };

/** Texts in PEM, or files that hold them; undefined where nothing is said. */
export interface TlsSettings {
  readonly ca: Secret | undefined;
  readonly cert: Secret | undefined;
  readonly key: Secret | undefined;
  readonly serverName: string;
  readonly insecureSkipVerify: boolean;
}

/** Targets that share labels. Labels of a target win over those of its group. */
export interface TargetGroup {
  /** Where it is from, for messages. */
  readonly source: string;
  readonly targets: readonly ReadonlyMap<string, string>[];
  readonly labels: ReadonlyMap<string, string>;
}

/** Where targets are found. */
export type Discovery =
  | { readonly kind: "static"; readonly group: TargetGroup }
  | { readonly kind: "file"; readonly patterns: readonly string[]; readonly refreshMs: number }
  | {
      readonly kind: "dns";
      readonly names: readonly string[];
      readonly type: "SRV" | "A" | "AAAA" | "MX" | "NS";
      readonly port: number;
      readonly refreshMs: number;
    }
  | { readonly kind: "http"; readonly url: string; readonly refreshMs: number; readonly http: HttpSettings };

/** A job. */
export interface ScrapeJob {
  readonly name: string;
  readonly intervalMs: number;
  readonly timeoutMs: number;
  readonly scheme: string;
  readonly metricsPath: string;
  readonly params: ReadonlyMap<string, readonly string[]>;
  readonly honorLabels: boolean;
  readonly honorTimestamps: boolean;
  readonly trackTimestampsStaleness: boolean;
  readonly enableCompression: boolean;
  /** The `Accept` header. */
  readonly accept: string;
  readonly fallback: ExpositionFormat | undefined;
  /** Of targets whose labels say nothing else. */
  readonly histograms: HistogramSettings;
  readonly extraMetrics: boolean;
  readonly limits: ScrapeLimits;
  readonly http: HttpSettings;
  readonly discovery: readonly Discovery[];
  readonly relabel: readonly RelabelRule[];
  readonly metricRelabel: readonly RelabelRule[];
  /** A hash of everything above, to tell whether a job changed. */
  readonly identity: string;
  /** As it stands in the file, without secrets, in YAML. */
  print(): string;
}
