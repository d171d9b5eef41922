/* SPDX-License-Identifier: GPL-2.0 OR Apache-2.0 */
/*
 * Layout of everything that crosses from the kernel to the agent. Mirrored in
 * agent/capture/probe-event.ts, whose test reads the numbers of the assertions below.
 * Compiles for BPF (after vmlinux.h) and for the host (after linux/types.h and stddef.h).
 */
#ifndef THALWEG_EVENT_H
#define THALWEG_EVENT_H

/* libbpf's own offsetof is no constant expression for clang. */
#undef offsetof
#define offsetof(type, member) __builtin_offsetof(type, member)

/* Longest copy of one call. A head longer than this is cut, and the rest counted. */
#define HEAD_BYTES_MAX 16384
/* Of the arguments at exec. */
#define ARGUMENT_BYTES_MAX 512

enum event_kind {
	EVENT_SLICE = 1, /* data ring; all others but the last two: control ring */
	EVENT_OPEN = 2,
	EVENT_CLOSE = 3,
	EVENT_EXEC = 4,
	EVENT_EXIT = 5,
	EVENT_CONNECT = 6, /* data ring, so that it stands in order among the thread's slices */
	EVENT_ENDED = 7, /* data ring; a read that found the end of the stream */
	EVENT_TLS = 64, /* data ring; a call of a TLS library */
};

/* What runs on a thread, where the agent has a recipe for it. */
enum unit_kind {
	UNIT_NONE = 0,
	UNIT_LOOP = 1, /* unit: turn of libuv's loop; origin: 2 * reads of the task + 1 among its events */
	UNIT_GOROUTINE = 2, /* unit: its number; origin: that of the goroutine that started it */
	UNIT_TASK = 3, /* unit: address of asyncio's task; origin: of the outermost one that awaits it */
};

/* How to find the unit in a process or thread. What the numbers mean depends on the kind. */
struct unit_recipe {
	__u32 kind;
	__u32 offsets[7];
	__u64 addresses[4];
};

enum end_role {
	ROLE_UNKNOWN = 0,
	ROLE_CLIENT = 1,
	ROLE_SERVER = 2,
};

/* event_head.flags */
#define FLAG_RECEIVED 1 /* slice: this end received the bytes; else it sent them */
#define FLAG_JOINED_LATE 2 /* open: the connection is older than the probes */
#define FLAG_RESET 4 /* close: not by FIN in both directions */
#define FLAG_UNREAD 8 /* close: received bytes wait, and may still be read */
#define FLAG_UNIX 32 /* open: a unix_open_event */
#define FLAG_RESUMED 16 /* slice: what passed before it in its direction was counted in the kernel */

/* What leaves the kernel of a process's traffic. */
enum capture_mode {
	MODE_FULL = 0,
	MODE_HEADS = 1,
	MODE_COUNTED = 2,
	MODE_OFF = 3,
};

struct process_mode {
	__u32 mode;
	__u32 reserved;
	__u64 calls; /* counted or lost in this mode; the agent reads from it what more would cost */
};

enum counted_method {
	METHOD_NONE = 0,
	METHOD_GET = 1,
	METHOD_POST = 2,
	METHOD_PUT = 3,
	METHOD_HEAD = 4,
	METHOD_DELETE = 5,
	METHOD_PATCH = 6,
	METHOD_OPTIONS = 7,
};

/* Exchanges that are alike as far as the kernel can tell. */
struct counted_key {
	__u32 pid;
	__u16 port; /* of the server, host order */
	__u16 status; /* 0: its answer was not seen */
	__u8 role;
	__u8 method;
	__u8 bucket; /* of the time until the answer began: below 2 ms, 4 ms, … */
	__u8 reserved[5];
	__u8 server[16]; /* IPv6, IPv4 as ::ffff:a.b.c.d */
};

struct counted_calls {
	__u64 calls;
	__u64 sum_ns;
};

struct event_head {
	__u8 kind;
	__u8 flags;
	__u8 unit_kind; /* slice and connect: kind of their unit */
	__u8 reserved;
	__u32 pid; /* process in the agent's pid namespace; 0 where it has none there */
	__u64 time_ns; /* CLOCK_BOOTTIME */
	__u64 cookie; /* of the socket; 0 for exec and exit */
};

/*
 * One call's bytes. `copied` of `total` follow the header. An EVENT_EXEC has this form too: its bytes
 * are the new program's arguments, each ended by NUL; `seq` is 0. So have EVENT_CONNECT and EVENT_ENDED, without bytes.
 */
struct slice_event {
	struct event_head head;
	__u32 tid;
	__u32 seq; /* TCP sequence number of the first byte */
	__u32 total;
	__u32 copied;
	__u64 unit;
	__u64 origin;
};

/* What a TLS library was asked for. */
enum tls_call_kind {
	TLS_READ = 1,
	TLS_WRITE = 2,
	TLS_HANDSHAKE = 3,
	TLS_FREE = 4, /* the session is given up: its address may be another's from here on */
};

/*
 * One call of a TLS library, when it has returned. In `slice`: `head.cookie` is the address of the session (SSL *),
 * `time_ns` that of the return, `total` the clear bytes that were moved (0: none), of which `copied` follow; `seq` is
 * how many had been moved before in this direction, modulo 2^32.
 */
struct tls_event {
	struct slice_event slice;
	__u64 entry_ns;
	__u32 call; /* enum tls_call_kind */
	__u32 room; /* bytes that a read had room for */
};

/* Per processor. Exactly: seen = submitted + lost_ring_full. */
struct tls_counters {
	__u64 seen;
	__u64 submitted;
	__u64 lost_ring_full;
	__u64 payload_faults; /* submitted without payload: page not present */
};

/* The first call on a socket. Addresses are IPv6, IPv4 as ::ffff:a.b.c.d, in network order. */
struct open_event {
	struct event_head head; /* time: of connect or accept where known */
	__u32 tid;
	__u32 netns;
	__u16 local_port; /* host order, as the next */
	__u16 remote_port;
	__u8 role;
	__u8 reserved[3];
	__u8 local[16];
	__u8 remote[16];
	__u64 process_start_ns; /* CLOCK_BOOTTIME; names the process where /proc no longer does */
	__u8 program[32]; /* file name of its executable, NUL-terminated, cut */
};

/*
 * The first call on a socket of AF_UNIX, an EVENT_OPEN with FLAG_UNIX. `open` has no addresses; its local_port is the
 * length of the path, which begins with NUL where its name is abstract.
 */
struct unix_open_event {
	struct open_event open;
	__u64 client; /* cookie of the end that connected, 0 where it had none yet: at both ends the connection's name */
	__u64 inode; /* of this end */
	__u8 path[112]; /* that the server listens on */
};

struct close_event {
	struct event_head head;
};

struct exit_event {
	struct event_head head;
};

/*
 * Per processor. Exactly: calls_seen = calls_submitted + calls_counted + all calls_lost_*, and
 * control_seen = control_submitted + control_lost.
 */
struct probe_counters {
	__u64 calls_seen;
	__u64 calls_submitted;
	__u64 calls_lost_ring_full;
	__u64 calls_lost_control_full; /* its socket could not be announced */
	__u64 calls_lost_no_memory; /* no state for its socket */
	__u64 calls_lost_nested; /* the processor's scratch area was taken */
	__u64 control_seen;
	__u64 control_submitted;
	__u64 control_lost; /* connects and ends of streams among them: their ring is another, their count this one */
	__u64 payload_faults; /* submitted with less payload than wanted: page not present */
	__u64 payload_unreachable; /* submitted without payload: sendfile, io_uring, 32-bit task, several messages */
	__u64 calls_excluded; /* own traffic, not part of calls_seen */
	__u64 calls_counted; /* parts of exchanges that were counted in the kernel */
	__u64 calls_lost_budget; /* of processes that are off */
	__u64 exchanges_lost; /* counted ones for which there was no cell */
	__u64 calls_timed; /* a sample of the others, for what the hooks cost */
	__u64 timed_ns;
};

_Static_assert(sizeof(struct event_head) == 24, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct event_head, kind) == 0, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct event_head, flags) == 1, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct event_head, unit_kind) == 2, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct event_head, pid) == 4, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct event_head, time_ns) == 8, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct event_head, cookie) == 16, "mirrored in probe-event.ts");
_Static_assert(sizeof(struct slice_event) == 56, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct slice_event, tid) == 24, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct slice_event, seq) == 28, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct slice_event, total) == 32, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct slice_event, copied) == 36, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct slice_event, unit) == 40, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct slice_event, origin) == 48, "mirrored in probe-event.ts");
_Static_assert(sizeof(struct unit_recipe) == 64, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct unit_recipe, kind) == 0, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct unit_recipe, offsets) == 4, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct unit_recipe, addresses) == 32, "mirrored in probe-event.ts");
_Static_assert(sizeof(struct process_mode) == 16, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct process_mode, mode) == 0, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct process_mode, calls) == 8, "mirrored in probe-event.ts");
_Static_assert(sizeof(struct counted_key) == 32, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct counted_key, pid) == 0, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct counted_key, port) == 4, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct counted_key, status) == 6, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct counted_key, role) == 8, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct counted_key, method) == 9, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct counted_key, bucket) == 10, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct counted_key, server) == 16, "mirrored in probe-event.ts");
_Static_assert(sizeof(struct counted_calls) == 16, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct counted_calls, calls) == 0, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct counted_calls, sum_ns) == 8, "mirrored in probe-event.ts");
_Static_assert(sizeof(struct unix_open_event) == 240, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct unix_open_event, client) == 112, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct unix_open_event, inode) == 120, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct unix_open_event, path) == 128, "mirrored in probe-event.ts");
_Static_assert(sizeof(struct open_event) == 112, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct open_event, tid) == 24, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct open_event, netns) == 28, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct open_event, local_port) == 32, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct open_event, remote_port) == 34, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct open_event, role) == 36, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct open_event, local) == 40, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct open_event, remote) == 56, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct open_event, process_start_ns) == 72, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct open_event, program) == 80, "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_seen) == 0,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_submitted) == 8,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_lost_ring_full) == 16,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_lost_control_full) == 24,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_lost_no_memory) == 32,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_lost_nested) == 40,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, control_seen) == 48,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, control_submitted) == 56,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, control_lost) == 64,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, payload_faults) == 72,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, payload_unreachable) == 80,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_excluded) == 88,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_counted) == 96,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_lost_budget) == 104,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, exchanges_lost) == 112,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, calls_timed) == 120,
	       "mirrored in probe-event.ts");
_Static_assert(offsetof(struct probe_counters, timed_ns) == 128,
	       "mirrored in probe-event.ts");
_Static_assert(sizeof(struct probe_counters) == 136, "mirrored in probe-event.ts");

_Static_assert(sizeof(struct tls_event) == 72, "mirrored in tls-event.ts");
_Static_assert(offsetof(struct tls_event, entry_ns) == 56, "mirrored in tls-event.ts");
_Static_assert(offsetof(struct tls_event, call) == 64, "mirrored in tls-event.ts");
_Static_assert(offsetof(struct tls_event, room) == 68, "mirrored in tls-event.ts");
_Static_assert(sizeof(struct tls_counters) == 32, "mirrored in tls-event.ts");

#endif
