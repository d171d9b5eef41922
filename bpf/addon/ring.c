// SPDX-License-Identifier: Apache-2.0
/*
 * The half that needs no rights: reads a BPF ring buffer through its descriptor.
 *
 * The consumer's position is ours alone: one thread drains a ring. A record's length carries a busy
 * bit until it is finished, and nothing behind a busy record is read.
 */
#include "addon.h"

#include <bpf/bpf.h>
#include <errno.h>
#include <linux/bpf.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define RING_MAGIC 0x676e6972u

struct ring {
	uint32_t magic;
	uint64_t bytes; /* a power of two */
	size_t page;
	uint64_t *consumer; /* own page, writable */
	const uint64_t *producer; /* its page, then the data twice in a row, read-only */
	const uint8_t *records;
};

static void unmap(struct ring *ring)
{
	if (ring->consumer)
		munmap(ring->consumer, ring->page);
	if (ring->producer)
		munmap((void *)ring->producer, ring->page + 2 * ring->bytes);
	ring->consumer = NULL;
	ring->producer = NULL;
}

static void free_ring(napi_env env, void *data, void *hint)
{
	(void)env;
	(void)hint;
	unmap(data);
	free(data);
}

static struct ring *open_ring(int fd, const char **step)
{
	struct bpf_map_info map = {};
	uint32_t length = sizeof(map);

	*step = "bpf(BPF_OBJ_GET_INFO_BY_FD)";
	if (bpf_map_get_info_by_fd(fd, &map, &length))
		return NULL;
	*step = "calloc";
	struct ring *ring = calloc(1, sizeof(*ring));
	if (!ring)
		return NULL;
	*step = "mmap";
	ring->magic = RING_MAGIC;
	ring->bytes = map.max_entries;
	ring->page = (size_t)sysconf(_SC_PAGESIZE);
	void *own = mmap(NULL, ring->page, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (own != MAP_FAILED)
		ring->consumer = own;
	void *rest = mmap(NULL, ring->page + 2 * ring->bytes, PROT_READ, MAP_SHARED, fd,
			  (off_t)ring->page);
	if (rest != MAP_FAILED) {
		ring->producer = rest;
		ring->records = (const uint8_t *)rest + ring->page;
	}
	if (ring->consumer && ring->producer)
		return ring;
	int error = errno;
	unmap(ring);
	free(ring);
	errno = error;
	return NULL;
}

static napi_value ring_open(napi_env env, napi_callback_info info)
{
	napi_value argument, handle;
	const char *step;
	uint32_t fd;

	if (!read_arguments(env, info, 1, &argument) || !read_u32(env, argument, "mapFd", &fd))
		return NULL;
	struct ring *ring = open_ring((int)fd, &step);
	if (!ring)
		return throw_errno(env, errno, step, NULL);
	if (napi_create_external(env, ring, free_ring, NULL, &handle) == napi_ok)
		return handle;
	free_ring(env, ring, NULL);
	return NULL;
}

static struct ring *read_ring(napi_env env, napi_value value)
{
	struct ring *ring = read_handle(env, value, "ring", RING_MAGIC);

	if (ring && !ring->consumer) {
		throw_argument(env, "the ring is closed");
		return NULL;
	}
	return ring;
}

static napi_value ring_produced(napi_env env, napi_callback_info info)
{
	napi_value argument;
	struct ring *ring;

	if (!read_arguments(env, info, 1, &argument) || !(ring = read_ring(env, argument)))
		return NULL;
	return make_number(env, (double)__atomic_load_n(ring->producer, __ATOMIC_ACQUIRE));
}

static napi_value ring_consumed(napi_env env, napi_callback_info info)
{
	napi_value argument;
	struct ring *ring;

	if (!read_arguments(env, info, 1, &argument) || !(ring = read_ring(env, argument)))
		return NULL;
	return make_number(env, (double)__atomic_load_n(ring->consumer, __ATOMIC_RELAXED));
}

/* Copies finished records into `into` and gives their room back. Returns the bytes written. */
static size_t drain(struct ring *ring, uint8_t *into, size_t room, uint64_t until)
{
	uint64_t start = __atomic_load_n(ring->consumer, __ATOMIC_RELAXED);
	uint64_t end = __atomic_load_n(ring->producer, __ATOMIC_ACQUIRE);
	uint64_t at = start, mask = ring->bytes - 1;
	size_t written = 0;

	if (until < end)
		end = until;
	while (at < end) {
		const uint32_t *header = (const uint32_t *)(ring->records + (at & mask));
		uint32_t length = __atomic_load_n(header, __ATOMIC_ACQUIRE);
		if (length & BPF_RINGBUF_BUSY_BIT)
			break;
		uint64_t step = (BPF_RINGBUF_HDR_SZ + (length & ~BPF_RINGBUF_DISCARD_BIT) + 7) & ~7ull;
		if (!(length & BPF_RINGBUF_DISCARD_BIT)) {
			if (written + step > room)
				break;
			/* The data is mapped twice in a row, so that a record never wraps. */
			memcpy(into + written, header, step);
			written += step;
		}
		at += step;
	}
	if (at != start)
		__atomic_store_n(ring->consumer, at, __ATOMIC_RELEASE);
	return written;
}

static napi_value ring_drain(napi_env env, napi_callback_info info)
{
	napi_value arguments[3];
	struct ring *ring;
	double until;
	size_t room;
	void *into;

	if (!read_arguments(env, info, 3, arguments) || !(ring = read_ring(env, arguments[0])) ||
	    !read_buffer(env, arguments[1], "into", &into, &room) ||
	    !read_number(env, arguments[2], "until", &until))
		return NULL;
	if (!(until >= 0))
		return throw_argument(env, "until must not be negative");
	uint64_t limit = until >= 0x1p63 ? UINT64_MAX : (uint64_t)until;
	return make_number(env, (double)drain(ring, into, room, limit));
}

static napi_value ring_close(napi_env env, napi_callback_info info)
{
	napi_value argument;
	struct ring *ring;

	if (!read_arguments(env, info, 1, &argument) || !(ring = read_ring(env, argument)))
		return NULL;
	unmap(ring);
	return make_undefined(env);
}

const struct function_entry ring_functions[] = {
	{ "ringOpen", ring_open },
	{ "ringProduced", ring_produced },
	{ "ringConsumed", ring_consumed },
	{ "ringDrain", ring_drain },
	{ "ringClose", ring_close },
	{ NULL, NULL },
};
