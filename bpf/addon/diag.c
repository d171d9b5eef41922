// SPDX-License-Identifier: Apache-2.0
/*
 * TCP sockets of this network namespace through NETLINK_SOCK_DIAG. No privilege is needed.
 *
 * Each environment has one netlink socket. Requests and answers are synchronous; answers of an
 * earlier request that was given up are told by their sequence number and skipped.
 */
#include "addon.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#define REPLY_BYTES_MAX 32768
#define SOCKETS_MAX 65536
#define REPLY_WAIT_MS 1000
#define TCP_STATE_ESTABLISHED 1
#define TCP_STATE_LISTEN 10
#define CGROUP_ID_ATTRIBUTE 21 /* INET_DIAG_CGROUP_ID, kernel 5.7 */

struct diag_request {
	struct nlmsghdr head;
	struct inet_diag_req_v2 body;
};

static int diag_socket(struct instance *instance)
{
	struct timeval wait = { .tv_usec = (REPLY_WAIT_MS % 1000) * 1000,
				.tv_sec = REPLY_WAIT_MS / 1000 };

	if (instance->diag_fd >= 0)
		return instance->diag_fd;
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_SOCK_DIAG);
	if (fd < 0)
		return -1;
	/* The kernel answers at once; the limit keeps a lost answer from holding the thread. */
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
	instance->diag_fd = fd;
	return fd;
}

static bool send_request(struct instance *instance, struct diag_request *request)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = diag_socket(instance);

	if (fd < 0)
		return false;
	request->head.nlmsg_len = sizeof(*request);
	request->head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
	request->head.nlmsg_flags |= NLM_F_REQUEST;
	request->head.nlmsg_seq = ++instance->diag_seq;
	request->body.sdiag_protocol = IPPROTO_TCP;
	return sendto(fd, request, sizeof(*request), 0, (struct sockaddr *)&kernel,
		      sizeof(kernel)) == sizeof(*request);
}

static bool set_address(napi_env env, napi_value object, const char *name, int family,
			const uint32_t *words)
{
	char text[INET6_ADDRSTRLEN];
	const uint8_t *bytes = (const uint8_t *)words;
	static const uint8_t mapped[12] = { [10] = 0xff, [11] = 0xff };

	if (family == AF_INET6 && !memcmp(bytes, mapped, sizeof(mapped))) {
		family = AF_INET;
		bytes += sizeof(mapped);
	}
	return inet_ntop(family, bytes, text, sizeof(text)) && set_text(env, object, name, text);
}

static uint64_t cgroup_of(const struct nlmsghdr *head)
{
	const struct inet_diag_msg *message = NLMSG_DATA(head);
	const uint8_t *at = (const uint8_t *)(message + 1);
	const uint8_t *end = (const uint8_t *)head + head->nlmsg_len;
	struct nlattr attribute;
	uint64_t id;

	while (at + sizeof(attribute) <= end) {
		memcpy(&attribute, at, sizeof(attribute));
		if (attribute.nla_len < sizeof(attribute) || at + attribute.nla_len > end)
			break;
		if (attribute.nla_type == CGROUP_ID_ATTRIBUTE &&
		    attribute.nla_len >= sizeof(attribute) + sizeof(id)) {
			memcpy(&id, at + sizeof(attribute), sizeof(id));
			return id;
		}
		at += NLA_ALIGN(attribute.nla_len);
	}
	return 0;
}

static napi_value make_socket(napi_env env, const struct nlmsghdr *head)
{
	const struct inet_diag_msg *message = NLMSG_DATA(head);
	uint64_t cookie = (uint64_t)message->id.idiag_cookie[1] << 32 | message->id.idiag_cookie[0];
	napi_value object;

	if (napi_create_object(env, &object) != napi_ok ||
	    !set_address(env, object, "localAddr", message->idiag_family, message->id.idiag_src) ||
	    !set_number(env, object, "localPort", ntohs(message->id.idiag_sport)) ||
	    !set_address(env, object, "remoteAddr", message->idiag_family, message->id.idiag_dst) ||
	    !set_number(env, object, "remotePort", ntohs(message->id.idiag_dport)) ||
	    !set_number(env, object, "inode", message->idiag_inode) ||
	    !set_number(env, object, "uid", message->idiag_uid) ||
	    !set_bigint(env, object, "cookie", cookie) ||
	    !set_bigint(env, object, "cgroupId", cgroup_of(head)) ||
	    !set_number(env, object, "state", message->idiag_state))
		return NULL;
	return object;
}

static bool is_socket(const struct nlmsghdr *head)
{
	return head->nlmsg_type == SOCK_DIAG_BY_FAMILY &&
	       head->nlmsg_len >= NLMSG_LENGTH(sizeof(struct inet_diag_msg));
}

/* errno of an error message; EPROTO where it is cut. */
static int error_of(const struct nlmsghdr *head)
{
	const struct nlmsgerr *error = NLMSG_DATA(head);

	return head->nlmsg_len >= NLMSG_LENGTH(sizeof(*error)) ? -error->error : EPROTO;
}

static bool read_address(napi_env env, napi_value value, int family, uint32_t *words)
{
	char text[ADDRESS_TEXT_MAX];

	if (!read_text(env, value, "address", text, sizeof(text)))
		return false;
	if (inet_pton(family, text, words) == 1)
		return true;
	/* An IPv4 address asked for as IPv6 is its mapped form. */
	if (family == AF_INET6 && inet_pton(AF_INET, text, words + 3) == 1) {
		words[0] = 0;
		words[1] = 0;
		words[2] = htonl(0xffff);
		return true;
	}
	throw_argument(env, "address must be numeric text of the family");
	return false;
}

static bool read_family(napi_env env, napi_value value, uint8_t *family)
{
	uint32_t number;

	if (!read_u32(env, value, "family", &number))
		return false;
	if (number != 4 && number != 6) {
		throw_argument(env, "family must be 4 or 6");
		return false;
	}
	*family = number == 4 ? AF_INET : AF_INET6;
	return true;
}

static bool read_tuple(napi_env env, const napi_value *arguments, struct inet_diag_req_v2 *body)
{
	uint32_t local_port, remote_port;

	if (!read_family(env, arguments[0], &body->sdiag_family) ||
	    !read_address(env, arguments[1], body->sdiag_family, body->id.idiag_src) ||
	    !read_u32(env, arguments[2], "localPort", &local_port) ||
	    !read_address(env, arguments[3], body->sdiag_family, body->id.idiag_dst) ||
	    !read_u32(env, arguments[4], "remotePort", &remote_port))
		return false;
	body->id.idiag_sport = htons((uint16_t)local_port);
	body->id.idiag_dport = htons((uint16_t)remote_port);
	body->id.idiag_cookie[0] = INET_DIAG_NOCOOKIE;
	body->id.idiag_cookie[1] = INET_DIAG_NOCOOKIE;
	body->idiag_states = ~0u;
	return true;
}

static napi_value diag_lookup(napi_env env, napi_callback_info info)
{
	struct instance *instance = instance_of(env);
	union {
		struct nlmsghdr head;
		uint8_t bytes[4096];
	} reply;
	struct diag_request request = {};
	napi_value arguments[5], nothing;

	if (!read_arguments(env, info, 5, arguments) || !read_tuple(env, arguments, &request.body))
		return NULL;
	if (!send_request(instance, &request))
		return throw_errno(env, errno, "sendto(NETLINK_SOCK_DIAG)", NULL);
	do {
		ssize_t length = recv(instance->diag_fd, &reply, sizeof(reply), 0);
		if (length < 0)
			return throw_errno(env, errno, "recv(NETLINK_SOCK_DIAG)", NULL);
		if (!NLMSG_OK(&reply.head, (size_t)length))
			return throw_errno(env, EPROTO, "recv(NETLINK_SOCK_DIAG)", NULL);
	} while (reply.head.nlmsg_seq != instance->diag_seq);
	if (is_socket(&reply.head))
		return make_socket(env, &reply.head);
	int error = reply.head.nlmsg_type == NLMSG_ERROR ? error_of(&reply.head) : EPROTO;
	if (error != ENOENT)
		return throw_errno(env, error, "NETLINK_SOCK_DIAG", NULL);
	return napi_get_null(env, &nothing) == napi_ok ? nothing : NULL;
}

enum dump_step { DUMP_GOES_ON, DUMP_ENDS, DUMP_FAILED };

/* Adds the sockets of one datagram to `sockets`. */
static enum dump_step take_sockets(napi_env env, struct nlmsghdr *head, size_t length,
				   napi_value sockets)
{
	uint32_t count;

	for (; NLMSG_OK(head, length); head = NLMSG_NEXT(head, length)) {
		if (head->nlmsg_seq != instance_of(env)->diag_seq)
			continue;
		if (head->nlmsg_type == NLMSG_DONE)
			return DUMP_ENDS;
		if (head->nlmsg_type == NLMSG_ERROR) {
			throw_errno(env, error_of(head), "NETLINK_SOCK_DIAG", NULL);
			return DUMP_FAILED;
		}
		if (!is_socket(head) ||
		    napi_get_array_length(env, sockets, &count) != napi_ok || count >= SOCKETS_MAX)
			continue;
		napi_value socket = make_socket(env, head);
		if (!socket || napi_set_element(env, sockets, count, socket) != napi_ok)
			return DUMP_FAILED;
	}
	return DUMP_GOES_ON;
}

static napi_value dump(napi_env env, napi_callback_info info, uint32_t states)
{
	struct instance *instance = instance_of(env);
	struct diag_request request = { .head.nlmsg_flags = NLM_F_DUMP };
	union {
		struct nlmsghdr head;
		uint8_t bytes[REPLY_BYTES_MAX];
	} reply;
	napi_value argument, sockets;
	enum dump_step step;

	if (!read_arguments(env, info, 1, &argument) ||
	    !read_family(env, argument, &request.body.sdiag_family) ||
	    napi_create_array(env, &sockets) != napi_ok)
		return NULL;
	request.body.idiag_states = states;
	if (!send_request(instance, &request))
		return throw_errno(env, errno, "sendto(NETLINK_SOCK_DIAG)", NULL);
	do {
		ssize_t length = recv(instance->diag_fd, &reply, sizeof(reply), 0);
		if (length < 0)
			return throw_errno(env, errno, "recv(NETLINK_SOCK_DIAG)", NULL);
		step = take_sockets(env, &reply.head, (size_t)length, sockets);
	} while (step == DUMP_GOES_ON);
	return step == DUMP_ENDS ? sockets : NULL;
}

static napi_value diag_listeners(napi_env env, napi_callback_info info)
{
	return dump(env, info, 1u << TCP_STATE_LISTEN);
}

static napi_value diag_established(napi_env env, napi_callback_info info)
{
	return dump(env, info, 1u << TCP_STATE_ESTABLISHED);
}

const struct function_entry diag_functions[] = {
	{ "diagLookup", diag_lookup },
	{ "diagListeners", diag_listeners },
	{ "diagEstablished", diag_established },
	{ NULL, NULL },
};
