/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Streams of AF_UNIX, which have no addresses and no sequence numbers: a connection is named by the cookie
 * of the end that connected, or its inode, which both ends can read, and bytes are counted from the first
 * call on.
 *
 * Only connections to a name count. Pairs without one connect the parts of one program.
 */
#ifndef THALWEG_UNIX_H
#define THALWEG_UNIX_H

#define UNIX_PATH_BYTES_MAX 108

/* The accepted end has the listener's name; whoever connects to one seldom has a name of its own. */
static __always_inline __u8 unix_role(struct sock *sk)
{
	struct unix_sock *own = (struct unix_sock *)sk;
	struct unix_sock *peer = (struct unix_sock *)BPF_CORE_READ(own, peer);
	bool own_name = BPF_CORE_READ(own, addr) != NULL;
	bool peer_name = peer && BPF_CORE_READ(peer, addr) != NULL;

	if (own_name == peer_name)
		return ROLE_UNKNOWN;
	return own_name ? ROLE_SERVER : ROLE_CLIENT;
}

/* Announces a socket at its first call, as say_opened() does. */
static __noinline bool say_unix_opened(struct sock *sk, struct connection *conn,
				       struct task_struct *task, struct probe_counters *count)
{
	__u32 processor = bpf_get_smp_processor_id();
	struct scratch *area = bpf_map_lookup_elem(&scratches, &processor);
	struct unix_sock *own = (struct unix_sock *)sk;
	struct unix_sock *peer = (struct unix_sock *)BPF_CORE_READ(own, peer);
	struct unix_open_event *event;
	struct unix_address *name;
	const unsigned char *program;
	__u64 length;
	bool sent;

	if (!area || area->taken)
		return false;
	area->taken = 1;
	event = (struct unix_open_event *)area->bytes;
	__builtin_memset(event, 0, sizeof(*event));
	event->open.head.kind = EVENT_OPEN;
	event->open.head.flags = FLAG_UNIX;
	event->open.head.pid = pid_of(task);
	event->open.head.cookie = conn->cookie;
	event->open.head.time_ns = bpf_ktime_get_boot_ns();
	event->open.tid = tid_of(task);
	event->open.netns = BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
	event->open.role = conn->role;
	event->open.process_start_ns = task->group_leader->start_boottime;
	program = BPF_CORE_READ(task, mm, exe_file, f_path.dentry, d_name.name);
	bpf_probe_read_kernel_str(event->open.program, sizeof(event->open.program), program);
	event->inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);
	if (conn->role == ROLE_CLIENT) {
		event->client = conn->cookie;
		name = BPF_CORE_READ(peer, addr);
	} else {
		event->client = unix_cookie_of((struct sock *)peer);
		/* It left already, or has made no call yet: its end is not joined, and no other one is taken for this one. */
		if (!event->client)
			event->client = conn->cookie;
		name = BPF_CORE_READ(own, addr);
	}
	length = BPF_CORE_READ(name, len) - sizeof(unsigned short);
	asm volatile("" : "+r"(length));
	if (length > UNIX_PATH_BYTES_MAX)
		length = UNIX_PATH_BYTES_MAX;
	event->open.local_port = length;
	bpf_probe_read_kernel(event->path, length, (void *)name + bpf_core_field_offset(name->name) + sizeof(unsigned short));
	emit_control(count, event, sizeof(*event), &sent);
	if (sent)
		conn->flags |= CONNECTION_SAID;
	area->taken = 0;
	return sent;
}

#endif
