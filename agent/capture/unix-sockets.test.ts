import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { UnixSockets } from "./unix-sockets.ts";

/** Inodes of all sockets of this process. */
function ownInodes(): Set<number> {
  const inodes = new Set<number>();
  for (const descriptor of readdirSync("/proc/self/fd")) {
    try {
      const inode = /^socket:\[(\d+)\]$/.exec(readlinkSync(`/proc/self/fd/${descriptor}`))?.[1];
      if (inode !== undefined) inodes.add(Number(inode));
    } catch {
      // The descriptor that listed the others is closed by then.
    }
  }
  return inodes;
}

test("sockets are older than the watch or not, and found when they are gone", async () => {
  const directory = mkdtempSync(join(tmpdir(), "thalweg-unix-"));
  const path = join(directory, "socket");
  const server = createServer((socket) => socket.resume()).listen(path);
  await once(server, "listening");
  const before = ownInodes();
  const sockets = new UnixSockets();
  const client = connect(path);
  await once(client, "connect");
  const added = [...ownInodes()].filter((inode) => !before.has(inode));
  assert.ok(added.length > 0);
  for (const [at, inode] of added.entries()) {
    assert.equal(sockets.isOlder(inode), false);
    sockets.opened(at, { inode, netns: 1, pid: process.pid });
  }
  assert.ok([...before].some((inode) => sockets.isOlder(inode)));
  assert.deepEqual(sockets.gone(10_000), []);
  const closed = once(client, "close");
  client.destroy();
  await closed;
  server.close();
  await once(server, "close");
  assert.deepEqual(sockets.gone(11_000), [], "looked for every two seconds");
  assert.deepEqual(sockets.gone(12_000), [], "its last bytes may not be read yet");
  assert.deepEqual(
    sockets.gone(14_000),
    added.map((_, at) => at),
  );
  rmSync(directory, { recursive: true });
});
