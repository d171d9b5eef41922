// SPDX-License-Identifier: Apache-2.0
/* Module entry, arguments, results, errors, clocks. */
#include "addon.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct errno_name {
	int number;
	const char *name;
};

#define NAMED(name) { name, #name }

/* strerrorname_np needs a newer glibc than the addon may ask for. */
static const struct errno_name errno_names[] = {
	NAMED(EPERM),	    NAMED(ENOENT),     NAMED(ESRCH),	      NAMED(EINTR),
	NAMED(EIO),	    NAMED(ENXIO),      NAMED(E2BIG),	      NAMED(EBADF),
	NAMED(EBADFD),	    NAMED(EAGAIN),     NAMED(ENOMEM),     NAMED(EACCES),	      NAMED(EFAULT),
	NAMED(EBUSY),	    NAMED(EEXIST),     NAMED(ENODEV),	      NAMED(ENOTDIR),
	NAMED(EINVAL),	    NAMED(ENFILE),     NAMED(EMFILE),	      NAMED(EFBIG),
	NAMED(ENOSPC),	    NAMED(ERANGE),     NAMED(EDOM),	      NAMED(ENOSYS),
	NAMED(ENOTEMPTY),   NAMED(ELOOP),      NAMED(EPROTO),	      NAMED(EBADMSG),
	NAMED(EOVERFLOW),   NAMED(EILSEQ),     NAMED(ENOTSOCK),	      NAMED(EMSGSIZE),
	NAMED(EPROTOTYPE),  NAMED(ENOPROTOOPT), NAMED(EPROTONOSUPPORT), NAMED(ESOCKTNOSUPPORT),
	NAMED(EOPNOTSUPP),  NAMED(EPFNOSUPPORT), NAMED(EAFNOSUPPORT),  NAMED(EADDRINUSE),
	NAMED(EADDRNOTAVAIL), NAMED(ENETDOWN), NAMED(ENETUNREACH),    NAMED(ECONNRESET),
	NAMED(ENOBUFS),	    NAMED(EISCONN),    NAMED(ENOTCONN),	      NAMED(ETIMEDOUT),
	NAMED(ECONNREFUSED), NAMED(ESTALE),    NAMED(ECANCELED),
};

static void name_errno(int number, char *name, size_t size)
{
	/* The kernel's own 524, which BPF returns and no libc names. */
	if (number == 524) {
		snprintf(name, size, "ENOTSUPP");
		return;
	}
	for (size_t i = 0; i < sizeof(errno_names) / sizeof(errno_names[0]); i++) {
		if (errno_names[i].number == number) {
			snprintf(name, size, "%s", errno_names[i].name);
			return;
		}
	}
	snprintf(name, size, "E%d", number);
}

napi_value throw_errno(napi_env env, int error, const char *syscall, const char *log)
{
	napi_value message, code, object;
	char name[32], text[256];

	name_errno(error, name, sizeof(name));
	snprintf(text, sizeof(text), "%s: %s (%s)", syscall, strerror(error), name);
	if (napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &message) != napi_ok ||
	    napi_create_string_utf8(env, name, NAPI_AUTO_LENGTH, &code) != napi_ok ||
	    napi_create_error(env, code, message, &object) != napi_ok ||
	    !set_text(env, object, "syscall", syscall) ||
	    !set_text(env, object, "log", log ? log : ""))
		return NULL;
	napi_throw(env, object);
	return NULL;
}

napi_value throw_argument(napi_env env, const char *what)
{
	char text[160];

	snprintf(text, sizeof(text), "capture addon: %s", what);
	napi_throw_type_error(env, NULL, text);
	return NULL;
}

bool read_arguments(napi_env env, napi_callback_info info, size_t count, napi_value *values)
{
	size_t given = count;

	if (napi_get_cb_info(env, info, &given, values, NULL, NULL) == napi_ok && given >= count)
		return true;
	throw_argument(env, "too few arguments");
	return false;
}

bool read_number(napi_env env, napi_value value, const char *name, double *number)
{
	char text[96];

	if (napi_get_value_double(env, value, number) == napi_ok)
		return true;
	snprintf(text, sizeof(text), "%s must be a number", name);
	throw_argument(env, text);
	return false;
}

bool read_u32(napi_env env, napi_value value, const char *name, uint32_t *number)
{
	char text[96];
	double real;

	if (!read_number(env, value, name, &real))
		return false;
	if (real >= 0 && real <= UINT32_MAX && real == (double)(uint32_t)real) {
		*number = (uint32_t)real;
		return true;
	}
	snprintf(text, sizeof(text), "%s must be a whole number from 0 to 4294967295", name);
	throw_argument(env, text);
	return false;
}

bool read_text(napi_env env, napi_value value, const char *name, char *text, size_t size)
{
	char complaint[96];
	size_t length;

	if (napi_get_value_string_utf8(env, value, text, size, &length) == napi_ok &&
	    length + 1 < size)
		return true;
	snprintf(complaint, sizeof(complaint), "%s must be a short text", name);
	throw_argument(env, complaint);
	return false;
}

bool read_bytes(napi_env env, napi_value value, const char *name, void **bytes, size_t *length)
{
	napi_typedarray_type type;
	char text[96];
	bool is_array = false;

	if (napi_is_typedarray(env, value, &is_array) == napi_ok && is_array &&
	    napi_get_typedarray_info(env, value, &type, length, bytes, NULL, NULL) == napi_ok &&
	    type == napi_uint8_array)
		return true;
	snprintf(text, sizeof(text), "%s must be a Uint8Array", name);
	throw_argument(env, text);
	return false;
}

bool read_buffer(napi_env env, napi_value value, const char *name, void **bytes, size_t *length)
{
	char text[96];
	bool is_buffer = false;

	if (napi_is_arraybuffer(env, value, &is_buffer) == napi_ok && is_buffer &&
	    napi_get_arraybuffer_info(env, value, bytes, length) == napi_ok)
		return true;
	snprintf(text, sizeof(text), "%s must be an ArrayBuffer", name);
	throw_argument(env, text);
	return false;
}

void *read_handle(napi_env env, napi_value value, const char *name, uint32_t magic)
{
	napi_valuetype type;
	char text[96];
	void *record;

	if (napi_typeof(env, value, &type) == napi_ok && type == napi_external &&
	    napi_get_value_external(env, value, &record) == napi_ok &&
	    *(const uint32_t *)record == magic)
		return record;
	snprintf(text, sizeof(text), "%s is not an open handle", name);
	throw_argument(env, text);
	return NULL;
}

napi_value make_number(napi_env env, double number)
{
	napi_value value;

	return napi_create_double(env, number, &value) == napi_ok ? value : NULL;
}

napi_value make_bigint(napi_env env, uint64_t number)
{
	napi_value value;

	return napi_create_bigint_uint64(env, number, &value) == napi_ok ? value : NULL;
}

bool set_number(napi_env env, napi_value object, const char *name, double number)
{
	napi_value value = make_number(env, number);

	return value && napi_set_named_property(env, object, name, value) == napi_ok;
}

bool set_bigint(napi_env env, napi_value object, const char *name, uint64_t number)
{
	napi_value value = make_bigint(env, number);

	return value && napi_set_named_property(env, object, name, value) == napi_ok;
}

bool set_text(napi_env env, napi_value object, const char *name, const char *text)
{
	napi_value value;

	return napi_create_string_utf8(env, text, NAPI_AUTO_LENGTH, &value) == napi_ok &&
	       napi_set_named_property(env, object, name, value) == napi_ok;
}

napi_value make_undefined(napi_env env)
{
	napi_value value;

	return napi_get_undefined(env, &value) == napi_ok ? value : NULL;
}

struct instance *instance_of(napi_env env)
{
	void *instance = NULL;

	napi_get_instance_data(env, &instance);
	return instance;
}

static napi_value read_clock(napi_env env, clockid_t clock)
{
	struct timespec now;

	if (clock_gettime(clock, &now))
		return throw_errno(env, errno, "clock_gettime", NULL);
	return make_bigint(env, (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec);
}

static napi_value clock_boot_ns(napi_env env, napi_callback_info info)
{
	(void)info;
	return read_clock(env, CLOCK_BOOTTIME);
}

static napi_value clock_realtime_ns(napi_env env, napi_callback_info info)
{
	(void)info;
	return read_clock(env, CLOCK_REALTIME);
}

static const struct function_entry clock_functions[] = {
	{ "clockBootNs", clock_boot_ns },
	{ "clockRealtimeNs", clock_realtime_ns },
	{ NULL, NULL },
};

static void free_instance(napi_env env, void *data, void *hint)
{
	struct instance *instance = data;

	(void)env;
	(void)hint;
	if (instance->diag_fd >= 0)
		close(instance->diag_fd);
	free(instance);
}

static bool register_functions(napi_env env, napi_value exports, const struct function_entry *entry)
{
	napi_value function;

	for (; entry->name; entry++) {
		if (napi_create_function(env, entry->name, NAPI_AUTO_LENGTH, entry->call, NULL,
					 &function) != napi_ok ||
		    napi_set_named_property(env, exports, entry->name, function) != napi_ok)
			return false;
	}
	return true;
}

NAPI_MODULE_INIT()
{
	struct instance *instance = calloc(1, sizeof(*instance));

	if (!instance)
		return throw_errno(env, ENOMEM, "calloc", NULL);
	instance->diag_fd = -1;
	if (napi_set_instance_data(env, instance, free_instance, NULL) != napi_ok) {
		free(instance);
		return NULL;
	}
	if (!register_functions(env, exports, attach_functions) ||
	    !register_functions(env, exports, ring_functions) ||
	    !register_functions(env, exports, packet_functions) ||
	    !register_functions(env, exports, diag_functions) ||
	    !register_functions(env, exports, uprobe_functions) ||
	    !register_functions(env, exports, clock_functions))
		return NULL;
	return exports;
}
