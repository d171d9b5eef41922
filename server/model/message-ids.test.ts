import assert from "node:assert/strict";
import { test } from "node:test";
import { hashId, ID_CLIENT_SPAN, ID_SERVER_SPAN, ID_TRACE_HIGH, ID_TRACE_LOW, messageOfId } from "./message-ids.ts";

const PURPOSES = [ID_CLIENT_SPAN, ID_SERVER_SPAN, ID_TRACE_HIGH, ID_TRACE_LOW];

test("from each id of a message the message follows", () => {
  let state = 1;
  const random = () => {
    state = (Math.imul(state, 0x41c64e6d) + 12_345) | 0;
    return state ^ (state >>> 13);
  };
  const id = { high: 0, low: 0 };
  const message = { high: 0, low: 0 };
  for (let round = 0; round < 20_000; round++) {
    const [high, low] = round === 0 ? [0, 0] : [random() | 0, random() | 0];
    for (const purpose of PURPOSES) {
      hashId(high, low, purpose, id);
      messageOfId(id, purpose, message);
      assert.deepEqual(message, { high, low });
    }
  }
});
