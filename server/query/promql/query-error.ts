/** Why an expression that was parsed has no result. */

/** A failed evaluation; Prometheus answers these with `execution` and 422. */
export class PromqlExecutionError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PromqlExecutionError";
  }
}

/** Two series of one result would have the same labels at the same time. */
export function sameLabelsetError(): PromqlExecutionError {
  return new PromqlExecutionError("vector cannot contain metrics with the same labelset");
}

/** A duration that only step and range of the query show to be wrong; `message` begins with its place in bytes. */
export class PromqlDurationError extends Error {
  constructor(message: string) {
    super(message);
    this.name = "PromqlDurationError";
  }
}
