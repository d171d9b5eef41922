/**
 * Ends this program with the launcher that started it.
 *
 * A launcher that is asked to end hands the signal on and waits. One that is killed cannot: then the pipe it held breaks,
 * and this program ends the same way, at once, so that nobody is left with a server that nothing refers to.
 */

import { Socket } from "node:net";

const LIFELINE_FD = 3;

/** Watches the pipe that the launcher says it holds; does nothing where there is none. */
export function holdLifeline(): void {
  if (process.env["THALWEG_LIFELINE"] !== String(process.ppid)) return;
  // Programs started from here have no such pipe.
  delete process.env["THALWEG_LIFELINE"];
  const pipe = new Socket({ fd: LIFELINE_FD, readable: true, writable: false });
  const end = () => process.kill(process.pid, "SIGKILL");
  pipe.on("error", end).on("close", end).resume();
  pipe.unref();
}
