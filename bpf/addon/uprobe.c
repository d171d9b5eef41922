// SPDX-License-Identifier: Apache-2.0
/*
 * Uprobes: loads an object beside a rung's, and attaches its programs to places of a file within one process, by one of
 * three ways. A link is a descriptor; closing it takes the probes off, as does the end of this process.
 */
#include "addon.h"
#include "object.h"

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#define PLACES_MAX 64
#define PATH_BYTES_MAX 4096
#define UPROBE_TYPE_FILE "/sys/bus/event_source/devices/uprobe/type"
#define UPROBE_RETURN_FILE "/sys/bus/event_source/devices/uprobe/format/retprobe"

static bool reuse_map(napi_env env, const char *name, napi_value value, void *context)
{
	struct bpf_map *map = bpf_object__find_map_by_name(context, name);
	uint32_t fd;
	int error;

	if (!read_u32(env, value, name, &fd))
		return false;
	error = map ? bpf_map__reuse_fd(map, (int)fd) : -ENOENT;
	if (!error)
		return true;
	throw_bpf(env, error, "reuse map", name);
	return false;
}

static bool keep_programs(napi_env env, struct bpf_object *object, const struct kept *kept)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) {
		if (!keep_fd(env, kept->programs, bpf_program__name(program), bpf_program__fd(program)))
			return false;
	}
	return true;
}

/* Programs for many places at once are of another kind than those for one. */
static void choose_attach_type(struct bpf_object *object, bool many)
{
	struct bpf_program *program;

	if (!many)
		return;
	bpf_object__for_each_program(program, object)
		bpf_program__set_expected_attach_type(program, BPF_TRACE_UPROBE_MULTI);
}

/* uprobeLoad(object, constants, maps to share, for many places) -> Attached without links. */
static napi_value uprobe_load(napi_env env, napi_callback_info info)
{
	napi_value arguments[4], attached;
	struct kept kept;
	void *bytes;
	size_t length;
	uint32_t many;
	int error;

	if (!read_arguments(env, info, 4, arguments) ||
	    !read_bytes(env, arguments[0], "object", &bytes, &length) ||
	    !read_u32(env, arguments[3], "many", &many))
		return NULL;
	if (!make_kept(env, &attached, &kept))
		return NULL;
	begin_log();
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "thalweg_tls");
	struct bpf_object *object = bpf_object__open_mem(bytes, length, &options);
	if (!object)
		return throw_bpf(env, errno, "bpf_object__open_mem", NULL);
	choose_attach_type(object, many != 0);
	bool ok = each_property(env, arguments[1], set_constant, object) &&
		  each_property(env, arguments[2], reuse_map, object);
	if (ok) {
		error = bpf_object__load(object);
		if (error)
			throw_bpf(env, error, "bpf(BPF_PROG_LOAD)", NULL);
		ok = !error;
	}
	ok = ok && keep_maps(env, object, &kept) && keep_programs(env, object, &kept);
	bpf_object__close(object);
	if (ok)
		return attached;
	drop_kept(env, &kept);
	return NULL;
}

/* One place or more of a file, within one process. */
struct places {
	uint32_t program;
	uint32_t pid;
	bool returns;
	char path[PATH_BYTES_MAX];
	uint32_t count;
	unsigned long offsets[PLACES_MAX];
	__u64 cookies[PLACES_MAX];
};

static bool read_places(napi_env env, napi_callback_info info, struct places *places)
{
	napi_value arguments[6], element;
	uint32_t returns, i;
	double offset;

	if (!read_arguments(env, info, 6, arguments) ||
	    !read_u32(env, arguments[0], "programFd", &places->program) ||
	    !read_text(env, arguments[1], "path", places->path, sizeof(places->path)) ||
	    !read_u32(env, arguments[2], "pid", &places->pid) ||
	    !read_u32(env, arguments[5], "returns", &returns))
		return false;
	if (napi_get_array_length(env, arguments[3], &places->count) != napi_ok || !places->count ||
	    places->count > PLACES_MAX) {
		throw_argument(env, "offsets must be an array of 1 to 64 numbers");
		return false;
	}
	for (i = 0; i < places->count; i++) {
		uint32_t cookie;

		if (napi_get_element(env, arguments[3], i, &element) != napi_ok ||
		    !read_number(env, element, "offset", &offset))
			return false;
		places->offsets[i] = (unsigned long)offset;
		if (napi_get_element(env, arguments[4], i, &element) != napi_ok ||
		    !read_u32(env, element, "cookie", &cookie))
			return false;
		places->cookies[i] = cookie;
	}
	places->returns = returns != 0;
	return true;
}

/* uprobeMulti(programFd, path, pid, offsets, cookies, returns) -> link */
static napi_value uprobe_multi(napi_env env, napi_callback_info info)
{
	struct places places;

	if (!read_places(env, info, &places))
		return NULL;
	LIBBPF_OPTS(bpf_link_create_opts, options, .uprobe_multi.path = places.path,
		    .uprobe_multi.offsets = places.offsets, .uprobe_multi.cookies = places.cookies,
		    .uprobe_multi.cnt = places.count, .uprobe_multi.pid = places.pid,
		    .uprobe_multi.flags = places.returns ? BPF_F_UPROBE_MULTI_RETURN : 0);
	int link = bpf_link_create((int)places.program, 0, BPF_TRACE_UPROBE_MULTI, &options);
	if (link < 0)
		return throw_errno(env, -link, "bpf(BPF_LINK_CREATE) uprobe_multi", NULL);
	return make_number(env, link);
}

/* The number in a file of sysfs, behind an optional "config:"; -1 where there is none. */
static int number_in(const char *path)
{
	FILE *file = fopen(path, "re");
	int number = -1;

	if (!file)
		return -1;
	if (fscanf(file, "config:%d", &number) != 1) {
		rewind(file);
		if (fscanf(file, "%d", &number) != 1)
			number = -1;
	}
	fclose(file);
	return number;
}

/* Opens an event of perf in one process, or (pid 0) in all, and has the program run at each hit. */
static napi_value link_event(napi_env env, struct perf_event_attr *attr, uint32_t pid, uint32_t program, uint64_t cookie)
{
	/* Of all processes: an event of one processor is enough, since the program runs for each hit. */
	int event = (int)syscall(SYS_perf_event_open, attr, pid ? (int)pid : -1, pid ? -1 : 0, -1,
				 PERF_FLAG_FD_CLOEXEC);
	if (event < 0)
		return throw_errno(env, errno, "perf_event_open", NULL);
	LIBBPF_OPTS(bpf_link_create_opts, options, .perf_event.bpf_cookie = cookie);
	int link = bpf_link_create((int)program, event, BPF_PERF_EVENT, &options);
	close(event);
	if (link < 0)
		return throw_errno(env, -link, "bpf(BPF_LINK_CREATE) perf_event", NULL);
	return make_number(env, link);
}

/* uprobePerf(programFd, path, pid, [offset], [cookie], returns) -> link; it holds the perf event. */
static napi_value uprobe_perf(napi_env env, napi_callback_info info)
{
	int type = number_in(UPROBE_TYPE_FILE), bit = number_in(UPROBE_RETURN_FILE);
	struct perf_event_attr attr = { .size = sizeof(attr) };
	struct places places;

	if (!read_places(env, info, &places))
		return NULL;
	if (type < 0 || (places.returns && bit < 0))
		return throw_errno(env, ENOENT, UPROBE_TYPE_FILE, NULL);
	attr.type = (uint32_t)type;
	attr.config = places.returns ? 1ull << bit : 0;
	attr.uprobe_path = (uint64_t)(uintptr_t)places.path;
	attr.probe_offset = places.offsets[0];
	return link_event(env, &attr, places.pid, places.program, places.cookies[0]);
}

/* uprobeTrace(programFd, event id, pid, cookie) -> link; the event was made in tracefs by the caller. */
static napi_value uprobe_trace(napi_env env, napi_callback_info info)
{
	struct perf_event_attr attr = { .size = sizeof(attr), .type = PERF_TYPE_TRACEPOINT };
	napi_value arguments[4];
	uint32_t program, id, pid, cookie;

	if (!read_arguments(env, info, 4, arguments) || !read_u32(env, arguments[0], "programFd", &program) ||
	    !read_u32(env, arguments[1], "id", &id) || !read_u32(env, arguments[2], "pid", &pid) ||
	    !read_u32(env, arguments[3], "cookie", &cookie))
		return NULL;
	attr.config = id;
	attr.sample_period = 1;
	return link_event(env, &attr, pid, program, cookie);
}

const struct function_entry uprobe_functions[] = {
	{ "uprobeLoad", uprobe_load },
	{ "uprobeMulti", uprobe_multi },
	{ "uprobePerf", uprobe_perf },
	{ "uprobeTrace", uprobe_trace },
	{ NULL, NULL },
};
