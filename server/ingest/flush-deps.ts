/** What parts of a flush have in common. */

import type { Clock } from "../model/clock.ts";
import type { StoreWriter } from "../store/writer.ts";
import type { Log } from "../telemetry/log.ts";
import type { Telemetry } from "../telemetry/telemetry.ts";

/** What a flush writes to and tells. */
export interface FlushDeps {
  readonly writer: StoreWriter;
  readonly clock: Clock;
  readonly telemetry: Telemetry;
  readonly log: Log;
}
