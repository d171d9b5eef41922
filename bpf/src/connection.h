/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Where the state of a connection is kept, and how a socket's members are read.
 *
 * A hook that is handed a socket keeps the state in it (sk_storage), where it dies with the socket. A
 * hook that finds the socket by a descriptor (SOCKETS_BY_DESCRIPTOR) has an address that the verifier
 * does not trust: its members are read by copying, and the state lies under the socket's cookie,
 * which is never used again.
 */
#ifndef THALWEG_CONNECTION_H
#define THALWEG_CONNECTION_H

#define CONNECTION_SAID 1 /* announced */
#define CONNECTION_SKIPPED 2 /* own traffic or an excluded port */
#define CONNECTION_CLOSED 4 /* its end was announced */
#define CONNECTION_TEXT 8 /* HTTP/1: only heads matter, bodies are counted */
#define CONNECTION_JUDGED 16 /* its first bytes were looked at */

struct connection {
	__u64 cookie;
	__u64 opened_ns; /* of connect or accept; 0: older than the probes */
	__u32 plain_since; /* recipes written when its process had none; 0: not known */
	__u8 role;
	__u8 flags;
	__u8 open_head; /* 1 + direction whose last call may have ended inside a message's head */
	__u8 bulk; /* 1 + direction whose last call was long and began no message */
	__u64 asked_ns; /* of the request under way, where its exchange is counted; as is the next */
	__u32 asked_pid;
	__u32 mode_since; /* modes written when `mode` was looked up */
	__u8 mode; /* of the process; see budget.h */
	__u8 marks;
	__u8 open; /* exchanges, as far as heads tell */
	__u8 method;
	__u32 sent; /* bytes of an AF_UNIX socket, which counts none itself; as is the next */
	__u32 received;
	__u8 last; /* 1 + direction of the last call */
	__u8 run; /* long calls in a row, of that direction, that were copied wholly */
};

#define AF_UNIX 1
#define SOCK_STREAM 1

#ifdef SOCKETS_BY_DESCRIPTOR
#define OF_SOCKET(sk, member) BPF_CORE_READ(sk, member)
#else
#define OF_SOCKET(sk, member) ((sk)->member)
#endif

static __always_inline bool is_unix(struct sock *sk)
{
	return OF_SOCKET(sk, __sk_common.skc_family) == AF_UNIX && OF_SOCKET(sk, sk_type) == SOCK_STREAM;
}

#ifdef SOCKETS_BY_DESCRIPTOR

/* What is pushed out here is announced again, as joined late. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1 << 16);
	__type(key, __u64);
	__type(value, struct connection);
} connections SEC(".maps");

/* Gives a socket that the kernel handed over a cookie; later hooks only read it. */
static __always_inline void name_socket(struct sock *sk)
{
	bpf_get_socket_cookie(sk);
}

/* Nothing hands over a socket of AF_UNIX, which would give it a cookie: its inode takes that place. */
#define INODE_COOKIE (1ull << 52)

static __always_inline __u64 unix_cookie_of(struct sock *sk)
{
	__u64 inode = BPF_CORE_READ(sk, sk_socket, file, f_inode, i_ino);

	return inode ? INODE_COOKIE | inode : 0;
}

static __always_inline __u64 cookie_of(struct sock *sk)
{
	if (is_unix(sk))
		return unix_cookie_of(sk);
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

static __always_inline struct connection *known_connection(struct sock *sk)
{
	__u64 cookie = cookie_of(sk);

	return cookie ? bpf_map_lookup_elem(&connections, &cookie) : NULL;
}

/* NULL: no memory, or a socket without a cookie, which is older than the probes. */
static __always_inline struct connection *connection_of(struct sock *sk)
{
	struct connection *conn = known_connection(sk);
	struct connection fresh = {};

	if (conn)
		return conn;
	fresh.cookie = cookie_of(sk);
	if (!fresh.cookie)
		return NULL;
	bpf_map_update_elem(&connections, &fresh.cookie, &fresh, BPF_NOEXIST);
	return bpf_map_lookup_elem(&connections, &fresh.cookie);
}

static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	__u16 family = OF_SOCKET(sk, __sk_common.skc_family);

	if (family != AF_INET && family != AF_INET6)
		return NULL;
	return OF_SOCKET(sk, sk_protocol) == IPPROTO_TCP ? (struct tcp_sock *)sk : NULL;
}

#else

struct {
	__uint(type, BPF_MAP_TYPE_SK_STORAGE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, int);
	__type(value, struct connection);
} connections SEC(".maps");

static __always_inline void name_socket(struct sock *sk)
{
}

static __always_inline __u64 unix_cookie_of(struct sock *sk)
{
	return BPF_CORE_READ(sk, __sk_common.skc_cookie.counter);
}

static __always_inline struct connection *known_connection(struct sock *sk)
{
	return bpf_sk_storage_get(&connections, sk, 0, 0);
}

static __always_inline struct connection *connection_of(struct sock *sk)
{
	struct connection *conn = known_connection(sk);

	if (conn)
		return conn;
	conn = bpf_sk_storage_get(&connections, sk, 0, BPF_SK_STORAGE_GET_F_CREATE);
	if (conn)
		conn->cookie = bpf_get_socket_cookie(sk);
	return conn;
}

static __always_inline struct tcp_sock *tcp_of(struct sock *sk)
{
	return bpf_skc_to_tcp_sock(sk);
}

#endif

#endif
