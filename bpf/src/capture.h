/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the rungs inside the kernel share: their maps, what they say of sockets, calls and processes, and the
 * hooks that all of them have. Each rung adds its own way to learn of a call and ends in on_sent or
 * on_received.
 *
 * - A connection's state is never keyed by pointer or descriptor, since both are used again at once.
 * - A socket is announced on the control ring before its first slice goes to the data ring.
 * - The kernel side decides only how much to copy. What the bytes mean is decided in the agent.
 */
#ifndef THALWEG_CAPTURE_H
#define THALWEG_CAPTURE_H

#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "event.h"
#include "call.h"
#include "task.h"
#include "unit.h"
#include "connection.h"

char LICENSE[] SEC("license") = "GPL";

/* Bytes copied of a call that starts no message. Set by the agent, at most 4096. */
const volatile __u32 copy_bytes = 1024;

#define MSG_OOB 1
#define MSG_PEEK 2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000
#define SHUTDOWN_BOTH 3
#define ECONNRESET 104
#define EPIPE 32
#define ETIMEDOUT 110

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} slices SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} controls SEC(".maps");

/* An array by processor, since a per-CPU map's value may not pass 32 KiB. Sized by the agent. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratches SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct probe_counters);
} counters SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} excluded_pids SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} excluded_ports SEC(".maps");

static __always_inline struct probe_counters *own_counters(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&counters, &zero);
}

static __always_inline void emit_control(struct probe_counters *count, void *event, __u64 size,
					 bool *sent)
{
	/* Atomic: a state change in softirq may come between another program's read and write. */
	__sync_fetch_and_add(&count->control_seen, 1);
	*sent = bpf_ringbuf_output(&controls, event, size, BPF_RB_NO_WAKEUP) == 0;
	if (*sent)
		__sync_fetch_and_add(&count->control_submitted, 1);
	else
		__sync_fetch_and_add(&count->control_lost, 1);
}

static __always_inline bool is_excluded(__u32 pid, struct sock *sk)
{
	__u32 local = OF_SOCKET(sk, __sk_common.skc_num);
	__u32 remote = __builtin_bswap16(OF_SOCKET(sk, __sk_common.skc_dport));

	return bpf_map_lookup_elem(&excluded_pids, &pid) ||
	       bpf_map_lookup_elem(&excluded_ports, &local) ||
	       bpf_map_lookup_elem(&excluded_ports, &remote);
}

static __always_inline void put_mapped(__u8 *to, __be32 addr)
{
	__builtin_memset(to, 0, 10);
	to[10] = 0xff;
	to[11] = 0xff;
	__builtin_memcpy(to + 12, &addr, 4);
}

/* Writes 16 bytes: the address of the socket's own end, or of the other. */
static __always_inline void put_address(void *to, struct sock *sk, bool remote)
{
	if (OF_SOCKET(sk, __sk_common.skc_family) == AF_INET)
		put_mapped(to, remote ? OF_SOCKET(sk, __sk_common.skc_daddr) :
					OF_SOCKET(sk, __sk_common.skc_rcv_saddr));
	else if (remote)
		BPF_CORE_READ_INTO((struct in6_addr *)to, sk, __sk_common.skc_v6_daddr);
	else
		BPF_CORE_READ_INTO((struct in6_addr *)to, sk, __sk_common.skc_v6_rcv_saddr);
}

#include "budget.h"

/* Announces a socket at its first call. False: the control ring is full, and the next call tries again. */
static __noinline bool say_opened(struct sock *sk, struct connection *conn,
				  struct task_struct *task, struct probe_counters *count)
{
	struct open_event event = {};
	const unsigned char *program;
	bool sent;

	event.head.kind = EVENT_OPEN;
	event.head.pid = pid_of(task);
	event.head.cookie = conn->cookie;
	event.head.time_ns = conn->opened_ns;
	if (!conn->opened_ns) {
		event.head.flags = FLAG_JOINED_LATE;
		event.head.time_ns = bpf_ktime_get_boot_ns();
	}
	event.tid = tid_of(task);
	event.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	event.local_port = OF_SOCKET(sk, __sk_common.skc_num);
	event.remote_port = __builtin_bswap16(OF_SOCKET(sk, __sk_common.skc_dport));
	event.role = conn->role;
	put_address(event.local, sk, false);
	put_address(event.remote, sk, true);
	event.process_start_ns = task->group_leader->start_boottime;
	program = BPF_CORE_READ(task, mm, exe_file, f_path.dentry, d_name.name);
	bpf_probe_read_kernel_str(event.program, sizeof(event.program), program);
	emit_control(count, &event, sizeof(event), &sent);
	if (sent)
		conn->flags |= CONNECTION_SAID;
	return sent;
}

#include "unix.h"

static __always_inline __u32 smaller(__u32 a, __u32 b)
{
	return a < b ? a : b;
}

/*
 * Whether these bytes begin a message of HTTP/1, after what starts_message() said. What others speak may begin
 * with a word, too: "PRI * HTTP/2.0", or a command of Redis that was typed.
 */
static __always_inline bool begins_text(struct scratch *area, __u32 target)
{
	const __u8 *bytes = area->bytes;
	__u64 at = target;
	__u8 first;

	if (target < 2)
		return target;
	if (bytes[0] == 'P' && bytes[1] == 'R' && bytes[2] == 'I')
		return false;
	asm volatile("" : "+r"(at));
	at &= 31;
	first = bytes[at];
	return first == '/' || first == '*' || first == 'h' || first == 'H' ||
	       (bytes[0] == 'C' && bytes[1] == 'O' && bytes[2] == 'N');
}

/*
 * Whether all of a long call is worth its bytes: messages in frames follow each other within it, and the
 * last of them ends a result. Not in HTTP/1, whose bodies are only counted, nor in TLS, nor in the midst of
 * a stream of long calls, which is bulk.
 */
static __always_inline bool holds_frames(struct scratch *area, struct connection *conn)
{
	if (conn->flags & CONNECTION_TEXT || conn->mode != MODE_FULL || conn->run >= LONG_CALLS_MAX)
		return false;
	if (area->bytes[1] == 3 && area->bytes[0] >= 20 && area->bytes[0] <= 23)
		return false;
	conn->run++;
	return true;
}

/* Copies more of a call that holds, or may hold, a head. Returns the bytes present. */
static __always_inline __u32 copy_head(struct scratch *area, struct call *call,
				       struct connection *conn, __u32 total, __u8 direction,
				       __u32 *wanted)
{
	__u32 starts = starts_message(area);
	bool bodyless = starts && is_bodyless(area->bytes);
	__u32 copied = *wanted;
	bool ends;

	if (begins_text(area, starts))
		conn->flags |= CONNECTION_TEXT;
	if (holds_frames(area, conn)) {
		conn->open_head = 0;
		*wanted = smaller(total, HEAD_BYTES_MAX);
		return gather(area, call, copied, *wanted);
	}
	if (!starts && conn->open_head != direction + 1) {
		conn->open_head = 0;
		conn->bulk = direction + 1;
		return copied;
	}
	conn->bulk = 0;
	if (!bodyless && conn->mode == MODE_HEADS) {
		*wanted = smaller(total, copy_bytes);
		copied = gather(area, call, copied, *wanted);
		if (has_blank_line(area, copied)) {
			conn->open_head = 0;
			return copied;
		}
	}
	*wanted = smaller(total, bodyless ? HEAD_BYTES_MAX : HEAD_BYTES_FIRST);
	copied = gather(area, call, copied, *wanted);
	ends = has_blank_line(area, copied);
	if (!ends && !bodyless && total > HEAD_BYTES_FIRST) {
		*wanted = smaller(total, HEAD_BYTES_MAX);
		copied = gather(area, call, copied, *wanted);
	}
	conn->open_head = !ends && total <= HEAD_BYTES_MAX ? direction + 1 : 0;
	return copied;
}

/* Copies the call's first bytes into the scratch area and says how many. */
static __always_inline __u32 copy_payload(struct scratch *area, struct connection *conn,
					  struct task_struct *task, __u32 total, __u8 direction,
					  struct probe_counters *count)
{
	__u32 wanted = smaller(total, copy_bytes);
	struct call call;
	__u32 copied;

	if (conn->last != direction + 1) {
		/* Who asks and is answered does not move bulk. */
		conn->run = 0;
		if (!(conn->flags & CONNECTION_TEXT))
			conn->bulk = 0;
		conn->last = direction + 1;
	}
	if (total > copy_bytes && conn->bulk == direction + 1)
		wanted = smaller(total, BULK_BYTES);
	if (conn->mode == MODE_HEADS && conn->marks & MARK_ASKED && conn->open_head != direction + 1)
		wanted = smaller(total, HEADS_BYTES);

	if (!read_call(task, &call)) {
		count->payload_unreachable++;
		conn->open_head = 0;
		return 0;
	}
	copied = gather(area, &call, 0, wanted);
	if (copied && !(conn->flags & CONNECTION_JUDGED)) {
		conn->flags |= CONNECTION_JUDGED;
		if (begins_text(area, starts_message(area)))
			conn->flags |= CONNECTION_TEXT;
	}
	if (copied == wanted) {
		if (total <= wanted) {
			conn->open_head = ends_with_blank(area, copied) ? 0 : direction + 1;
			conn->bulk = 0;
			conn->run = 0;
		} else {
			copied = copy_head(area, &call, conn, total, direction, &wanted);
		}
	}
	if (copied < wanted)
		count->payload_faults++;
	return copied;
}

static __always_inline void emit_slice(struct scratch *area, __u64 size,
				       struct probe_counters *count)
{
	asm volatile("" : "+r"(size));
	if (size > sizeof(struct slice_event) + HEAD_BYTES_MAX)
		size = sizeof(struct slice_event) + HEAD_BYTES_MAX;
	if (bpf_ringbuf_output(&slices, &area->event, size, BPF_RB_NO_WAKEUP) == 0)
		count->calls_submitted++;
	else
		count->calls_lost_ring_full++;
}

static __always_inline bool has_fin(struct sock *sk)
{
	return OF_SOCKET(sk, __sk_common.skc_flags) >> bpf_core_enum_value(enum sock_flags, SOCK_DONE) & 1;
}

/*
 * Tells of a connect or of a stream's end in order with the thread's slices: what the thread was about
 * at a connect is what the first write is for, whenever that comes.
 */
static __noinline int say_moment(struct sock *sk, __u8 kind)
{
	struct task_struct *task = bpf_get_current_task_btf();
	struct probe_counters *count = own_counters();
	struct slice_event event = {};
	struct connection *conn;

	if (!sk || !count)
		return 0;
	conn = known_connection(sk);
	if (!conn || conn->flags & CONNECTION_SKIPPED)
		return 0;
	event.head.kind = kind;
	event.head.pid = pid_of(task);
	if (!event.head.pid || is_excluded(event.head.pid, sk))
		return 0;
	event.head.time_ns = bpf_ktime_get_boot_ns();
	event.head.cookie = conn->cookie;
	event.tid = tid_of(task);
	read_unit(&event, task, &conn->plain_since);
	__sync_fetch_and_add(&count->control_seen, 1);
	if (bpf_ringbuf_output(&slices, &event, sizeof(event), BPF_RB_NO_WAKEUP) == 0)
		__sync_fetch_and_add(&count->control_submitted, 1);
	else
		__sync_fetch_and_add(&count->control_lost, 1);
	return 0;
}

/* What the hooks cost, from the calls that are timed; `began` is 0 for the others. */
static __always_inline void note_time(struct probe_counters *count, __u64 began)
{
	if (!began)
		return;
	count->calls_timed++;
	count->timed_ns += bpf_ktime_get_ns() - began;
}

static __always_inline int on_call(struct sock *sk, int ret, __u8 direction, bool readable)
{
	struct task_struct *task;
	struct probe_counters *count;
	struct connection *conn;
	struct tcp_sock *tcp;
	struct scratch *area;
	__u32 copied_seq, processor;
	__u32 seq = 0;
	__u64 began;

	if (ret <= 0)
		return 0;
	tcp = tcp_of(sk);
	if (!tcp && !is_unix(sk))
		return 0;
	count = own_counters();
	if (!count)
		return 0;
	began = count->calls_seen % TIMED_EVERY ? 0 : bpf_ktime_get_ns();
	conn = connection_of(sk);
	if (conn && conn->flags & CONNECTION_SKIPPED) {
		count->calls_excluded++;
		return 0;
	}
	task = bpf_get_current_task_btf();
	if (conn && !tcp && !conn->role)
		conn->role = unix_role(sk);
	if (conn && !(conn->flags & CONNECTION_SAID) &&
	    ((!tcp && !conn->role) || is_excluded(pid_of(task), sk))) {
		conn->flags |= CONNECTION_SKIPPED;
		count->calls_excluded++;
		return 0;
	}
	count->calls_seen++;
	if (!conn) {
		count->calls_lost_no_memory++;
		return 0;
	}
	if (!tcp) {
		seq = direction ? conn->received : conn->sent;
		if (direction)
			conn->received += ret;
		else
			conn->sent += ret;
	}
	if (!(conn->flags & CONNECTION_SAID) &&
	    !(tcp ? say_opened(sk, conn, task, count) : say_unix_opened(sk, conn, task, count))) {
		count->calls_lost_control_full++;
		return 0;
	}
	learn_mode(conn, pid_of(task));
	if (conn->mode == MODE_OFF && !(conn->marks & MARK_COUNTING)) {
		conn->open = 0;
		count->calls_lost_budget++;
		note_held_back(pid_of(task));
		note_time(count, began);
		return 0;
	}
	if (tcp && direction == 0) {
		seq = OF_SOCKET(tcp, write_seq) - ret;
	} else if (tcp) {
		copied_seq = OF_SOCKET(tcp, copied_seq);
		seq = copied_seq - ret;
		/* A FIN read together with the data has moved copied_seq by one more. */
		if (has_fin(sk) && copied_seq == OF_SOCKET(tcp, rcv_nxt))
			seq--;
	}
	processor = bpf_get_smp_processor_id();
	area = bpf_map_lookup_elem(&scratches, &processor);
	if (!area || area->taken) {
		count->calls_lost_nested++;
		return 0;
	}
	area->taken = 1;
	area->event.head.pid = pid_of(task);
	if (tcp && (conn->mode == MODE_COUNTED || conn->marks & MARK_COUNTING) &&
	    is_counted(area, sk, conn, ret, direction | (readable ? 2 : 0))) {
		count->calls_counted++;
		note_held_back(area->event.head.pid);
		note_time(count, began);
		area->taken = 0;
		return 0;
	}
	area->event.head.kind = EVENT_SLICE;
	area->event.head.flags = direction ? FLAG_RECEIVED : 0;
	if (conn->marks & MARK_RESUMED << direction) {
		conn->marks &= ~(MARK_RESUMED << direction);
		area->event.head.flags |= FLAG_RESUMED;
	}
	area->event.head.reserved = 0;
	area->event.head.time_ns = bpf_ktime_get_boot_ns();
	area->event.head.cookie = conn->cookie;
	area->event.tid = tid_of(task);
	read_unit(&area->event, task, &conn->plain_since);
	area->event.seq = seq;
	area->event.total = ret;
	area->event.copied = readable ? copy_payload(area, conn, task, ret, direction, count) : 0;
	note_heads(area, conn, area->event.copied, direction);
	emit_slice(area, sizeof(struct slice_event) + area->event.copied, count);
	note_time(count, began);
	area->taken = 0;
	return 0;
}

static __always_inline int on_sent(struct sock *sk, int ret)
{
	return on_call(sk, ret, 0, true);
}

static __always_inline int on_received(struct sock *sk, int ret, int flags)
{
	/* Urgent bytes and error messages are outside of the stream; a peek takes nothing from it. */
	if (flags & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE))
		return 0;
	/* A listener's or datagram's call reads nothing either, but has no state here. */
	if (ret == 0)
		return OF_SOCKET(sk, sk_protocol) == IPPROTO_TCP ? say_moment(sk, EVENT_ENDED) : 0;
	/* MSG_TRUNC throws the bytes away: the buffer holds something else. */
	return on_call(sk, ret, 1, !(flags & MSG_TRUNC));
}

static __always_inline void say_closed(struct connection *conn, __u8 flags)
{
	struct probe_counters *count = own_counters();
	struct close_event event = {};
	bool sent;

	if (!count)
		return;
	event.head.kind = EVENT_CLOSE;
	event.head.flags = flags;
	event.head.time_ns = bpf_ktime_get_boot_ns();
	event.head.cookie = conn->cookie;
	emit_control(count, &event, sizeof(event), &sent);
	conn->flags |= CONNECTION_CLOSED;
}

static __always_inline void note_birth(struct sock *sk, __u8 role)
{
	struct connection *conn;

	name_socket(sk);
	conn = connection_of(sk);
	if (!conn)
		return;
	conn->role = role;
	conn->flags = 0;
	conn->open_head = 0;
	conn->bulk = 0;
	conn->plain_since = 0;
	conn->mode_since = 0;
	conn->mode = MODE_FULL;
	conn->marks = 0;
	conn->open = 0;
	conn->opened_ns = bpf_ktime_get_boot_ns();
}

/* Whether the end is over for its process, but for what it has not read yet. */
static __always_inline bool is_over(struct sock *sk, int newstate)
{
	if (newstate == TCP_FIN_WAIT1)
		return sk->sk_shutdown == SHUTDOWN_BOTH;
	return newstate == TCP_CLOSE || newstate == TCP_LAST_ACK;
}

static __always_inline __u8 end_flags(struct sock *sk, int oldstate, int newstate)
{
	struct tcp_sock *tcp = tcp_of(sk);
	int error = sk->sk_err;
	__u8 flags = 0;

	if (tcp && OF_SOCKET(tcp, rcv_nxt) - OF_SOCKET(tcp, copied_seq) > (has_fin(sk) ? 1 : 0))
		flags |= FLAG_UNREAD;
	if (error == ECONNRESET || error == EPIPE)
		flags |= FLAG_RESET;
	if (newstate == TCP_CLOSE && error != ETIMEDOUT &&
	    (oldstate == TCP_ESTABLISHED || oldstate == TCP_CLOSE_WAIT))
		flags |= FLAG_RESET;
	return flags;
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(tcp_state, struct sock *sk, int oldstate, int newstate)
{
	struct connection *conn;

	if (sk->sk_protocol != IPPROTO_TCP)
		return 0;
	if (newstate == TCP_SYN_SENT) {
		note_birth(sk, ROLE_CLIENT);
		say_moment(sk, EVENT_CONNECT);
		return 0;
	}
	if (newstate == TCP_ESTABLISHED && oldstate == TCP_SYN_RECV) {
		note_birth(sk, ROLE_SERVER);
		return 0;
	}
	if (!is_over(sk, newstate))
		return 0;
	conn = known_connection(sk);
	if (!conn || (conn->flags & (CONNECTION_SAID | CONNECTION_CLOSED)) != CONNECTION_SAID)
		return 0;
	end_counted(sk, conn);
	say_closed(conn, end_flags(sk, oldstate, newstate));
	return 0;
}

/* The arguments, since a process that lives for milliseconds is gone before /proc is read. */
SEC("tp_btf/sched_process_exec")
int BPF_PROG(process_exec, struct task_struct *task)
{
	struct probe_counters *count = own_counters();
	__u32 processor = bpf_get_smp_processor_id();
	struct scratch *area = bpf_map_lookup_elem(&scratches, &processor);
	__u64 start, length;
	bool sent;

	if (!count || !area)
		return 0;
	if (area->taken) {
		__sync_fetch_and_add(&count->control_seen, 1);
		__sync_fetch_and_add(&count->control_lost, 1);
		return 0;
	}
	area->taken = 1;
	__builtin_memset(&area->event, 0, sizeof(area->event));
	area->event.head.kind = EVENT_EXEC;
	area->event.head.pid = pid_of(task);
	area->event.head.time_ns = bpf_ktime_get_boot_ns();
	area->event.tid = tid_of(task);
	start = BPF_CORE_READ(task, mm, arg_start);
	length = BPF_CORE_READ(task, mm, arg_end) - start;
	area->event.total = length;
	asm volatile("" : "+r"(length));
	if (length > ARGUMENT_BYTES_MAX)
		length = ARGUMENT_BYTES_MAX;
	if (bpf_probe_read_user(area->bytes, length, (void *)start))
		length = 0;
	area->event.copied = length;
	asm volatile("" : "+r"(length));
	if (length > ARGUMENT_BYTES_MAX)
		length = ARGUMENT_BYTES_MAX;
	if (area->event.head.pid)
		emit_control(count, &area->event, sizeof(area->event) + length, &sent);
	area->taken = 0;
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(process_exit, struct task_struct *task)
{
	struct probe_counters *count = own_counters();
	struct exit_event event = {};
	bool sent;

	/* Only the last thread ends the process. */
	if (!count || task->signal->live.counter > 0)
		return 0;
	event.head.kind = EVENT_EXIT;
	event.head.pid = pid_of(task);
	event.head.time_ns = bpf_ktime_get_boot_ns();
	if (event.head.pid)
		emit_control(count, &event, sizeof(event), &sent);
	return 0;
}

#endif
