// SPDX-License-Identifier: GPL-2.0
/*
 * The socket rung: one hook per TCP send or receive, none on any other call. Kernel 6.3 or newer.
 * The same hooks see streams of AF_UNIX.
 */
#include "capture.h"

SEC("tp_btf/sock_send_length")
int BPF_PROG(tcp_sent, struct sock *sk, int ret, int flags)
{
	return on_sent(sk, ret);
}

SEC("tp_btf/sock_recv_length")
int BPF_PROG(tcp_received, struct sock *sk, int ret, int flags)
{
	return on_received(sk, ret, flags);
}
