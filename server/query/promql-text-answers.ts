/** Answers about PromQL texts that are not evaluated, rendered in the worker: a long text takes its time to parse. */

import type { RenderedAnswer, SelectorsOutcome } from "./doors.ts";
import type { PromqlSettings } from "./promql/query.ts";
import { renderError } from "./promql/render.ts";
import type { TextWish } from "./promql-messages.ts";
import { formatPromql, parseSelectors, promqlTreeJson } from "./promql-texts.ts";

/** What `wish` asks of `text`: an answer in Prometheus' shape, or for `selectors` JSON that `readSelectors` reads. */
export function renderText(text: string, wish: TextWish, settings: PromqlSettings): RenderedAnswer {
  switch (wish) {
    case "format": {
      const outcome = formatPromql(text, settings);
      if (outcome.kind === "refused") return renderError("bad_data", `invalid parameter "query": ${outcome.message}`);
      return rendered({ status: "success", data: outcome.text });
    }
    case "tree": {
      const outcome = promqlTreeJson(text, settings);
      if (outcome.kind === "refused") return renderError("bad_data", `invalid parameter "query": ${outcome.message}`);
      // A run of operators nests deeper than JSON.stringify can go, so the text of the tree is put in place.
      return { status: 200, body: new TextEncoder().encode(`{"status":"success","data":${outcome.text}}`) };
    }
    case "selectors":
      return rendered(parseSelectors(text, settings));
  }
}

/** What the worker answered to the wish `selectors`; an error of the door says why there are none. */
export function readSelectors({ body, errorType }: RenderedAnswer): SelectorsOutcome {
  const parsed = JSON.parse(new TextDecoder().decode(body));
  return errorType === undefined ? parsed : { kind: "refused", message: parsed.error };
}

function rendered(value: object): RenderedAnswer {
  return { status: 200, body: new TextEncoder().encode(JSON.stringify(value)) };
}
