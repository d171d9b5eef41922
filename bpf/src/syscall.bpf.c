// SPDX-License-Identifier: GPL-2.0
/*
 * The syscall rung: one hook at the end of every system call, which looks at those that can move bytes
 * of a socket. For kernels that have neither the socket tracepoints nor trampolines.
 *
 * The registers still hold the arguments at the end of a call. The socket is found by the descriptor;
 * where another thread has closed that within the call, and opened another, the bytes are that one's.
 */
#define SOCKETS_BY_DESCRIPTOR
#include "capture.h"

#define S_IFMT 0170000
#define S_IFSOCK 0140000
#define TCP_LISTEN 10
#define MESSAGES_MAX 64

/* What a call did to the socket of `descriptor`. */
struct done_call {
	__u32 descriptor;
	int flags;
	bool moves; /* else nothing of interest */
	bool received;
	bool many; /* the result counts messages */
};

static __always_inline void read_done(struct done_call *done, __u64 number, struct pt_regs *regs)
{
	done->moves = true;
	done->descriptor = FIRST_ARGUMENT(regs);
	switch (number) {
	case SYS_WRITE:
	case SYS_WRITEV:
	case SYS_SENDTO:
	case SYS_SENDMSG:
	case SYS_SENDFILE:
		return;
	case SYS_SENDMMSG:
		done->many = true;
		return;
	case SYS_SPLICE:
		/* From a pipe: a read of a socket by splice is not seen, and leaves a gap. */
		done->descriptor = THIRD_ARGUMENT(regs);
		return;
	}
	done->received = true;
	switch (number) {
	case SYS_READ:
	case SYS_READV:
		return;
	case SYS_RECVFROM:
		done->flags = FOURTH_ARGUMENT(regs);
		return;
	case SYS_RECVMSG:
		done->flags = THIRD_ARGUMENT(regs);
		return;
	case SYS_RECVMMSG:
		done->flags = FOURTH_ARGUMENT(regs);
		done->many = true;
		return;
	}
	done->moves = false;
}

/* The TCP or AF_UNIX socket of a descriptor; NULL for anything else. */
static __always_inline struct sock *socket_of(struct task_struct *task, __u32 descriptor)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file **files;
	struct file *file = NULL;
	struct socket *socket;
	struct sock *sk;

	if (!table || descriptor >= BPF_CORE_READ(table, max_fds))
		return NULL;
	files = BPF_CORE_READ(table, fd);
	if (bpf_probe_read_kernel(&file, sizeof(file), files + descriptor) || !file)
		return NULL;
	if ((BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	socket = BPF_CORE_READ(file, private_data);
	sk = BPF_CORE_READ(socket, sk);
	if (!sk || !(tcp_of(sk) || is_unix(sk)) || OF_SOCKET(sk, __sk_common.skc_state) == TCP_LISTEN)
		return NULL;
	return sk;
}

/* Bytes of the first `count` messages of a vector. */
static __always_inline int bytes_of_messages(__u64 vector, long count)
{
	struct mmsghdr message;
	int total = 0;
	long i;

	for (i = 0; i < MESSAGES_MAX && i < count; i++) {
		if (bpf_probe_read_user(&message, sizeof(message), (void *)(vector + i * sizeof(message))))
			break;
		total += message.msg_len;
	}
	return total;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(call_done, struct pt_regs *regs, long ret)
{
	struct done_call done = {};
	struct task_struct *task;
	struct sock *sk;

	if (ret < 0)
		return 0;
	read_done(&done, CALL_NUMBER(regs), regs);
	if (!done.moves)
		return 0;
	task = bpf_get_current_task_btf();
	if (is_32bit(task))
		return 0;
	sk = socket_of(task, done.descriptor);
	if (!sk)
		return 0;
	if (done.many)
		ret = bytes_of_messages(SECOND_ARGUMENT(regs), ret);
	return done.received ? on_received(sk, ret, done.flags) : on_sent(sk, ret);
}
