// SPDX-License-Identifier: Apache-2.0
/*
 * The half that needs rights: loads an object, attaches its programs and keeps nothing but
 * descriptors. libbpf's object is freed at once; links and maps live on by their descriptors.
 */
#include "addon.h"
#include "object.h"

#include <bpf/bpf.h>
#include <bpf/btf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define LOG_BYTES_MAX 4096
#define NAME_BYTES_MAX 64

/* End of what libbpf said in the attach under way on this thread. */
static __thread char said[2 * LOG_BYTES_MAX];
static __thread size_t said_length;

static int keep_log(enum libbpf_print_level level, const char *format, va_list args)
{
	int wrote;

	if (level == LIBBPF_DEBUG)
		return 0;
	if (said_length > LOG_BYTES_MAX) {
		memmove(said, said + said_length - LOG_BYTES_MAX, LOG_BYTES_MAX);
		said_length = LOG_BYTES_MAX;
	}
	/* A verifier log comes as one long text whose end matters. */
	char *text = NULL;
	wrote = vasprintf(&text, format, args);
	if (wrote < 0)
		return 0;
	const char *end = text;
	if (wrote > LOG_BYTES_MAX - 1) {
		end += wrote - (LOG_BYTES_MAX - 1);
		wrote = LOG_BYTES_MAX - 1;
	}
	memcpy(said + said_length, end, (size_t)wrote);
	said_length += (size_t)wrote;
	said[said_length] = 0;
	free(text);
	return 0;
}

void begin_log(void)
{
	said_length = 0;
	said[0] = 0;
	libbpf_set_print(keep_log);
}

static const char *log_end(void)
{
	return said_length > LOG_BYTES_MAX ? said + said_length - LOG_BYTES_MAX : said;
}

napi_value throw_bpf(napi_env env, int error, const char *step, const char *name)
{
	char syscall[128];

	snprintf(syscall, sizeof(syscall), "%s%s%s", step, name ? " " : "", name ? name : "");
	return throw_errno(env, error < 0 ? -error : error, syscall, log_end());
}

bool each_property(napi_env env, napi_value record, visit_property visit, void *context)
{
	napi_value names, key, value;
	char name[NAME_BYTES_MAX];
	uint32_t count;

	if (napi_get_property_names(env, record, &names) != napi_ok ||
	    napi_get_array_length(env, names, &count) != napi_ok) {
		throw_argument(env, "a record of names and numbers is needed");
		return false;
	}
	for (uint32_t i = 0; i < count; i++) {
		if (napi_get_element(env, names, i, &key) != napi_ok ||
		    !read_text(env, key, "name", name, sizeof(name)) ||
		    napi_get_property(env, record, key, &value) != napi_ok ||
		    !visit(env, name, value, context))
			return false;
	}
	return true;
}

static bool read_constant(napi_env env, napi_value value, uint64_t *number)
{
	napi_valuetype type;
	double real;
	bool lossless;

	if (napi_typeof(env, value, &type) == napi_ok && type == napi_bigint)
		return napi_get_value_bigint_uint64(env, value, number, &lossless) == napi_ok;
	if (!read_number(env, value, "constant", &real))
		return false;
	*number = (uint64_t)(int64_t)real;
	return true;
}

static const struct btf_var_secinfo *find_variable(const struct btf *btf, const char *name)
{
	int section = btf__find_by_name_kind(btf, ".rodata", BTF_KIND_DATASEC);

	if (section < 0)
		return NULL;
	const struct btf_type *type = btf__type_by_id(btf, (uint32_t)section);
	const struct btf_var_secinfo *info = btf_var_secinfos(type);
	for (int i = 0; i < btf_vlen(type); i++) {
		const struct btf_type *variable = btf__type_by_id(btf, info[i].type);
		if (!strcmp(btf__name_by_offset(btf, variable->name_off), name))
			return &info[i];
	}
	return NULL;
}

bool set_constant(napi_env env, const char *name, napi_value value, void *context)
{
	struct bpf_object *object = context;
	const struct btf_var_secinfo *info = find_variable(bpf_object__btf(object), name);
	struct bpf_map *map;
	uint64_t number;
	size_t size;

	if (!read_constant(env, value, &number))
		return false;
	bpf_object__for_each_map(map, object) {
		if (!info || !strstr(bpf_map__name(map), ".rodata"))
			continue;
		char *bytes = bpf_map__initial_value(map, &size);
		if (!bytes || info->size > sizeof(number) || info->offset + info->size > size)
			break;
		memcpy(bytes + info->offset, &number, info->size);
		return true;
	}
	throw_bpf(env, ENOENT, "set constant", name);
	return false;
}

static bool set_entries(napi_env env, const char *name, napi_value value, void *context)
{
	struct bpf_map *map = bpf_object__find_map_by_name(context, name);
	uint32_t entries;
	int error;

	if (!read_u32(env, value, name, &entries))
		return false;
	error = map ? bpf_map__set_max_entries(map, entries) : -ENOENT;
	if (!error)
		return true;
	throw_bpf(env, error, "set map entries", name);
	return false;
}

bool keep_fd(napi_env env, napi_value record, const char *name, int fd)
{
	int kept = fcntl(fd, F_DUPFD_CLOEXEC, 3);

	if (kept < 0) {
		throw_bpf(env, errno, "fcntl(F_DUPFD_CLOEXEC)", name);
		return false;
	}
	if (set_number(env, record, name, kept))
		return true;
	close(kept);
	return false;
}

static bool attach_programs(napi_env env, struct bpf_object *object, const struct kept *kept)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) {
		if (!bpf_program__autoload(program))
			continue;
		const char *name = bpf_program__name(program);
		struct bpf_link *link = bpf_program__attach(program);
		if (!link) {
			throw_bpf(env, errno, "bpf(BPF_RAW_TRACEPOINT_OPEN)", name);
			return false;
		}
		bool ok = keep_fd(env, kept->links, name, bpf_link__fd(link)) &&
			  keep_fd(env, kept->programs, name, bpf_program__fd(program));
		bpf_link__destroy(link);
		if (!ok)
			return false;
	}
	return true;
}

bool keep_maps(napi_env env, struct bpf_object *object, const struct kept *kept)
{
	struct bpf_map *map;

	bpf_object__for_each_map(map, object) {
		if (bpf_map__is_internal(map))
			continue;
		if (!keep_fd(env, kept->maps, bpf_map__name(map), bpf_map__fd(map)))
			return false;
	}
	return true;
}

static bool close_fd(napi_env env, const char *name, napi_value value, void *context)
{
	uint32_t fd;

	(void)name;
	(void)context;
	if (!read_u32(env, value, "descriptor", &fd))
		return false;
	close((int)fd);
	return true;
}

static napi_value make_record(napi_env env, napi_value owner, const char *name)
{
	napi_value record;

	if (napi_create_object(env, &record) != napi_ok ||
	    napi_set_named_property(env, owner, name, record) != napi_ok)
		return NULL;
	return record;
}

bool make_kept(napi_env env, napi_value *attached, struct kept *kept)
{
	if (napi_create_object(env, attached) != napi_ok)
		return false;
	kept->links = make_record(env, *attached, "links");
	kept->programs = make_record(env, *attached, "programs");
	kept->maps = make_record(env, *attached, "maps");
	return kept->links && kept->programs && kept->maps;
}

/* Programs in a section `?fexit/NAME` are for functions that not every kernel has. */
static void choose_programs(struct bpf_object *object)
{
	struct bpf_program *program;

	bpf_object__for_each_program(program, object) {
		const char *target = strchr(bpf_program__section_name(program), '/');
		if (bpf_program__autoload(program) || !target)
			continue;
		enum bpf_attach_type type = bpf_program__expected_attach_type(program);
		if (libbpf_find_vmlinux_btf_id(target + 1, type) > 0)
			bpf_program__set_autoload(program, true);
	}
}

static bool load(napi_env env, struct bpf_object *object, napi_value rodata, napi_value entries)
{
	int error;

	if (!each_property(env, rodata, set_constant, object) ||
	    !each_property(env, entries, set_entries, object))
		return false;
	choose_programs(object);
	error = bpf_object__load(object);
	if (!error)
		return true;
	throw_bpf(env, error, "bpf(BPF_PROG_LOAD)", NULL);
	return false;
}

void drop_kept(napi_env env, const struct kept *kept)
{
	napi_value pending;

	if (napi_get_and_clear_last_exception(env, &pending) != napi_ok)
		return;
	each_property(env, kept->links, close_fd, NULL);
	each_property(env, kept->programs, close_fd, NULL);
	each_property(env, kept->maps, close_fd, NULL);
	napi_throw(env, pending);
}

static napi_value attach(napi_env env, napi_callback_info info)
{
	napi_value arguments[3], attached;
	struct kept kept;
	void *bytes;
	size_t length;

	if (!read_arguments(env, info, 3, arguments) ||
	    !read_bytes(env, arguments[0], "object", &bytes, &length))
		return NULL;
	if (!make_kept(env, &attached, &kept))
		return NULL;
	begin_log();
	LIBBPF_OPTS(bpf_object_open_opts, options, .object_name = "thalweg");
	struct bpf_object *object = bpf_object__open_mem(bytes, length, &options);
	if (!object)
		return throw_bpf(env, errno, "bpf_object__open_mem", NULL);
	bool ok = load(env, object, arguments[1], arguments[2]) &&
		  keep_maps(env, object, &kept) && attach_programs(env, object, &kept);
	bpf_object__close(object);
	if (ok)
		return attached;
	drop_kept(env, &kept);
	return NULL;
}

static napi_value detach(napi_env env, napi_callback_info info)
{
	static const char *const records[] = { "links", "programs", "maps" };
	napi_value attached, record;

	if (!read_arguments(env, info, 1, &attached))
		return NULL;
	for (size_t i = 0; i < sizeof(records) / sizeof(records[0]); i++) {
		if (napi_get_named_property(env, attached, records[i], &record) != napi_ok ||
		    !each_property(env, record, close_fd, NULL))
			return NULL;
	}
	return make_undefined(env);
}

static napi_value program_stats(napi_env env, napi_callback_info info)
{
	struct bpf_prog_info program = {};
	uint32_t length = sizeof(program), fd;
	napi_value argument, stats;

	if (!read_arguments(env, info, 1, &argument) || !read_u32(env, argument, "programFd", &fd))
		return NULL;
	if (bpf_prog_get_info_by_fd((int)fd, &program, &length))
		return throw_errno(env, errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)", NULL);
	if (napi_create_object(env, &stats) != napi_ok ||
	    !set_bigint(env, stats, "runs", program.run_cnt) ||
	    !set_bigint(env, stats, "runNs", program.run_time_ns) ||
	    !set_bigint(env, stats, "recursionMisses", program.recursion_misses))
		return NULL;
	return stats;
}

static bool read_map_info(napi_env env, napi_value value, int *fd, struct bpf_map_info *map)
{
	uint32_t length = sizeof(*map), number;

	memset(map, 0, sizeof(*map));
	if (!read_u32(env, value, "mapFd", &number))
		return false;
	*fd = (int)number;
	if (!bpf_map_get_info_by_fd(*fd, map, &length))
		return true;
	throw_errno(env, errno, "bpf(BPF_OBJ_GET_INFO_BY_FD)", NULL);
	return false;
}

static napi_value map_update(napi_env env, napi_callback_info info)
{
	napi_value arguments[3];
	struct bpf_map_info map;
	uint32_t key;
	size_t length;
	void *bytes;
	int fd;

	if (!read_arguments(env, info, 3, arguments) ||
	    !read_map_info(env, arguments[0], &fd, &map) ||
	    !read_u32(env, arguments[1], "key", &key) ||
	    !read_bytes(env, arguments[2], "value", &bytes, &length))
		return NULL;
	if (map.key_size != sizeof(key) || map.value_size != length)
		return throw_argument(env, "value must be as long as the map's values");
	if (bpf_map_update_elem(fd, &key, bytes, BPF_ANY))
		return throw_errno(env, errno, "bpf(BPF_MAP_UPDATE_ELEM)", NULL);
	return make_undefined(env);
}

static napi_value map_lookup(napi_env env, napi_callback_info info)
{
	napi_value arguments[2], buffer, array;
	struct bpf_map_info map;
	uint32_t key;
	void *bytes;
	int fd;

	if (!read_arguments(env, info, 2, arguments) ||
	    !read_map_info(env, arguments[0], &fd, &map) ||
	    !read_u32(env, arguments[1], "key", &key))
		return NULL;
	if (map.key_size != sizeof(key))
		return throw_argument(env, "the map's keys are not u32");
	size_t length = map.value_size;
	if (map.type == BPF_MAP_TYPE_PERCPU_ARRAY || map.type == BPF_MAP_TYPE_PERCPU_HASH) {
		int processors = libbpf_num_possible_cpus();
		if (processors < 0)
			return throw_errno(env, -processors, "libbpf_num_possible_cpus", NULL);
		length = ((length + 7) & ~(size_t)7) * (size_t)processors;
	}
	if (napi_create_arraybuffer(env, length, &bytes, &buffer) != napi_ok)
		return NULL;
	if (bpf_map_lookup_elem(fd, &key, bytes))
		return throw_errno(env, errno, "bpf(BPF_MAP_LOOKUP_ELEM)", NULL);
	if (napi_create_typedarray(env, napi_uint8_array, length, buffer, 0, &array) != napi_ok)
		return NULL;
	return array;
}

/* More entries than this are left for the next time. */
#define ENTRIES_MAX 65536

static napi_value map_entries(napi_env env, napi_callback_info info)
{
	napi_value argument, buffer, array;
	struct bpf_map_info map;
	uint32_t entries = 0;
	uint8_t *bytes, *grown;
	void *into, *key = NULL;
	int fd;

	if (!read_arguments(env, info, 1, &argument) || !read_map_info(env, argument, &fd, &map))
		return NULL;
	if (map.type != BPF_MAP_TYPE_HASH)
		return throw_argument(env, "the map is no plain hash");
	size_t size = (size_t)map.key_size + map.value_size, room = 64;
	bytes = malloc(room * size);
	while (bytes && entries < ENTRIES_MAX && entries < map.max_entries) {
		uint8_t *at = bytes + entries * size;
		if (bpf_map_get_next_key(fd, key, at))
			break;
		/* One that was taken out meanwhile ends the walk: the rest comes the next time. */
		if (bpf_map_lookup_elem(fd, at, at + map.key_size))
			break;
		entries++;
		if (entries == room) {
			room *= 2;
			grown = realloc(bytes, room * size);
			if (!grown)
				break;
			bytes = grown;
		}
		key = bytes + (entries - 1) * size;
	}
	if (!bytes)
		return throw_errno(env, ENOMEM, "malloc", NULL);
	if (napi_create_arraybuffer(env, entries * size, &into, &buffer) != napi_ok) {
		free(bytes);
		return NULL;
	}
	if (entries)
		memcpy(into, bytes, entries * size);
	free(bytes);
	if (napi_create_typedarray(env, napi_uint8_array, entries * size, buffer, 0, &array) != napi_ok)
		return NULL;
	return array;
}

static napi_value map_delete(napi_env env, napi_callback_info info)
{
	napi_value arguments[2];
	struct bpf_map_info map;
	size_t length;
	void *key;
	int fd;

	if (!read_arguments(env, info, 2, arguments) ||
	    !read_map_info(env, arguments[0], &fd, &map) ||
	    !read_bytes(env, arguments[1], "key", &key, &length))
		return NULL;
	if (map.key_size != length)
		return throw_argument(env, "key must be as long as the map's keys");
	if (bpf_map_delete_elem(fd, key) && errno != ENOENT)
		return throw_errno(env, errno, "bpf(BPF_MAP_DELETE_ELEM)", NULL);
	return make_undefined(env);
}

static napi_value bpf_exists(napi_env env, napi_callback_info info)
{
	napi_value arguments[2], value;
	char kind[16];
	uint32_t id;
	int fd;

	if (!read_arguments(env, info, 2, arguments) ||
	    !read_text(env, arguments[0], "kind", kind, sizeof(kind)) ||
	    !read_u32(env, arguments[1], "id", &id))
		return NULL;
	if (!strcmp(kind, "program"))
		fd = bpf_prog_get_fd_by_id(id);
	else if (!strcmp(kind, "link"))
		fd = bpf_link_get_fd_by_id(id);
	else if (!strcmp(kind, "map"))
		fd = bpf_map_get_fd_by_id(id);
	else
		return throw_argument(env, "kind must be program, link or map");
	if (fd < 0 && errno != ENOENT)
		return throw_errno(env, errno, "bpf(BPF_…_GET_FD_BY_ID)", NULL);
	if (fd >= 0)
		close(fd);
	return napi_get_boolean(env, fd >= 0, &value) == napi_ok ? value : NULL;
}

const struct function_entry attach_functions[] = {
	{ "attach", attach },
	{ "detach", detach },
	{ "programStats", program_stats },
	{ "mapUpdate", map_update },
	{ "mapLookup", map_lookup },
	{ "mapEntries", map_entries },
	{ "mapDelete", map_delete },
	{ "bpfExists", bpf_exists },
	{ NULL, NULL },
};
