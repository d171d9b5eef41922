// SPDX-License-Identifier: GPL-2.0
/*
 * Calls of OpenSSL, by uprobes at the functions' entries and returns: clear text on its way in and out.
 *
 * Events go to the data ring of the rung, so that they stand in order among the socket calls of their thread: which
 * socket a session belongs to is told by its neighbours there, and decided in the agent. The maps that a rung has too
 * are that rung's; the loader hands them over.
 *
 * One program serves all entries and one all returns. The cookie of an entry is the kind of its call, with
 * COOKIE_COUNT_FOURTH or _FIFTH for the functions that hand the count of bytes over by a pointer.
 */
#include "vmlinux.h"
#define __VMLINUX_H__ /* bpf_tracing.h: registers go by their names in the kernel */
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>
#include "event.h"
#include "call.h"
#include "task.h"
#include "unit.h"

char LICENSE[] SEC("license") = "GPL";

#define COOKIE_COUNT_FOURTH 16 /* the fourth argument says where the count of bytes goes */
#define COOKIE_COUNT_FIFTH 32
#define COOKIE_BY_NAME 64 /* attached to all processes, for those of certain names */
#define TASK_NAMES_MAX 8 /* mirrored in agent/capture/tls-probes.ts */
#define COOKIE_KIND 15
#define CALLS_MAX 16384
#define SESSIONS_MAX 65536
#define NESTED (1ULL << 63) /* beside the thread: the key of a call inside of another one */
#define COPY_LEAST 256
#define COPY_USUAL 1024
#define COPY_LONG 4096

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} slices SEC(".maps");

/* Processes that are left out whatever the uprobes are attached to. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} excluded_pids SEC(".maps");

/*
 * Programs by the name of their thread: where a file's uprobes serve all of its processes for the sake of a program whose
 * processes end before they can get their own, calls of no other are read. Zeros where there are fewer.
 */
struct task_names {
	__u64 words[2 * TASK_NAMES_MAX];
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct task_names);
} tls_names SEC(".maps");

/* Processes with uprobes of their own, or with none for a while: a name does not count for them. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, __u32);
	__type(value, __u8);
} tls_own_pids SEC(".maps");

/* A call under way. */
struct tls_call {
	__u64 session;
	__u64 buffer;
	__u64 count_at; /* where the count of bytes will stand; 0: it is what the function returns */
	__u64 entry_ns;
	__u64 stack; /* tells a call inside of this one, and one that never returned, from the next */
	__u32 kind;
	__u32 size;
	__u32 inner; /* calls of probed functions inside of this one, by which the library does the same */
	__u32 nested; /* a call of its own is under way inside of this one: what the library called back makes one */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, CALLS_MAX);
	__type(key, __u64);
	__type(value, struct tls_call);
} tls_calls SEC(".maps");

struct session_key {
	__u64 session;
	__u64 process;
};

/* Clear bytes so far, by direction: sent, received. */
struct session_bytes {
	__u64 moved[2];
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, SESSIONS_MAX);
	__type(key, struct session_key);
	__type(value, struct session_bytes);
} tls_sessions SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct tls_counters);
} tls_counts SEC(".maps");

/* Calls of a process since its last look, for its budget. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, __u64);
} tls_rates SEC(".maps");

static __always_inline void count_call(__u32 pid)
{
	__u64 one = 1;
	__u64 *calls = bpf_map_lookup_elem(&tls_rates, &pid);

	if (calls)
		__sync_fetch_and_add(calls, 1);
	else
		bpf_map_update_elem(&tls_rates, &pid, &one, BPF_NOEXIST);
}

/* How many clear bytes the session had moved before in this direction. */
static __always_inline __u64 moved_before(__u64 session, __u8 direction, __u32 total)
{
	struct session_key key = { .session = session, .process = bpf_get_current_pid_tgid() >> 32 };
	struct session_bytes *bytes = bpf_map_lookup_elem(&tls_sessions, &key);
	struct session_bytes none = {};

	if (!bytes) {
		bpf_map_update_elem(&tls_sessions, &key, &none, BPF_NOEXIST);
		bytes = bpf_map_lookup_elem(&tls_sessions, &key);
	}
	/* Calls of one session never run at the same time. */
	return bytes ? __sync_fetch_and_add(&bytes->moved[direction & 1], total) : 0;
}

static __always_inline void fill_event(struct tls_event *event, const struct tls_call *call,
				       struct task_struct *task, __u32 total)
{
	__u8 direction = call->kind == TLS_READ;
	__u32 plain_since = 0;

	event->slice.head.kind = EVENT_TLS;
	event->slice.head.flags = direction ? FLAG_RECEIVED : 0;
	event->slice.head.pid = pid_of(task);
	event->slice.head.time_ns = bpf_ktime_get_boot_ns();
	event->slice.head.cookie = call->session;
	event->slice.tid = tid_of(task);
	event->slice.seq = total ? moved_before(call->session, direction, total) : 0;
	event->slice.total = total;
	event->entry_ns = call->entry_ns;
	event->call = call->kind;
	event->room = call->size;
	read_unit(&event->slice, task, &plain_since);
}

/* Room for `bytes` in the ring, filled and handed over. The size must be a constant. 0: well, 1: without payload, 2: lost. */
#define EMIT_SIZED(bytes)                                                                      \
	__noinline int emit_##bytes(struct tls_event *told, __u64 buffer, __u32 length)        \
	{                                                                                      \
		struct tls_event *event;                                                       \
		__u64 size = length;                                                           \
		int outcome = 0;                                                               \
                                                                                               \
		if (!told)                                                                     \
			return 2;                                                              \
		event = bpf_ringbuf_reserve(&slices, sizeof(*event) + (bytes), 0);             \
		if (!event)                                                                    \
			return 2;                                                              \
		*event = *told;                                                                \
		asm volatile("" : "+r"(size));                                                 \
		if (size > (bytes))                                                            \
			size = (bytes);                                                        \
		event->slice.copied = size;                                                    \
		if (size && bpf_probe_read_user((void *)(event + 1), size, (void *)buffer)) {  \
			event->slice.copied = 0;                                               \
			outcome = 1;                                                           \
		}                                                                              \
		bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);                                   \
		return outcome;                                                                \
	}

/* No buffer: an argument that is never read would be left unset by the compiler, and refused. */
__noinline int emit_none(struct tls_event *told)
{
	if (!told)
		return 2;
	return bpf_ringbuf_output(&slices, told, sizeof(*told), BPF_RB_NO_WAKEUP) ? 2 : 0;
}

EMIT_SIZED(256)
EMIT_SIZED(1024)
EMIT_SIZED(4096)
EMIT_SIZED(16384)

/* "METHOD " or "HTTP/": then the head is wanted whole. */
static __always_inline bool begins_message(__u64 buffer)
{
	__u8 bytes[8] = {};
	int i;

	if (bpf_probe_read_user(bytes, sizeof(bytes), (void *)buffer))
		return false;
	if (bytes[0] == 'H' && bytes[1] == 'T' && bytes[2] == 'T' && bytes[3] == 'P' && bytes[4] == '/')
		return true;
	for (i = 0; i < 8; i++) {
		if (bytes[i] == ' ')
			return i >= 3;
		if (!is_token(bytes[i]))
			return false;
	}
	return false;
}

static __always_inline int emit(struct tls_event *event, __u64 buffer, __u32 total)
{
	if (total == 0)
		return emit_none(event);
	if (total <= COPY_LEAST)
		return emit_256(event, buffer, total);
	if (total <= COPY_USUAL)
		return emit_1024(event, buffer, total);
	if (total <= COPY_LONG)
		return emit_4096(event, buffer, total);
	if (begins_message(buffer))
		return emit_16384(event, buffer, total < HEAD_BYTES_MAX ? total : HEAD_BYTES_MAX);
	return emit_4096(event, buffer, COPY_LONG);
}

static __always_inline void tell(const struct tls_call *call, __u32 total)
{
	__u32 zero = 0;
	struct tls_counters *count = bpf_map_lookup_elem(&tls_counts, &zero);
	struct tls_event event = {};
	int outcome;

	if (!count)
		return;
	fill_event(&event, call, bpf_get_current_task_btf(), total);
	__sync_fetch_and_add(&count->seen, 1);
	outcome = emit(&event, call->buffer, total);
	if (outcome == 2) {
		__sync_fetch_and_add(&count->lost_ring_full, 1);
		return;
	}
	__sync_fetch_and_add(&count->submitted, 1);
	if (outcome == 1)
		__sync_fetch_and_add(&count->payload_faults, 1);
}

/* Whether a call belongs to one that is under way, and is no call of its own. */
static __always_inline bool is_inner(const struct tls_call *outer, const struct tls_call *call)
{
	return outer->session == call->session && (outer->kind == call->kind || call->kind == TLS_HANDSHAKE);
}

static __always_inline bool is_named(__u32 pid)
{
	__u32 zero = 0;
	__u64 own[2] = {};
	struct task_names *names;

	if (bpf_map_lookup_elem(&tls_own_pids, &pid))
		return false;
	names = bpf_map_lookup_elem(&tls_names, &zero);
	if (!names)
		return false;
	bpf_get_current_comm(own, sizeof(own));
#pragma unroll
	for (int at = 0; at < TASK_NAMES_MAX; at++)
		if (names->words[2 * at] == own[0] && names->words[2 * at + 1] == own[1])
			return true;
	return false;
}

SEC("uprobe")
int tls_enter(struct pt_regs *regs)
{
	struct task_struct *task = bpf_get_current_task_btf();
	__u64 thread = bpf_get_current_pid_tgid(), nested_key;
	__u64 cookie = bpf_get_attach_cookie(regs);
	struct tls_call call = {}, *outer, *nested;
	__u32 pid = pid_of(task);

	if (!pid || bpf_map_lookup_elem(&excluded_pids, &pid))
		return 0;
	if ((cookie & COOKIE_BY_NAME) && !is_named(pid))
		return 0;
	count_call(pid);
	call.kind = cookie & COOKIE_KIND;
	call.session = PT_REGS_PARM1(regs);
	call.entry_ns = bpf_ktime_get_boot_ns();
	if (call.kind == TLS_FREE) {
		tell(&call, 0);
		return 0;
	}
	call.stack = PT_REGS_SP(regs);
	outer = bpf_map_lookup_elem(&tls_calls, &thread);
	/* The stack grows down: a call inside of another one lies below it. */
	if (outer && outer->stack > call.stack) {
		nested_key = thread | NESTED;
		nested = outer->nested ? bpf_map_lookup_elem(&tls_calls, &nested_key) : NULL;
		/* Returns are told apart in the same order. */
		if (nested && nested->stack > call.stack) {
			nested->inner++;
			return 0;
		}
		/* That one never returned, or was pushed out. */
		outer->nested = 0;
		if (is_inner(outer, &call)) {
			outer->inner++;
			return 0;
		}
		thread = nested_key;
		outer->nested = 1;
	}
	if (call.kind != TLS_HANDSHAKE) {
		call.buffer = PT_REGS_PARM2(regs);
		call.size = PT_REGS_PARM3(regs);
		if (cookie & COOKIE_COUNT_FOURTH)
			call.count_at = PT_REGS_PARM4(regs);
		if (cookie & COOKIE_COUNT_FIFTH)
			call.count_at = PT_REGS_PARM5(regs);
	}
	bpf_map_update_elem(&tls_calls, &thread, &call, BPF_ANY);
	return 0;
}

SEC("uprobe")
int tls_leave(struct pt_regs *regs)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct tls_call *outer = bpf_map_lookup_elem(&tls_calls, &thread), *found = outer;
	int result = PT_REGS_RC(regs);
	__u64 count = 0;
	struct tls_call call;

	if (!found)
		return 0;
	/* After a return the stack ends above where it was at the entry. */
	if (outer->nested && PT_REGS_SP(regs) <= outer->stack) {
		thread |= NESTED;
		found = bpf_map_lookup_elem(&tls_calls, &thread);
		if (!found)
			return 0;
	}
	if (found->inner) {
		found->inner--;
		return 0;
	}
	call = *found;
	if (found != outer)
		outer->nested = 0;
	bpf_map_delete_elem(&tls_calls, &thread);
	if (result > 0 && call.kind != TLS_HANDSHAKE) {
		count = result;
		if (call.count_at && bpf_probe_read_user(&count, sizeof(count), (void *)call.count_at))
			count = 0;
		if (count > 0xffffffff)
			count = 0;
	}
	tell(&call, count);
	return 0;
}
