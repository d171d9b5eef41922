/* SPDX-License-Identifier: GPL-2.0 */
/*
 * How much of a process's traffic leaves the kernel. The agent lowers the mode of a process where capture
 * would cost more than its budget:
 *
 * - MODE_HEADS: of an HTTP/1 connection only heads are copied, and the first bytes of other calls.
 * - MODE_COUNTED: whole HTTP/1 exchanges are counted here and nothing of them leaves. What else the process
 *   speaks is captured as before.
 * - MODE_OFF: its calls are counted as lost.
 *
 * An exchange is either counted here or captured, never both and never half: that is decided at the first
 * byte of its request, while no other is open on the connection, and stands until its answer is over. A
 * connection whose calls do not begin where messages do (pipelining, other protocols) is always captured.
 */
#ifndef THALWEG_BUDGET_H
#define THALWEG_BUDGET_H

#define MARK_ASKED 1 /* a request's head was seen: the connection speaks HTTP/1 */
#define MARK_IRREGULAR 2 /* no exchange of it is counted here */
#define MARK_COUNTING 4 /* the exchange under way is counted here */
#define MARK_ANSWERED 8 /* … and its answer has begun */
#define MARK_UPGRADED 16 /* … and after it another protocol follows */
#define MARK_RESUMED 32 /* the next slice sent follows what was counted; the next bit: received */

/* Copied of a call in the midst of a body: sizes of chunks stand there. */
#define HEADS_BYTES 32
/* A message that may begin here is at least so long. */
#define FIRST_LINE_BYTES 14
/* Bounds of latency: this, and twice as much each time, LATENCY_BOUNDS of them. */
#define LATENCY_BOUND_NS 2000000ull
#define LATENCY_BOUNDS 14
/* One in so many calls is timed, a power of two. */
#define TIMED_EVERY 64

#define FOUR(a, b, c, d) ((__u32)(a) | (__u32)(b) << 8 | (__u32)(c) << 16 | (__u32)(d) << 24)

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct process_mode);
} process_modes SEC(".maps");

/* How often the agent has written a mode: what a connection knows of its mode is true until the next. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} modes_written SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, struct counted_key);
	__type(value, struct counted_calls);
} counted SEC(".maps");

static __always_inline void learn_mode(struct connection *conn, __u32 pid)
{
	__u32 zero = 0;
	__u32 *written = bpf_map_lookup_elem(&modes_written, &zero);
	struct process_mode *of;

	if (!written || *written == conn->mode_since)
		return;
	of = bpf_map_lookup_elem(&process_modes, &pid);
	conn->mode = of ? of->mode : MODE_FULL;
	conn->mode_since = *written;
}

/* The agent reads from it what a process would cost. */
static __always_inline void note_held_back(__u32 pid)
{
	struct process_mode *of = bpf_map_lookup_elem(&process_modes, &pid);

	if (of)
		__sync_fetch_and_add(&of->calls, 1);
}

/* The method of a request whose first line begins the area; METHOD_NONE where it is none of those known. */
static __always_inline __u32 method_of(const struct scratch *area)
{
	const __u8 *bytes = area->bytes;

	switch (*(const __u32 *)bytes) {
	case FOUR('G', 'E', 'T', ' '):
		return bytes[4] == '/' ? METHOD_GET : METHOD_NONE;
	case FOUR('P', 'O', 'S', 'T'):
		return bytes[4] == ' ' && bytes[5] == '/' ? METHOD_POST : METHOD_NONE;
	case FOUR('P', 'U', 'T', ' '):
		return bytes[4] == '/' ? METHOD_PUT : METHOD_NONE;
	case FOUR('H', 'E', 'A', 'D'):
		return bytes[4] == ' ' && bytes[5] == '/' ? METHOD_HEAD : METHOD_NONE;
	case FOUR('D', 'E', 'L', 'E'):
		return *(const __u32 *)(bytes + 4) == FOUR('T', 'E', ' ', '/') ? METHOD_DELETE : METHOD_NONE;
	case FOUR('P', 'A', 'T', 'C'):
		return *(const __u32 *)(bytes + 4) == FOUR('H', ' ', '/', bytes[7]) ? METHOD_PATCH : METHOD_NONE;
	case FOUR('O', 'P', 'T', 'I'):
		return *(const __u32 *)(bytes + 4) == FOUR('O', 'N', 'S', ' ') && bytes[8] == '/' ? METHOD_OPTIONS :
												       METHOD_NONE;
	}
	return METHOD_NONE;
}

static __always_inline bool has_no_body(__u32 method)
{
	return method != METHOD_POST && method != METHOD_PUT && method != METHOD_PATCH;
}

/* Status code of an answer whose first line begins the area; 0 where none does. */
static __always_inline __u32 status_of(const struct scratch *area)
{
	const __u8 *bytes = area->bytes;
	__u32 status = 0;
	int i;

	if (*(const __u32 *)bytes != FOUR('H', 'T', 'T', 'P') || bytes[4] != '/' || bytes[5] != '1' ||
	    bytes[6] != '.' || bytes[8] != ' ')
		return 0;
	for (i = 9; i < 12; i++) {
		if (bytes[i] < '0' || bytes[i] > '9')
			return 0;
		status = status * 10 + bytes[i] - '0';
	}
	return status >= 100 && status < 600 ? status : 0;
}

static __always_inline bool is_asking(const struct connection *conn, __u32 direction)
{
	return (conn->role == ROLE_SERVER) == (direction == 1);
}

/* Follows which exchanges are open on a connection, by the heads that are captured. */
static __always_inline void note_heads(struct scratch *area, struct connection *conn, __u32 copied, __u32 direction)
{
	__u32 status;

	if (copied < FIRST_LINE_BYTES)
		return;
	if (conn->role == ROLE_UNKNOWN) {
		if (method_of(area) == METHOD_NONE)
			return;
		conn->role = direction ? ROLE_SERVER : ROLE_CLIENT;
	}
	if (is_asking(conn, direction)) {
		if (method_of(area) == METHOD_NONE)
			return;
		conn->marks |= MARK_ASKED;
		if (conn->open < 255)
			conn->open++;
		return;
	}
	status = status_of(area);
	if (status < 200 || !(conn->marks & MARK_ASKED))
		return;
	if (conn->open)
		conn->open--;
	else
		conn->marks |= MARK_IRREGULAR;
}

/* Adds the exchange under way to its cell. `status` 0: its answer was not seen. */
static __noinline void add_counted(struct sock *sk, struct connection *conn, __u32 status)
{
	struct probe_counters *count = own_counters();
	__u64 took = bpf_ktime_get_boot_ns() - conn->asked_ns;
	__u64 bound = LATENCY_BOUND_NS;
	struct counted_calls none = {};
	struct counted_calls *calls;
	struct counted_key key = {};

	if (!count)
		return;
	key.pid = conn->asked_pid;
	key.status = status;
	key.role = conn->role;
	key.method = conn->method;
	for (; key.bucket < LATENCY_BOUNDS && took > bound; key.bucket++)
		bound <<= 1;
	if (conn->role == ROLE_SERVER) {
		key.port = OF_SOCKET(sk, __sk_common.skc_num);
		put_address(key.server, sk, false);
	} else {
		key.port = __builtin_bswap16(OF_SOCKET(sk, __sk_common.skc_dport));
		put_address(key.server, sk, true);
	}
	calls = bpf_map_lookup_elem(&counted, &key);
	if (!calls) {
		bpf_map_update_elem(&counted, &key, &none, BPF_NOEXIST);
		calls = bpf_map_lookup_elem(&counted, &key);
	}
	if (!calls) {
		__sync_fetch_and_add(&count->exchanges_lost, 1);
		return;
	}
	__sync_fetch_and_add(&calls->calls, 1);
	__sync_fetch_and_add(&calls->sum_ns, took);
}

/* The connection ends. */
static __always_inline void end_counted(struct sock *sk, struct connection *conn)
{
	if ((conn->marks & (MARK_COUNTING | MARK_ANSWERED)) == MARK_COUNTING)
		add_counted(sk, conn, 0);
	conn->marks &= ~MARK_COUNTING;
}

/* What comes is not what one request after the other looks like: from here on the connection is captured. */
static __always_inline bool captured_again(struct sock *sk, struct connection *conn)
{
	end_counted(sk, conn);
	conn->marks |= MARK_IRREGULAR;
	return false;
}

static __always_inline bool begins_counted(struct scratch *area, struct connection *conn, __u32 total, bool readable)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call;
	__u32 method, end;

	if (conn->mode != MODE_COUNTED || conn->open || conn->marks & MARK_IRREGULAR || !readable ||
	    total < FIRST_LINE_BYTES || total > HEAD_BYTES_FIRST || !read_call(task, &call) ||
	    gather(area, &call, 0, total) != total)
		return false;
	method = method_of(area);
	if (method == METHOD_NONE)
		return false;
	/* Of requests without bodies another may follow the first in the same call. */
	end = head_bytes(area, total);
	if (!end || (has_no_body(method) && end != total))
		return false;
	conn->asked_ns = bpf_ktime_get_boot_ns();
	conn->asked_pid = area->event.head.pid;
	conn->method = method;
	conn->marks &= ~MARK_ANSWERED;
	conn->marks |= MARK_COUNTING | MARK_ASKED | MARK_RESUMED | MARK_RESUMED << 1;
	return true;
}

static __always_inline bool answers_counted(struct scratch *area, struct sock *sk, struct connection *conn,
					    __u32 total, bool readable)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct call call;
	__u32 status;

	if (!readable || total < FIRST_LINE_BYTES || !read_call(task, &call) ||
	    gather(area, &call, 0, FIRST_LINE_BYTES) != FIRST_LINE_BYTES)
		return captured_again(sk, conn);
	status = status_of(area);
	if (!status)
		return captured_again(sk, conn);
	if (status < 200 && status != 101)
		return true;
	add_counted(sk, conn, status);
	conn->marks |= MARK_ANSWERED;
	if (status == 101)
		conn->marks |= MARK_UPGRADED;
	return true;
}

/* Whether the call is part of an exchange that is counted here. Bits of `how`: received, readable. */
static __noinline bool is_counted(struct scratch *area, struct sock *sk, struct connection *conn, __u32 total,
				  __u32 how)
{
	__u32 direction = how & 1;
	bool readable = how & 2;

	if (conn->role == ROLE_UNKNOWN)
		return false;
	if (conn->marks & MARK_COUNTING) {
		if (conn->marks & MARK_UPGRADED)
			return true;
		if (!is_asking(conn, direction))
			return conn->marks & MARK_ANSWERED || answers_counted(area, sk, conn, total, readable);
		if (!(conn->marks & MARK_ANSWERED))
			return !has_no_body(conn->method) || captured_again(sk, conn);
		conn->marks &= ~MARK_COUNTING;
	}
	return is_asking(conn, direction) && begins_counted(area, conn, total, readable);
}

#endif
