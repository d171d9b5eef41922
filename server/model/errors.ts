/**
 * The catalogue of coded errors: troubles that a person or a client can act on.
 *
 * Bad input that is one item among many is a counted result, never one of these.
 */

/** Values an error message may show. */
export type ErrorValues = Readonly<Record<string, string | number | bigint>>;

interface CatalogueEntry {
  /** Text with `{name}` in place of values: what is wrong, the value, and the way out. */
  readonly message: string;
  /** HTTP status for faces that answer over HTTP. */
  readonly httpStatus: number;
}

const CATALOGUE = {
  address_in_use: {
    message: "{address} is taken{holder}. Stop that process, or choose another address with {flag} HOST:PORT.",
    httpStatus: 500,
  },
  address_not_loopback: {
    message:
      "{flag} {address} is reachable from other machines and Thalweg asks nobody for a password. " +
      "Use a loopback address, or add --allow-remote to accept that.",
    httpStatus: 500,
  },
  capture_failed: {
    message: "Capture by '{rung}' cannot start: {why}. Way out: {fix}.",
    httpStatus: 500,
  },
  data_damaged: {
    message: "{file} is damaged at offset {offset}: {why}. It was set aside as {quarantine}; the rest is used.",
    httpStatus: 500,
  },
  data_locked: {
    message: "Data directory {directory} is used by process {pid}. Stop it, or choose another with --data DIR.",
    httpStatus: 500,
  },
  data_unusable: {
    message: "No directory takes the data: {failures}. Choose one that you may write to with --data DIR.",
    httpStatus: 500,
  },
  flag_unknown: {
    message: "There is no flag {flag}{nearest}. Run 'help' for the list.",
    httpStatus: 400,
  },
  flag_invalid: {
    message: "{flag} '{value}' is not valid: {why}.",
    httpStatus: 400,
  },
  scrape_config_invalid: {
    message: "The scrape configuration cannot be used: {reason}. Mend the file that --scrape.config names.",
    httpStatus: 500,
  },
  query_timeout: {
    message: 'The query ran longer than {timeoutMs} ms and was stopped. Narrow the range, or raise "timeout".',
    httpStatus: 408,
  },
  query_busy: {
    message: "{running} queries are running and {waiting} wait; the limit is {max}. Try again in a moment.",
    httpStatus: 503,
  },
  query_failed: {
    message: "The query failed: {why}",
    httpStatus: 422,
  },
  query_canceled: {
    message: "The query was stopped: nobody waits for its answer.",
    httpStatus: 499,
  },
  query_regex_size: {
    message: "A regular expression has {size} steps; the limit is {max}. Make it shorter.",
    httpStatus: 422,
  },
  query_regex_cost: {
    message:
      "A regular expression would be matched against a text of {length} characters; for one of its size the limit is {max}. Make it shorter.",
    httpStatus: 422,
  },
  query_series_max: {
    message: "Query selects more than {max} series. Narrow its selectors, or raise --memory.",
    httpStatus: 422,
  },
  query_memory_max: {
    message: "Query needs {asked} bytes for labels and texts; the limit is {max}. Narrow it, or raise --memory.",
    httpStatus: 422,
  },
  query_answer_max: {
    message: "The answer has more than {max} bytes. Ask for fewer series or points, or raise --memory.",
    httpStatus: 422,
  },
  query_samples_max: {
    message:
      "Query needs {asked} samples; the limit is {max}. Narrow the range, or raise --query-samples-max and --memory.",
    httpStatus: 422,
  },
  remote_write_invalid: {
    message: "Remote write cannot be started: {reason}. Mend --remote-write or the file that --scrape.config names.",
    httpStatus: 500,
  },
  rules_invalid: {
    message: "The rules cannot be loaded: {reason}. Mend the file, or leave it out of --rule-files.",
    httpStatus: 400,
  },
  sql_samples_max: {
    message:
      "samples() reads {asked} {unit}; the limit of one statement is {max}. Narrow its selector or its range, or raise --memory.",
    httpStatus: 413,
  },
  store_unavailable: {
    message: "The store refuses writes: {why}. What was sent is not kept; send it again.",
    httpStatus: 503,
  },
} as const satisfies Record<string, CatalogueEntry>;

/** Codes of the catalogue. */
export type ErrorCode = keyof typeof CATALOGUE;

/** A trouble from the catalogue, with the values that explain it. */
export class ThalwegError extends Error {
  readonly code: ErrorCode;
  readonly values: ErrorValues;
  readonly httpStatus: number;

  /**
   * @param code Entry of the catalogue.
   * @param values One value for every `{name}` in the entry's text.
   * @param cause The error that led here, kept for logs.
   */
  constructor(code: ErrorCode, values: ErrorValues, cause?: unknown) {
    const entry = CATALOGUE[code];
    super(
      entry.message.replace(/\{(\w+)\}/g, (whole, name: string) => String(values[name] ?? whole)),
      cause === undefined ? undefined : { cause },
    );
    this.name = "ThalwegError";
    this.code = code;
    this.values = values;
    this.httpStatus = entry.httpStatus;
  }
}
