/**
 * Every metric the program tells of itself. Names, labels and label values are closed: what is not here cannot appear.
 */

/** Values of one label: the closed list, or how many different ones are let in before the rest become `other`. */
export type LabelValues = readonly string[] | { readonly distinctMax: number };

/** One metric of the table. */
export interface MetricDefinition {
  readonly type: "counter" | "gauge";
  readonly help: string;
  /** Labels in the order they are printed. Closed lists are present with 0 from the start. */
  readonly labels: Readonly<Record<string, LabelValues>>;
}

/** `metrics` counts samples and histograms that other programs wrote; their exemplars count apart. */
const SIGNALS = ["traces", "metrics", "exemplars", "logs"] as const;
const TRANSPORTS = ["grpc", "http", "remote_write", "scrape", "influx", "statsd", "capture", "replay"] as const;
/** Stands for every value outside a label's list. */
export const OTHER = "other";

/** Targets of remote write, by name. */
const REMOTE = { remote: { distinctMax: 16 } };

/** Why the metric store leaves out a sample or exemplar. */
const SAMPLE_REFUSALS = [
  "out_of_order",
  "too_old",
  "duplicate",
  "timestamp",
  "series_max",
  "histogram_invalid",
  "total_buckets_max",
  "exemplar_out_of_order",
  "exemplar_labels",
  "exemplar_series",
] as const;
const REJECT_REASONS = [
  "trace_id_length",
  "trace_id_zero",
  "span_id_length",
  "span_id_zero",
  "parent_span_id_length",
  "spans_max",
  "records_max",
  "temporality",
  "text_value",
  "malformed",
  "lines_max",
  "metric_name",
  "histogram_scale",
  "exemplar_value",
  "repeated",
  "overload",
  "store_unavailable",
  "labels_invalid",
  "labels_duplicate",
  "labels_limit",
  "metadata_invalid",
  ...SAMPLE_REFUSALS,
  OTHER,
] as const;
/** Percentiles of the loop's delay; 100 is the longest. Prometheus keeps the label `quantile` for summaries. */
export const LOOP_PERCENTILES = ["50", "99", "100"] as const;
const SPAN_KINDS = ["client", "server", "producer", "consumer"] as const;

const GROUP = { rule_group: { distinctMax: 1000 } } as const;
const ALERTMANAGER = { alertmanager: { distinctMax: 16 } } as const;

/** The table, in the order of `/metrics`. */
export const METRICS = {
  thalweg_capture_seen_total: counter("Messages the capture saw."),
  thalweg_capture_delivered_total: counter("Messages the capture handed on."),
  thalweg_capture_lost_total: counter("Messages the capture saw and could not hand on.", {
    reason: { distinctMax: 64 },
  }),
  thalweg_capture_left_out_total: counter("Times captured bytes were left out on the way to exchanges.", {
    reason: { distinctMax: 64 },
  }),
  thalweg_capture_exchanges_dropped_total: counter("Exchanges that became no span.", { reason: { distinctMax: 64 } }),
  thalweg_capture_tls_calls_total: counter("Calls of TLS libraries that moved clear bytes, where --tls asks for them."),
  thalweg_capture_tls_dropped_total: counter("Of these, calls whose connection was not sure.", {
    reason: { distinctMax: 16 },
  }),
  thalweg_capture_tls_opaque_total: counter("Connections that speak TLS in processes that are not looked into."),
  thalweg_capture_tls_over_budget_total: counter("Times that a process made too many calls of TLS to be looked into."),
  thalweg_capture_inspected_processes: gauge("Node processes that say whom their calls are made for (--inject-node)."),
  thalweg_capture_inspector_refused_total: counter("Node processes that were left alone, or did not answer, by why.", {
    reason: { distinctMax: 16 },
  }),
  thalweg_capture_inspector_calls_total: counter("Calls that such processes told of, and what came of them.", {
    outcome: ["told", "not_told", "drawn", "unmatched", "silent", "overflow"],
  }),
  thalweg_capture_counted_calls_total: counter("Calls counted in the kernel, which rows with a weight stand for."),
  thalweg_capture_cpu_cores: gauge("What capture costs in cores, hooks included, on average of the last seconds."),
  thalweg_capture_cpu_max_cores: gauge("What capture may cost in cores before it tells less of processes."),
  thalweg_capture_processes: gauge("Processes that are captured less deeply to keep that, by depth.", {
    depth: ["heads", "counted", "off"],
  }),
  thalweg_capture_backlog_total: counter("Captured spans dropped because the server did not take them fast enough."),
  thalweg_export_made_total: counter("Spans an agent made for its receiver: sent, queued and lost ones."),
  thalweg_export_sent_total: counter("Spans that the receiver took."),
  thalweg_export_lost_total: counter("Spans that did not reach the receiver.", {
    reason: ["queue_full", "rejected", "refused", "too_large", "stopped"],
  }),
  thalweg_export_queued: gauge("Spans that wait for the receiver, those under way included."),
  thalweg_export_queue_bytes: gauge("Bytes of spans that wait for the receiver."),
  thalweg_export_requests_total: counter("Requests to the receiver."),
  thalweg_export_failures_total: counter("Requests that brought no answer, or one that says to come again."),
  thalweg_ingest_received_total: counter("Rows that arrived: stored, rejected and lost ones.", {
    signal: SIGNALS,
    transport: TRANSPORTS,
  }),
  thalweg_ingest_stored_total: counter("Rows that were committed.", { signal: SIGNALS }),
  thalweg_ingest_rejected_total: counter("Rows that were refused, and whose sender was told so.", {
    signal: SIGNALS,
    reason: REJECT_REASONS,
  }),
  thalweg_ingest_lost_total: counter("Rows that could not be kept and that nobody sends again.", {
    signal: SIGNALS,
    reason: ["overload", "store_unavailable", OTHER],
  }),
  thalweg_ingest_mended_total: counter("Values that were mended in rows that were stored.", {
    signal: SIGNALS,
    what: [
      "end_before_start",
      "self_parent",
      "text_length",
      "attribute_count",
      "clock",
      "unicode",
      "nesting",
      "trace_context",
      "label_collision",
      "metric_collision",
      OTHER,
    ],
  }),
  thalweg_derive_overflow_calls_total: counter("Calls counted in an overflow series, by what had too many values.", {
    of: ["span_name", "edge"],
  }),
  thalweg_derive_overflow_offender_calls: gauge("Calls counted in an overflow series, by whose they are.", {
    of: ["span_name", "edge"],
    service: { distinctMax: 20 },
  }),
  thalweg_duplicates_total: counter("Spans of calls that program and agent both saw, by whose span counts instead.", {
    counted: ["program", "agent"],
  }),
  thalweg_held_spans: gauge("Spans of the agent that wait for the program's own span of the same call."),
  thalweg_held_given_up_total: counter("Spans of the agent that waited for the program's own in vain, and count.", {
    reason: ["timeout", "full"],
  }),
  thalweg_hosts_waiting_spans: gauge("Spans of agents that wait for the other ends of their calls on other hosts."),
  thalweg_hosts_joined_total: counter("Calls between hosts of which both ends were joined, by how.", {
    how: ["hosts", "hosts-nat", "late"],
  }),
  thalweg_hosts_given_up_total: counter("Spans of agents that were stored before the start of their trace was known.", {
    reason: ["timeout", "full"],
  }),
  thalweg_derive_flush_failures_total: counter("Times derived series or their state could not be stored."),
  thalweg_graph_waiting_spans: gauge("Spans that wait for the other side of their call."),
  thalweg_graph_expired_total: counter("Spans whose other side did not come in time.", { kind: SPAN_KINDS }),
  thalweg_graph_dropped_total: counter("Spans the service graph had no room to keep.", { kind: SPAN_KINDS }),
  thalweg_graph_backfilled_total: counter("Spans that found the other side of their call in the store."),
  thalweg_graph_not_looked_for_total: counter("Late spans whose other side was not looked for, since too many were."),
  thalweg_graph_backfill_failures_total: counter("Times the store could not be asked for late calls."),
  thalweg_scrapes_total: counter("Scrapes of targets.", { outcome: ["scraped", "failed"] }),
  thalweg_scrape_targets: gauge("Targets that are scraped."),
  thalweg_scrape_discovery_failures_total: counter("Times targets could not be found or were not valid."),
  thalweg_scrape_reload_successful: gauge("Whether the scrape configuration was loaded when it was last read."),
  thalweg_remote_write_samples_total: counter("Samples that a target of remote write took.", REMOTE),
  thalweg_remote_write_exemplars_total: counter("Exemplars that a target of remote write took.", REMOTE),
  thalweg_remote_write_bytes_total: counter("Bytes of bodies that a target of remote write took.", REMOTE),
  thalweg_remote_write_samples_failed_total: counter("Samples that a target refused for good.", REMOTE),
  thalweg_remote_write_samples_retried_total: counter("Samples of requests that were tried again.", REMOTE),
  thalweg_remote_write_samples_dropped_total: counter("Samples that are not sent, by why.", {
    ...REMOTE,
    reason: ["dropped_series", "too_old", "native_histogram", "nhcb_in_rw1_not_supported", "queue_full"],
  }),
  thalweg_remote_write_pending_bytes: gauge("Bytes of the log that a target has not been sent.", REMOTE),
  thalweg_remote_write_newest_sent_seconds: gauge("Time of the newest sample that a target took.", REMOTE),
  thalweg_remote_write_shards: gauge("Requests to a target at the same time.", REMOTE),
  thalweg_remote_write_spool_bytes: gauge("Bytes of log segments that wait for targets of remote write."),
  thalweg_statsd_lines_total: counter("Lines of StatsD that came."),
  thalweg_statsd_rejected_total: counter("Lines and values of StatsD that were not taken.", {
    reason: ["malformed", "series_max", "members_max", "labels", "type"],
  }),
  thalweg_statsd_series: gauge("Metrics of StatsD that are remembered."),
  thalweg_head_series: gauge("Series in the metric head."),
  thalweg_head_memory_bytes: gauge("Bytes of samples in the metric head."),
  thalweg_head_samples_total: counter("Samples appended to the metric head."),
  thalweg_head_left_out_total: counter("Samples that came to the metric head, which did not take them.", {
    reason: SAMPLE_REFUSALS,
  }),
  thalweg_head_seals_total: counter("Times samples went from memory to a block."),
  thalweg_head_seal_failures_total: counter("Times a block could not be written; its samples stayed in memory."),
  thalweg_metric_block_joins_total: counter("Times block files of samples were to be joined into one.", {
    outcome: ["joined", "failed"],
  }),
  thalweg_metric_blocks: gauge("Block files of samples."),
  thalweg_metric_block_bytes: gauge("Bytes of block files of samples."),
  thalweg_metric_window_blocks: gauge("Blocks that hold samples by windows."),
  thalweg_metric_window_block_bytes: gauge("Bytes of the blocks that hold samples by windows."),
  thalweg_store_resources_dropped_total: counter("Resources that were not kept since their day file was full."),
  thalweg_store_reopens_total: counter("Times the files were opened again because the engine refused all work."),
  thalweg_store_compactions_total: counter(
    "Times the file of a day that is over was to be written anew in less space.",
    {
      outcome: ["compacted", "failed"],
    },
  ),
  thalweg_store_index_failures_total: counter("Blocks of the trace index that could not be built."),
  thalweg_live_rows_dropped_total: counter("Requests that live views were too slow to get."),
  thalweg_store_damage_total: counter("Damaged parts of files that were set aside.", {
    reason: ["span_file", "span_log", "metric_log", "metric_block", "derived_state", OTHER],
  }),
  thalweg_promql_queries_total: counter("PromQL queries that were answered, by how.", {
    outcome: ["ok", "bad_data", "execution", "cost_limit", "timeout", "canceled", "internal", "unavailable", OTHER],
  }),
  thalweg_promql_seconds_total: counter("Time from the arrival of PromQL queries to their answers."),
  thalweg_promql_queue_seconds_total: counter("Part of that time in which queries waited for a worker."),
  thalweg_promql_slow_total: counter("PromQL queries that took longer than --query-slow."),
  thalweg_rule_group_iterations_total: counter("Times that rule groups were due, missed ones too.", GROUP),
  thalweg_rule_group_iterations_missed_total: counter("Times that rule groups were still busy when due.", GROUP),
  thalweg_rule_evaluations_total: counter("Evaluations of rules.", GROUP),
  thalweg_rule_evaluation_failures_total: counter("Evaluations of rules that failed.", GROUP),
  thalweg_rule_template_failures_total: counter("Templates of alerts that could not be expanded."),
  thalweg_rule_group_rules: gauge("Rules of a group.", GROUP),
  thalweg_rule_group_interval_seconds: gauge("How often a group is due.", GROUP),
  thalweg_rule_group_last_duration_seconds: gauge("How long the last evaluation of a group took.", GROUP),
  thalweg_rule_group_last_evaluation_timestamp_seconds: gauge("Unix time of the last evaluation of a group.", GROUP),
  thalweg_rule_group_last_evaluation_samples: gauge("Samples that the last evaluation of a group gave.", GROUP),
  thalweg_rules_reload_successful: gauge("1 where the rule files were right when they were last loaded."),
  thalweg_notifications_sent_total: counter("Alerts that an Alertmanager took.", ALERTMANAGER),
  thalweg_notifications_errors_total: counter("Alerts in requests that an Alertmanager did not take.", ALERTMANAGER),
  thalweg_notifications_dropped_total: counter("Alerts that were not sent.", {
    reason: ["queue_full", "refused", "expired", "stopping"],
  }),
  thalweg_notifications_queue_length: gauge("Alerts that wait to be sent.", ALERTMANAGER),
  thalweg_http_requests_total: counter("Answers over HTTP and gRPC.", {
    route: { distinctMax: 128 },
    code: { distinctMax: 64 },
  }),
  thalweg_requests_refused_total: counter(
    "Requests of which nothing was taken, by why; rows in them are not counted.",
    {
      reason: [
        "too_large",
        "no_room",
        "too_slow",
        "crumbs",
        "broken",
        "cut_short",
        "encoding",
        "malformed",
        "http",
        OTHER,
      ],
    },
  ),
  thalweg_log_suppressed_total: counter("Log lines left out because the same one came again and again."),
  thalweg_loop_delay_seconds: gauge("How late the main thread's loop was since the last reading, by percentile.", {
    percentile: LOOP_PERCENTILES,
  }),
  process_cpu_seconds_total: counter("CPU time of the process in seconds."),
  process_resident_memory_bytes: gauge("Resident memory of the process."),
  process_start_time_seconds: gauge("Unix time the process started at."),
} as const satisfies Readonly<Record<string, MetricDefinition>>;

/** What can be counted. */
export type MetricName = keyof typeof METRICS;

// Without labels `L` is the empty record, which the compiler cannot see: hence the two casts.
function counter<const L extends MetricDefinition["labels"] = Record<never, never>>(help: string, labels?: L) {
  return { type: "counter", help, labels: labels ?? ({} as L) } as const;
}

function gauge<const L extends MetricDefinition["labels"] = Record<never, never>>(help: string, labels?: L) {
  return { type: "gauge", help, labels: labels ?? ({} as L) } as const;
}
