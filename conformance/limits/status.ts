/** Reads google.rpc.Status as far as a retry hint needs it. */

const RETRY_INFO = "type.googleapis.com/google.rpc.RetryInfo";

/** Whether the details of a gRPC status, in base64, hold a RetryInfo with a delay. */
export function hasRetryInfo(base64: string): boolean {
  const bytes = Buffer.from(base64, "base64");
  const at = bytes.indexOf(RETRY_INFO);
  return at >= 0 && bytes.length > at + RETRY_INFO.length + 2;
}
