// SPDX-License-Identifier: Apache-2.0
/*
 * Packets of this network namespace through a TPACKET_V3 ring. Needs CAP_NET_RAW and nothing else.
 *
 * The socket's protocol is 0 until bind, so that nothing enters before the filter is set. SOCK_DGRAM
 * puts offset 0 at the IP header on every kind of link.
 */
#include "addon.h"
#include "packet.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PACKET_MAGIC 0x6b636170u
#define FRAME_BYTES 2048
#define LOOPBACK_IFINDEX 1 /* in every network namespace */

struct packet_ring {
	uint32_t magic;
	int fd; /* -1: closed */
	uint8_t *blocks; /* NULL: no ring, each packet is received at once */
	uint32_t block_bytes;
	uint32_t block_count;
	uint32_t snap_bytes; /* without a ring */
	uint32_t block; /* being read */
	uint32_t packet; /* next within it */
	const uint8_t *next; /* its header; NULL: block not begun */
	double seen;
	double dropped;
	double frozen;
};

struct packet_settings {
	bool syn_only;
	uint32_t snap_bytes;
	uint32_t block_bytes;
	uint32_t block_count;
	uint32_t retire_ms;
};

/* Ancillary loads of classic filters. */
#define AUX(what) ((uint32_t)(SKF_AD_OFF + (what)))
#define LOAD_WORD(at) BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at)
#define LOAD_HALF(at) BPF_STMT(BPF_LD | BPF_H | BPF_ABS, at)
#define LOAD_BYTE(at) BPF_STMT(BPF_LD | BPF_B | BPF_ABS, at)
#define IF_EQUAL(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, yes, no)
#define IF_SET(value, yes, no) BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, value, yes, no)
#define RETURN(value) BPF_STMT(BPF_RET | BPF_K, value)

#define TCP_FIN_SYN_RST 0x07
#define TCP_SYN_ACK 0x12
#define TCP_SYN 0x02

/* Bytes kept of a packet that starts like a message, so that long heads are whole. */
#define REQUEST_SNAP_BYTES 16384
#define ANSWER_SNAP_BYTES 4096
/* The longest packet that IP has a length for: commands of Redis, and their replies, follow each other to its end. */
#define PIPELINE_SNAP_BYTES 65536

/* The first four bytes of a payload as a classic filter loads them. */
#define TEXT(a, b, c, d) ((uint32_t)(a) << 24 | (uint32_t)(b) << 16 | (uint32_t)(c) << 8 | (uint32_t)(d))

/* Places in the data filter that are jumped to. */
enum data_filter_label {
	V6 = 25,
	TAIL = 42,
	OTHER = 83,
	FRAME = 95,
	SNAP = 98,
	ANSWER = 99,
	REQUEST = 100,
	PIPELINE = 101,
	DROP = 102,
};

/* Jump distance from the instruction after `at` to a label. */
#define TO(label, at) ((label) - (at) - 1)

/*
 * Passes TCP segments with payload, SYN, FIN or RST, cut to `snap`; a packet that starts like an HTTP message
 * keeps more, for a header may stand far behind the start of its head, and so does one that starts like a frame of
 * HTTP/2, Redis or PostgreSQL, where it can be kept whole: others may follow in it. Commands of Redis and short replies
 * are kept to the end of the packet, however long it is. Payload is told by the length in the IP header, since Ethernet
 * pads; a length of zero is a segment above 64 KiB (BIG TCP). What lo
 * sends is dropped, for it comes back as received.
 */
static int attach_data_filter(int fd, uint32_t snap)
{
	struct sock_filter code[] = {
		/*  0 */ LOAD_WORD(AUX(SKF_AD_PKTTYPE)),
		/*  1 */ IF_EQUAL(PACKET_OUTGOING, 0, 2),
		/*  2 */ LOAD_WORD(AUX(SKF_AD_IFINDEX)),
		/*  3 */ IF_EQUAL(LOOPBACK_IFINDEX, TO(DROP, 3), 0),
		/*  4 */ LOAD_WORD(AUX(SKF_AD_PROTOCOL)),
		/*  5 */ IF_EQUAL(ETH_P_IPV6, TO(V6, 5), 0),
		/*  6 */ IF_EQUAL(ETH_P_IP, 0, TO(DROP, 6)),
		/*  7 */ LOAD_BYTE(9),
		/*  8 */ IF_EQUAL(IPPROTO_TCP, 0, TO(DROP, 8)),
		/*  9 */ LOAD_HALF(6),
		/* 10: a fragment */ IF_SET(0x3fff, TO(DROP, 10), 0),
		/* 11: X = header bytes */ BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
		/* 12: flags */ BPF_STMT(BPF_LD | BPF_B | BPF_IND, 13),
		/* 13 */ IF_SET(TCP_FIN_SYN_RST, TO(SNAP, 13), 0),
		/* 14: data offset */ BPF_STMT(BPF_LD | BPF_B | BPF_IND, 12),
		/* 15 */ BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
		/* 16 */ BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 2),
		/* 17: bytes of both headers */ BPF_STMT(BPF_ALU | BPF_ADD | BPF_X, 0),
		/* 18 */ BPF_STMT(BPF_ST, 0),
		/* 19 */ LOAD_HALF(2),
		/* 20 */ IF_EQUAL(0, 0, 1),
		/* 21 */ BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		/* 22 */ BPF_STMT(BPF_LDX | BPF_W | BPF_MEM, 0),
		/* 23 */ BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, 0, TO(DROP, 23)),
		/* 24: X = offset of the payload */ BPF_STMT(BPF_JMP | BPF_JA, TO(TAIL, 24)),
		/* 25, V6 */ LOAD_BYTE(6),
		/* 26 */ IF_EQUAL(IPPROTO_TCP, 0, TO(DROP, 26)),
		/* 27: flags */ LOAD_BYTE(53),
		/* 28 */ IF_SET(TCP_FIN_SYN_RST, TO(SNAP, 28), 0),
		/* 29: data offset */ LOAD_BYTE(52),
		/* 30 */ BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
		/* 31 */ BPF_STMT(BPF_ALU | BPF_LSH | BPF_K, 2),
		/* 32 */ BPF_STMT(BPF_ST, 0),
		/* 33 */ LOAD_HALF(4),
		/* 34 */ IF_EQUAL(0, 0, 2),
		/* 35 */ BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		/* 36: less the IPv6 header */ BPF_STMT(BPF_ALU | BPF_SUB | BPF_K, 40),
		/* 37 */ BPF_STMT(BPF_LDX | BPF_W | BPF_MEM, 0),
		/* 38 */ BPF_JUMP(BPF_JMP | BPF_JGT | BPF_X, 0, 0, TO(DROP, 38)),
		/* 39 */ BPF_STMT(BPF_LD | BPF_W | BPF_MEM, 0),
		/* 40 */ BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 40),
		/* 41 */ BPF_STMT(BPF_MISC | BPF_TAX, 0),
		/* 42, TAIL: a load past the end would drop the packet */ BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		/* 43 */ BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, snap, 0, TO(SNAP, 43)),
		/* 44 */ BPF_STMT(BPF_LD | BPF_W | BPF_IND, 0),
		/* 45 */ IF_EQUAL(TEXT('H', 'T', 'T', 'P'), TO(ANSWER, 45), 0),
		/* 46 */ IF_EQUAL(TEXT('G', 'E', 'T', ' '), TO(REQUEST, 46), 0),
		/* 47 */ IF_EQUAL(TEXT('P', 'O', 'S', 'T'), TO(REQUEST, 47), 0),
		/* 48 */ IF_EQUAL(TEXT('P', 'U', 'T', ' '), TO(REQUEST, 48), 0),
		/* 49 */ IF_EQUAL(TEXT('H', 'E', 'A', 'D'), TO(REQUEST, 49), 0),
		/* 50 */ IF_EQUAL(TEXT('P', 'A', 'T', 'C'), TO(REQUEST, 50), 0),
		/* 51 */ IF_EQUAL(TEXT('D', 'E', 'L', 'E'), TO(REQUEST, 51), 0),
		/* 52 */ IF_EQUAL(TEXT('O', 'P', 'T', 'I'), TO(REQUEST, 52), 0),
		/* 53 */ IF_EQUAL(TEXT('C', 'O', 'N', 'N'), TO(REQUEST, 53), 0),
		/* 54 */ IF_EQUAL(TEXT('P', 'R', 'O', 'P'), TO(REQUEST, 54), 0),
		/* 55 */ IF_EQUAL(TEXT('R', 'E', 'P', 'O'), TO(REQUEST, 55), 0),
		/* 56 */ IF_EQUAL(TEXT('P', 'R', 'I', ' '), TO(REQUEST, 56), 0),
		/* 57: Redis in lines */ IF_EQUAL(TEXT('S', 'E', 'T', ' '), TO(REQUEST, 57), 0),
		/* 58 */ IF_EQUAL(TEXT('A', 'U', 'T', 'H'), TO(REQUEST, 58), 0),
		/* 59 */ IF_EQUAL(TEXT('H', 'S', 'E', 'T'), TO(REQUEST, 59), 0),
		/* 60 */ IF_EQUAL(TEXT('L', 'P', 'U', 'S'), TO(REQUEST, 60), 0),
		/* 61 */ IF_EQUAL(TEXT('R', 'P', 'U', 'S'), TO(REQUEST, 61), 0),
		/* 62 */ IF_EQUAL(TEXT('S', 'A', 'D', 'D'), TO(REQUEST, 62), 0),
		/* 63 */ IF_EQUAL(TEXT('Z', 'A', 'D', 'D'), TO(REQUEST, 63), 0),
		/* 64 */ IF_EQUAL(TEXT('M', 'S', 'E', 'T'), TO(REQUEST, 64), 0),
		/* 65 */ IF_EQUAL(TEXT('D', 'E', 'L', ' '), TO(REQUEST, 65), 0),
		/* 66 */ IF_EQUAL(TEXT('I', 'N', 'C', 'R'), TO(REQUEST, 66), 0),
		/* 67 */ IF_EQUAL(TEXT('P', 'I', 'N', 'G'), TO(REQUEST, 67), 0),
		/* 68 */ BPF_STMT(BPF_ST, 1),
		/* 69: first byte */ BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 24),
		/* 70: types of Redis */ IF_EQUAL('*', TO(PIPELINE, 70), 0),
		/* 71 */ IF_EQUAL('+', TO(PIPELINE, 71), 0),
		/* 72 */ IF_EQUAL(':', TO(PIPELINE, 72), 0),
		/* 73 */ IF_EQUAL('-', TO(PIPELINE, 73), 0),
		/* 74 */ IF_EQUAL('$', 0, TO(OTHER, 74)),
		/* 75: a value below 10,000 bytes has others behind it */ BPF_STMT(BPF_LD | BPF_B | BPF_IND, 2),
		/* 76 */ IF_EQUAL('\r', TO(PIPELINE, 76), 0),
		/* 77 */ BPF_STMT(BPF_LD | BPF_B | BPF_IND, 3),
		/* 78 */ IF_EQUAL('\r', TO(PIPELINE, 78), 0),
		/* 79 */ BPF_STMT(BPF_LD | BPF_B | BPF_IND, 4),
		/* 80 */ IF_EQUAL('\r', TO(PIPELINE, 80), 0),
		/* 81 */ BPF_STMT(BPF_LD | BPF_B | BPF_IND, 5),
		/* 82 */ IF_EQUAL('\r', TO(PIPELINE, 82), 0),
		/* 83, OTHER */ BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		/* 84 */ BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, REQUEST_SNAP_BYTES, TO(SNAP, 84), 0),
		/* 85: first byte */ BPF_STMT(BPF_LD | BPF_W | BPF_MEM, 1),
		/* 86 */ BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 24),
		/* 87 */ IF_EQUAL('$', TO(REQUEST, 87), 0),
		/* 88 */ IF_EQUAL('%', TO(REQUEST, 88), 0),
		/* 89 */ IF_EQUAL('>', TO(REQUEST, 89), 0),
		/* 90: of a length below 64 KiB */ IF_EQUAL(0, TO(FRAME, 90), 0),
		/* 91: types of PostgreSQL */ BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, '1', 0, TO(SNAP, 91)),
		/* 92 */ BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 'z', TO(SNAP, 92), 0),
		/* 93 */ BPF_STMT(BPF_LD | BPF_W | BPF_MEM, 1),
		/* 94: a length below 16 MiB */ IF_SET(0x00ff0000, TO(SNAP, 94), TO(REQUEST, 94)),
		/* 95, FRAME: a type of HTTP/2 */ BPF_STMT(BPF_LD | BPF_W | BPF_MEM, 1),
		/* 96 */ BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0xff),
		/* 97 */ BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, 9, TO(SNAP, 97), TO(REQUEST, 97)),
		/* 98, SNAP */ RETURN(snap),
		/* 99, ANSWER */ RETURN(ANSWER_SNAP_BYTES),
		/* 100, REQUEST */ RETURN(REQUEST_SNAP_BYTES),
		/* 101, PIPELINE */ RETURN(PIPELINE_SNAP_BYTES),
		/* 102, DROP */ RETURN(0),
	};
	struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
}

/* Passes the first segment of a connection, the client's SYN, cut to `snap`. */
static int attach_syn_filter(int fd, uint32_t snap)
{
	struct sock_filter code[] = {
		/*  0 */ LOAD_WORD(AUX(SKF_AD_PKTTYPE)),
		/*  1 */ IF_EQUAL(PACKET_OUTGOING, 0, 2),
		/*  2 */ LOAD_WORD(AUX(SKF_AD_IFINDEX)),
		/*  3 */ IF_EQUAL(LOOPBACK_IFINDEX, 15, 0),
		/*  4 */ LOAD_WORD(AUX(SKF_AD_PROTOCOL)),
		/*  5 */ IF_EQUAL(ETH_P_IPV6, 8, 0),
		/*  6 */ IF_EQUAL(ETH_P_IP, 0, 12),
		/*  7 */ LOAD_BYTE(9),
		/*  8 */ IF_EQUAL(IPPROTO_TCP, 0, 10),
		/*  9 */ LOAD_HALF(6),
		/* 10: a fragment */ IF_SET(0x3fff, 8, 0),
		/* 11: X = header bytes */ BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
		/* 12: flags */ BPF_STMT(BPF_LD | BPF_B | BPF_IND, 13),
		/* 13 */ BPF_STMT(BPF_JMP | BPF_JA, 3),
		/* 14 */ LOAD_BYTE(6),
		/* 15 */ IF_EQUAL(IPPROTO_TCP, 0, 3),
		/* 16: flags */ LOAD_BYTE(53),
		/* 17 */ BPF_STMT(BPF_ALU | BPF_AND | BPF_K, TCP_SYN_ACK),
		/* 18 */ IF_EQUAL(TCP_SYN, 1, 0),
		/* 19 */ RETURN(0),
		/* 20 */ RETURN(snap),
	};
	struct sock_fprog filter = { sizeof(code) / sizeof(code[0]), code };

	return setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter));
}

static void close_ring(struct packet_ring *ring)
{
	if (ring->blocks)
		munmap(ring->blocks, (size_t)ring->block_bytes * ring->block_count);
	if (ring->fd >= 0)
		close(ring->fd);
	ring->blocks = NULL;
	ring->fd = -1;
}

static void free_packet_ring(napi_env env, void *data, void *hint)
{
	(void)env;
	(void)hint;
	close_ring(data);
	free(data);
}

/* Returns NULL or the call that failed, with errno set. */
static const char *open_socket(struct packet_ring *ring, const struct packet_settings *settings)
{
	struct tpacket_req3 request = {
		.tp_block_size = settings->block_bytes,
		.tp_block_nr = settings->block_count,
		.tp_frame_size = FRAME_BYTES,
		.tp_frame_nr = settings->block_bytes / FRAME_BYTES * settings->block_count,
		.tp_retire_blk_tov = settings->retire_ms,
	};
	struct sockaddr_ll everything = {
		.sll_family = AF_PACKET,
		.sll_protocol = htons(ETH_P_ALL),
	};
	int version = TPACKET_V3;
	int on = 1;

	ring->fd = socket(AF_PACKET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (ring->fd < 0)
		return "socket(AF_PACKET)";
	if (settings->syn_only ? attach_syn_filter(ring->fd, settings->snap_bytes) :
				 attach_data_filter(ring->fd, settings->snap_bytes))
		return "setsockopt(SO_ATTACH_FILTER)";
	/*
	 * A block of the ring is handed over when it is full or its time is up, which is milliseconds: too
	 * late to find who sent a SYN. There are few of them, so they are received one by one.
	 */
	if (settings->syn_only) {
		if (setsockopt(ring->fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof(on)))
			return "setsockopt(SO_TIMESTAMPNS)";
		if (bind(ring->fd, (struct sockaddr *)&everything, sizeof(everything)))
			return "bind";
		ring->snap_bytes = settings->snap_bytes;
		return NULL;
	}
	if (setsockopt(ring->fd, SOL_PACKET, PACKET_VERSION, &version, sizeof(version)))
		return "setsockopt(PACKET_VERSION)";
	if (setsockopt(ring->fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof(request)))
		return "setsockopt(PACKET_RX_RING)";
	void *blocks = mmap(NULL, (size_t)settings->block_bytes * settings->block_count,
			    PROT_READ | PROT_WRITE, MAP_SHARED, ring->fd, 0);
	if (blocks == MAP_FAILED)
		return "mmap";
	ring->blocks = blocks;
	ring->block_bytes = settings->block_bytes;
	ring->block_count = settings->block_count;
	if (bind(ring->fd, (struct sockaddr *)&everything, sizeof(everything)))
		return "bind";
	return NULL;
}

static bool read_setting(napi_env env, napi_value options, const char *name, uint32_t *number)
{
	napi_value value;

	if (napi_get_named_property(env, options, name, &value) != napi_ok) {
		throw_argument(env, "options must be an object");
		return false;
	}
	return read_u32(env, value, name, number);
}

static bool read_settings(napi_env env, napi_value options, struct packet_settings *settings)
{
	napi_value value;
	char filter[8];

	if (napi_get_named_property(env, options, "filter", &value) != napi_ok ||
	    !read_text(env, value, "filter", filter, sizeof(filter)))
		return false;
	settings->syn_only = !strcmp(filter, "syn");
	if (!settings->syn_only && strcmp(filter, "data")) {
		throw_argument(env, "filter must be 'data' or 'syn'");
		return false;
	}
	return read_setting(env, options, "snapBytes", &settings->snap_bytes) &&
	       read_setting(env, options, "blockBytes", &settings->block_bytes) &&
	       read_setting(env, options, "blockCount", &settings->block_count) &&
	       read_setting(env, options, "retireMs", &settings->retire_ms);
}

static napi_value packet_open(napi_env env, napi_callback_info info)
{
	struct packet_settings settings;
	napi_value argument, handle;

	if (!read_arguments(env, info, 1, &argument) || !read_settings(env, argument, &settings))
		return NULL;
	struct packet_ring *ring = calloc(1, sizeof(*ring));
	if (!ring)
		return throw_errno(env, ENOMEM, "calloc", NULL);
	ring->magic = PACKET_MAGIC;
	const char *failed = open_socket(ring, &settings);
	if (!failed && napi_create_external(env, ring, free_packet_ring, NULL, &handle) == napi_ok)
		return handle;
	if (failed)
		throw_errno(env, errno, failed, NULL);
	free_packet_ring(env, ring, NULL);
	return NULL;
}

static struct packet_ring *read_packet_ring(napi_env env, napi_value value)
{
	struct packet_ring *ring = read_handle(env, value, "packet", PACKET_MAGIC);

	if (ring && ring->fd < 0) {
		throw_argument(env, "the packet socket is closed");
		return NULL;
	}
	return ring;
}

/* Writes one packet's record; returns its bytes, or 0 where it does not fit. */
static size_t put_record(const struct tpacket3_hdr *header, uint8_t *into, size_t room)
{
	const struct sockaddr_ll *link =
		(const void *)((const uint8_t *)header + TPACKET_ALIGN(sizeof(*header)));
	size_t bytes = (sizeof(struct packet_record) + header->tp_snaplen + 7) & ~(size_t)7;
	struct packet_record *record = (void *)into;

	if (bytes > room)
		return 0;
	record->record_bytes = (uint32_t)bytes;
	record->captured_bytes = header->tp_snaplen;
	record->original_bytes = header->tp_len;
	record->ifindex = (uint32_t)link->sll_ifindex;
	record->packet_type = link->sll_pkttype;
	record->reserved = 0;
	record->protocol = ntohs(link->sll_protocol);
	record->seconds = header->tp_sec;
	record->nanoseconds = header->tp_nsec;
	record->reserved2 = 0;
	memcpy(record->bytes, (const uint8_t *)header + header->tp_net, header->tp_snaplen);
	return bytes;
}

/* Receives packets without a ring; stops where the next might not fit. */
static size_t receive(struct packet_ring *ring, uint8_t *into, size_t room)
{
	size_t largest = (sizeof(struct packet_record) + ring->snap_bytes + 7) & ~(size_t)7;
	size_t written = 0;

	while (room - written >= largest) {
		struct packet_record *record = (void *)(into + written);
		struct sockaddr_ll link;
		struct iovec bytes = { record->bytes, ring->snap_bytes };
		_Alignas(struct cmsghdr) uint8_t control[CMSG_SPACE(sizeof(struct timespec))];
		struct msghdr message = {
			.msg_name = &link,
			.msg_namelen = sizeof(link),
			.msg_iov = &bytes,
			.msg_iovlen = 1,
			.msg_control = control,
			.msg_controllen = sizeof(control),
		};
		ssize_t length = recvmsg(ring->fd, &message, MSG_DONTWAIT);
		if (length < 0)
			break;
		struct timespec at = {};
		struct cmsghdr *header = CMSG_FIRSTHDR(&message);
		if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_TIMESTAMPNS)
			memcpy(&at, CMSG_DATA(header), sizeof(at));
		size_t record_bytes = (sizeof(*record) + (size_t)length + 7) & ~(size_t)7;
		record->record_bytes = (uint32_t)record_bytes;
		record->captured_bytes = (uint32_t)length;
		record->original_bytes = (uint32_t)length;
		record->ifindex = (uint32_t)link.sll_ifindex;
		record->packet_type = link.sll_pkttype;
		record->reserved = 0;
		record->protocol = ntohs(link.sll_protocol);
		record->seconds = (uint32_t)at.tv_sec;
		record->nanoseconds = (uint32_t)at.tv_nsec;
		record->reserved2 = 0;
		written += record_bytes;
	}
	return written;
}

/* Copies what fits; a block goes back to the kernel once its last packet is copied. */
static size_t drain(struct packet_ring *ring, uint8_t *into, size_t room)
{
	size_t written = 0;

	for (uint32_t turn = 0; turn <= ring->block_count; turn++) {
		struct tpacket_block_desc *block =
			(void *)(ring->blocks + (size_t)ring->block * ring->block_bytes);
		struct tpacket_hdr_v1 *state = &block->hdr.bh1;
		if (!(__atomic_load_n(&state->block_status, __ATOMIC_ACQUIRE) & TP_STATUS_USER))
			break;
		if (!ring->next) {
			ring->next = (const uint8_t *)block + state->offset_to_first_pkt;
			ring->packet = 0;
		}
		for (; ring->packet < state->num_pkts; ring->packet++) {
			const struct tpacket3_hdr *header = (const void *)ring->next;
			size_t bytes = put_record(header, into + written, room - written);
			if (!bytes)
				return written;
			written += bytes;
			ring->next += header->tp_next_offset;
		}
		__atomic_store_n(&state->block_status, TP_STATUS_KERNEL, __ATOMIC_RELEASE);
		ring->next = NULL;
		ring->block = (ring->block + 1) % ring->block_count;
	}
	return written;
}

static napi_value packet_drain(napi_env env, napi_callback_info info)
{
	struct packet_ring *ring;
	napi_value arguments[2];
	size_t room;
	void *into;

	if (!read_arguments(env, info, 2, arguments) ||
	    !(ring = read_packet_ring(env, arguments[0])) ||
	    !read_buffer(env, arguments[1], "into", &into, &room))
		return NULL;
	size_t written = ring->blocks ? drain(ring, into, room) : receive(ring, into, room);
	return make_number(env, (double)written);
}

static napi_value packet_wait(napi_env env, napi_callback_info info)
{
	struct packet_ring *ring;
	napi_value arguments[2], ready;
	uint32_t timeout_ms;

	if (!read_arguments(env, info, 2, arguments) ||
	    !(ring = read_packet_ring(env, arguments[0])) ||
	    !read_u32(env, arguments[1], "timeoutMs", &timeout_ms))
		return NULL;
	struct pollfd poll_fd = { .fd = ring->fd, .events = POLLIN };
	int count = poll(&poll_fd, 1, timeout_ms > INT32_MAX ? INT32_MAX : (int)timeout_ms);
	if (count < 0 && errno != EINTR)
		return throw_errno(env, errno, "poll", NULL);
	return napi_get_boolean(env, count > 0, &ready) == napi_ok ? ready : NULL;
}

static napi_value packet_stats(napi_env env, napi_callback_info info)
{
	struct tpacket_stats_v3 since = {};
	socklen_t length = sizeof(since);
	struct packet_ring *ring;
	napi_value argument, stats;

	if (!read_arguments(env, info, 1, &argument) || !(ring = read_packet_ring(env, argument)))
		return NULL;
	/* Reading sets the kernel's counters back; tp_packets includes tp_drops. */
	if (getsockopt(ring->fd, SOL_PACKET, PACKET_STATISTICS, &since, &length))
		return throw_errno(env, errno, "getsockopt(PACKET_STATISTICS)", NULL);
	ring->seen += since.tp_packets;
	ring->dropped += since.tp_drops;
	ring->frozen += since.tp_freeze_q_cnt;
	if (napi_create_object(env, &stats) != napi_ok ||
	    !set_number(env, stats, "seen", ring->seen) ||
	    !set_number(env, stats, "dropped", ring->dropped) ||
	    !set_number(env, stats, "frozen", ring->frozen))
		return NULL;
	return stats;
}

static napi_value packet_close(napi_env env, napi_callback_info info)
{
	struct packet_ring *ring;
	napi_value argument;

	if (!read_arguments(env, info, 1, &argument) || !(ring = read_packet_ring(env, argument)))
		return NULL;
	close_ring(ring);
	return make_undefined(env);
}

const struct function_entry packet_functions[] = {
	{ "packetOpen", packet_open },
	{ "packetDrain", packet_drain },
	{ "packetWait", packet_wait },
	{ "packetStats", packet_stats },
	{ "packetClose", packet_close },
	{ NULL, NULL },
};
