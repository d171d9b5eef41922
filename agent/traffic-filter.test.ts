import assert from "node:assert/strict";
import { test } from "node:test";
import type { Owner, SocketOpened } from "../server/model/capture-event.ts";
import { TrafficFilter } from "./traffic-filter.ts";

const OWNER = (pid: number): Owner => ({ pid, ownerBy: "hook", fallbackName: "" });

function filter(): {
  seen: string[];
  sink: TrafficFilter;
  open: (socket: number, more?: Partial<SocketOpened>) => void;
} {
  const seen: string[] = [];
  const sink = new TrafficFilter(
    {
      opened: ({ socket }) => seen.push(`opened ${socket}`),
      slice: ({ socket }) => seen.push(`slice ${socket}`),
      owner: (socket) => seen.push(`owner ${socket}`),
      closed: (socket) => seen.push(`closed ${socket}`),
      process: ({ pid }) => seen.push(`process ${pid}`),
      processExited: (pid) => seen.push(`exited ${pid}`),
    },
    { pids: [7], ports: [8425] },
  );
  const open = (socket: number, more: Partial<SocketOpened> = {}) =>
    sink.opened({
      socket,
      sight: "end",
      role: "client",
      local: { addr: "127.0.0.1", port: 4000 },
      remote: { addr: "127.0.0.1", port: 80 },
      netns: 0,
      joinedLate: false,
      timeNs: 0,
      localOwner: undefined,
      remoteOwner: undefined,
      ...more,
    });
  return { seen, sink, open };
}

const slice = (socket: number, pid = 0) => ({
  socket,
  direction: 0 as const,
  timeNs: 0,
  seq: 0,
  total: 1,
  bytes: new Uint8Array(1),
  tid: 0,
  pid,
});

test("sockets of excluded ports and processes are left out from their opening on", () => {
  const { seen, sink, open } = filter();
  open(1, { remote: { addr: "127.0.0.1", port: 8425 } });
  open(2, { local: { addr: "127.0.0.1", port: 8425 } });
  open(3, { localOwner: OWNER(7) });
  open(4, { remoteOwner: OWNER(7) });
  open(5);
  for (const socket of [1, 2, 3, 4, 5]) sink.slice(slice(socket));
  assert.deepEqual(seen, ["opened 5", "slice 5"]);
  assert.equal(sink.socketsIgnored, 4);
});

test("a socket whose owner turns out to be excluded is left out from then on", () => {
  const { seen, sink, open } = filter();
  open(1);
  sink.slice(slice(1));
  sink.owner(1, "local", OWNER(7));
  sink.slice(slice(1));
  open(2);
  sink.slice(slice(2, 7));
  sink.slice(slice(2, 8));
  assert.deepEqual(seen, ["opened 1", "slice 1", "opened 2"]);
  sink.closed(1, 0, false);
  sink.closed(2, 0, false);
  assert.deepEqual(seen.slice(3), ["closed 1", "closed 2"], "ends pass, so that nothing is kept open");
});

test("processes pass", () => {
  const { seen, sink } = filter();
  sink.processExited(7, 0);
  assert.deepEqual(seen, ["exited 7"]);
});

test("a port that is left out for a while stays left out where it was asked for", () => {
  const { seen, sink, open } = filter();
  const ports = [8425, 9229];
  for (const port of ports) sink.exclude(port, true);
  for (const [socket, port] of ports.entries()) open(socket, { remote: { addr: "127.0.0.1", port } });
  for (const port of ports) sink.exclude(port, false);
  for (const [socket, port] of ports.entries()) open(10 + socket, { remote: { addr: "127.0.0.1", port } });
  assert.deepEqual(seen, ["opened 11"]);
});
