/** Names of metrics and labels: which may stand without quotes. */

const LEGACY_LABEL = /^[a-zA-Z_][a-zA-Z0-9_]*$/;
const UTF8_LABEL = /^(?:[a-zA-Z_]|\p{L})(?:[a-zA-Z0-9_.]|\p{L})*$/u;

/** Whether a label must be quoted; with `unquotedUtf8Names` letters of any script and dots inside need no quotes. */
export function nameNeedsQuotes(name: string, unquotedUtf8Names: boolean): boolean {
  return !(unquotedUtf8Names ? UTF8_LABEL : LEGACY_LABEL).test(name);
}
