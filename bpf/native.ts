/**
 * The addon's functions as TypeScript sees them, and the way to load it.
 *
 * The addon is in two halves that share only file descriptors: `attach…` needs rights, `open…` and `drain…` do not.
 */

/** An errno failure of the addon; `code` is its name such as `EPERM`. */
export interface NativeError extends Error {
  readonly code: string;
  readonly syscall: string;
}
