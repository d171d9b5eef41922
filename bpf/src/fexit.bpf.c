// SPDX-License-Identifier: GPL-2.0
/*
 * The fexit rung: the ends of the functions that every socket call of TCP goes through, on kernels
 * whose sockets have no tracepoints of their own for it. Their arguments are the same in all versions,
 * unlike those of tcp_recvmsg.
 */
#include "capture.h"

SEC("fexit/inet_sendmsg")
int BPF_PROG(inet_sent, struct socket *sock, struct msghdr *msg, size_t size, int ret)
{
	return on_sent(sock->sk, ret);
}

SEC("fexit/inet6_sendmsg")
int BPF_PROG(inet6_sent, struct socket *sock, struct msghdr *msg, size_t size, int ret)
{
	return on_sent(sock->sk, ret);
}

SEC("fexit/inet_recvmsg")
int BPF_PROG(inet_received, struct socket *sock, struct msghdr *msg, size_t size, int flags, int ret)
{
	return on_received(sock->sk, ret, flags);
}

SEC("fexit/inet6_recvmsg")
int BPF_PROG(inet6_received, struct socket *sock, struct msghdr *msg, size_t size, int flags, int ret)
{
	return on_received(sock->sk, ret, flags);
}

/* Streams of AF_UNIX. */
SEC("?fexit/unix_stream_sendmsg")
int BPF_PROG(unix_sent, struct socket *sock, struct msghdr *msg, size_t size, int ret)
{
	return on_sent(sock->sk, ret);
}

SEC("?fexit/unix_stream_recvmsg")
int BPF_PROG(unix_received, struct socket *sock, struct msghdr *msg, size_t size, int flags, int ret)
{
	return on_received(sock->sk, ret, flags);
}

/* sendfile and splice; gone with 6.5, where they come through the functions above. Both families. */
SEC("?fexit/inet_sendpage")
int BPF_PROG(inet_paged, struct socket *sock, struct page *page, int offset, size_t size, int flags,
	     ssize_t ret)
{
	return on_sent(sock->sk, ret);
}
