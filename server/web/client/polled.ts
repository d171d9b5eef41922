/** Values that are asked again and again while their view is shown. */

import { useEffect, useState } from "preact/hooks";

/** The last good answer, and what went wrong since. */
export interface Polled<T> {
  readonly value: T | undefined;
  readonly trouble: string;
}

/**
 * Asks at once and then every `everyMs`; a page in the background does not ask.
 *
 * @param key Changes when something else is to be asked.
 */
export function usePolled<T>(ask: () => Promise<T>, everyMs: number, key: string): Polled<T> {
  const [state, setState] = useState<Polled<T>>({ value: undefined, trouble: "" });
  useEffect(() => {
    let gone = false;
    let timer = 0;
    const turn = async () => {
      if (document.visibilityState !== "hidden") {
        try {
          const value = await ask();
          if (!gone) setState({ value, trouble: "" });
        } catch (error) {
          if (!gone)
            setState((last) => ({
              value: last.value,
              trouble: error instanceof Error ? error.message : String(error),
            }));
        }
      }
      if (!gone) timer = window.setTimeout(() => void turn(), everyMs);
    };
    void turn();
    return () => {
      gone = true;
      window.clearTimeout(timer);
    };
  }, [key, everyMs]);
  return state;
}
