/** Which exit status tells of which error. */

import type { ThalwegError } from "../model/errors.ts";

/** The exit status for an error that ended the program: 2 usage, 4 damage, 5 taken, else 1. */
export function exitStatusOf(error: ThalwegError): number {
  switch (error.code) {
    case "flag_invalid":
    case "flag_unknown":
    case "address_not_loopback":
      return 2;
    case "address_in_use":
    case "data_locked":
      return 5;
    case "data_damaged":
      return 4;
    default:
      return 1;
  }
}
